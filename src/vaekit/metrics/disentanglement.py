"""How well single latent dimensions stand for single factors, where the factors are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["dci", "factor_vae_rows", "factor_vae_score", "mig", "sap"]

Float = NDArray[np.float64]
Codes = NDArray[Any]
_BINS = 20
_REPEATS = 8  # rows that a value of a factor needs, so that codes of rows with it have a variance
_DEAD = 0.05  # share of the largest variance below which a dimension says nothing


def mig(codes: Codes, factors: NDArray[np.int64], bins: int = _BINS) -> float:
    """Mutual information gap: how far the best dimension of each factor is ahead of the second, in its entropy; 0 to 1.

    Args:
        codes: Shape (N, L); each dimension is cut into bins of equal width.
        factors: Codes of factor values, shape (N, M).
        bins: Number of bins.

    References:
        Chen et al., Isolating sources of disentanglement in VAEs, 2018, eq. 6.

    Example:
        >>> factors = np.random.default_rng(0).integers(0, 4, (4000, 2))
        >>> mig(factors.astype(float), factors) > 0.95
        True
    """
    cut = np.stack([np.digitize(z, np.histogram(z, bins)[1][:-1]) for z in codes.T], 1)
    gaps = []
    for factor in factors.T:
        shared = sorted(_information(z, factor) for z in cut.T)
        gaps.append((shared[-1] - (shared[-2] if len(shared) > 1 else 0.0)) / _information(factor, factor))
    return float(np.mean(gaps))


def sap(codes: Codes, factors: NDArray[np.int64], ordered: Sequence[bool] | None = None) -> float:
    """Separated attribute predictability: the gap of R² between the two dimensions that predict each factor best.

    Args:
        codes: Shape (N, L).
        factors: Shape (N, M).
        ordered: Whether the codes of each factor are numbers. Of one whose codes are mere names R² is the share of the
            variance of a dimension that lies between its values (the correlation ratio). By default all are numbers.

    References:
        Kumar et al., Variational inference of disentangled latent concepts, 2018, section 3.

    Example:
        >>> factors = np.random.default_rng(0).integers(0, 4, (4000, 2))
        >>> sap(factors.astype(float), factors) > 0.95
        True
        >>> sap(factors.astype(float), (factors * 3) % 4, ordered=[False, False]) > 0.95
        True
    """
    z = (codes - codes.mean(0)) / np.maximum(codes.std(0), 1e-9)
    y = (factors - factors.mean(0)) / np.maximum(factors.std(0), 1e-9)
    squares = np.square(z.T @ y / len(z))
    for place, numbers in enumerate(ordered or ()):
        if not numbers:
            squares[:, place] = _between(z, factors[:, place])
    squares = np.sort(squares, axis=0)
    second = squares[-2] if len(squares) > 1 else np.zeros(squares.shape[1])
    return float(np.mean(squares[-1] - second))


def dci(codes: Codes, factors: NDArray[np.int64], *, seed: int = 0, rows: int = 10_000) -> dict[str, float]:
    """Disentanglement, completeness and informativeness, from the importances of forests that predict each factor.

    Args:
        codes: Shape (N, L), half of which is trained on.
        factors: Shape (N, M).
        seed: Seed of forests and split.
        rows: Most rows.

    Returns:
        ``disentanglement`` (of a dimension: one minus the entropy of the factors that it serves, weighed by
        importance), ``completeness`` (the same of a factor over dimensions), ``informativeness`` (accuracy on the other
        half).

    References:
        Eastwood & Williams, A framework for the quantitative evaluation of disentangled representations, 2018.
    """
    from sklearn.ensemble import RandomForestClassifier

    order = np.random.default_rng(seed).permutation(len(codes))[:rows]
    train, test = order[: len(order) // 2], order[len(order) // 2 :]
    importance = np.empty((codes.shape[1], factors.shape[1]))
    accuracy = []
    for place, factor in enumerate(factors.T):
        forest = RandomForestClassifier(40, min_samples_leaf=5, random_state=seed, n_jobs=1)
        forest.fit(codes[train], factor[train])
        importance[:, place] = forest.feature_importances_
        accuracy.append(float((forest.predict(codes[test]) == factor[test]).mean()))
    share = importance.sum(1) / importance.sum()
    return {
        "disentanglement": float((share * (1.0 - _entropy(importance))).sum()),
        "completeness": float(np.mean(1.0 - _entropy(importance.T))),
        "informativeness": float(np.mean(accuracy)),
    }


def factor_vae_score(
    encode: Callable[[NDArray[np.int64]], Codes],
    sizes: tuple[int, ...],
    *,
    seed: int = 0,
    batch: int = 64,
    train: int = 800,
    test: int = 400,
) -> float:
    """Accuracy of a majority vote that tells from the least varying dimension which factor was held fixed.

    Args:
        encode: From factor values (N, M) to codes (N, L).
        sizes: Number of values of each factor; those of one value are left out.
        seed: Seed of all choices.
        batch: Rows of one vote.
        train: Votes that the majority is taken of.
        test: Votes that it is judged by.

    References:
        Kim & Mnih, Disentangling by factorising, 2018, section 4.
    """
    rng = np.random.default_rng(seed)
    free = [place for place, size in enumerate(sizes) if size > 1]

    def drawn(rows: int) -> NDArray[np.int64]:
        return np.stack([rng.integers(0, size, rows) for size in sizes], 1)

    spread = encode(drawn(5_000)).std(0)
    alive = spread > _DEAD * spread.max()
    fixed = rng.choice(free, train + test)
    factors = drawn((train + test) * batch).reshape(train + test, batch, len(sizes))
    for vote, factor in enumerate(fixed):
        factors[vote, :, factor] = factors[vote, 0, factor]
    codes = encode(factors.reshape(-1, len(sizes))).reshape(train + test, batch, -1)
    return _majority(codes.var(1), np.square(spread), alive, fixed, train)


def factor_vae_rows(
    codes: Codes,
    factors: NDArray[np.int64],
    *,
    seed: int = 0,
    batch: int = 64,
    train: int = 800,
    test: int = 400,
) -> float:
    """`factor_vae_score` from rows at hand: each vote is about rows that share the value of one factor.

    Rows of a vote are drawn with replacement among those with the value of a random row. If factors depend on each
    other in the rows, holding one fixed narrows others too, and the score is lower than with independent factors.

    Args:
        codes: Shape (N, L).
        factors: Shape (N, M); a value that fewer than 8 rows have gets no vote.
        seed: Seed of all choices.
        batch: Rows of one vote.
        train: Votes that the majority is taken of.
        test: Votes that it is judged by.

    Returns:
        The accuracy; NaN if fewer than two factors have a value that repeats.

    References:
        Kim & Mnih, Disentangling by factorising, 2018, section 4.

    Example:
        >>> factors = np.random.default_rng(0).integers(0, 4, (2000, 2))
        >>> factor_vae_rows(factors[:, ::-1].astype(float), factors)
        1.0
    """
    rng = np.random.default_rng(seed)
    known: list[tuple[int, list[NDArray[np.int64]], Float]] = []
    for place, factor in enumerate(factors.T):
        rows = [np.flatnonzero(factor == value) for value in np.unique(factor)]
        rows = [some for some in rows if len(some) >= _REPEATS]
        if len(rows) > 1:
            sizes = np.array([len(some) for some in rows], np.float64)
            known.append((place, rows, sizes / sizes.sum()))
    if len(known) < 2:
        return float("nan")
    spread = codes.std(0)
    fixed, varying = np.empty(train + test, np.int64), np.empty((train + test, codes.shape[1]))
    for vote in range(train + test):
        place, rows, chances = known[rng.integers(len(known))]
        some = rows[rng.choice(len(rows), p=chances)]
        fixed[vote], varying[vote] = place, codes[rng.choice(some, batch)].var(0)
    return _majority(varying, np.square(spread), spread > _DEAD * spread.max(), fixed, train)


def _majority(varying: Float, whole: Float, alive: NDArray[np.bool_], fixed: NDArray[np.int64], train: int) -> float:
    """Accuracy of the vote by the dimension that varies least, in units of its variance over all rows."""
    least = np.where(alive, varying / np.maximum(whole, 1e-12), np.inf).argmin(1)
    votes = np.zeros((varying.shape[1], int(fixed.max()) + 1))
    np.add.at(votes, (least[:train], fixed[:train]), 1)
    return float((votes.argmax(1)[least[train:]] == fixed[train:]).mean())


def _between(z: Float, factor: NDArray[np.int64]) -> Float:
    """Share of the variance of each dimension, standardised (N, L), that lies between the values of a factor; (L,)."""
    _, place, sizes = np.unique(factor, return_inverse=True, return_counts=True)
    sums = np.zeros((len(sizes), z.shape[1]))
    np.add.at(sums, place, z)
    found: Float = (np.square(sums) / sizes[:, None]).sum(0) / len(z)
    return found


def _information(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Mutual information of two discrete columns in nats; of a column with itself its entropy."""
    _, one = np.unique(first, return_inverse=True)
    _, other = np.unique(second, return_inverse=True)
    joint = np.zeros((one.max() + 1, other.max() + 1))
    np.add.at(joint, (one, other), 1.0 / len(first))
    held = joint > 0
    expected = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    return float((joint[held] * np.log(joint[held] / expected[held])).sum())


def _entropy(importance: Float) -> Float:
    """Entropy of each row in units of its largest, shape (rows,); 0 where there is one column."""
    if importance.shape[1] == 1:
        return np.zeros(len(importance))
    share = (importance + 1e-11) / (importance + 1e-11).sum(1, keepdims=True)
    found: Float = -(share * np.log(share)).sum(1) / np.log(share.shape[1])
    return found

"""A Gaussian copula: the baseline that knows which columns go along with which, and nothing else.

Each scalar column keeps its own marginal and all are tied together by one correlation matrix of latent normals. A
continuous reading is a point on the latent scale, everything else an interval, so the log-density of a row is that of a
normal at its points times the probability of a box given them. The box is estimated without bias by simulation; the
mean of -log of it is therefore an upper bound, as an importance-weighted bound is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from vaekit.arrays import Array, Block, BlockSpec, generator, open_uniform, take
from vaekit.metrics.likelihood import log_mean_exp
from vaekit.metrics.marginals import Cells, Marginals, log_interval, log_normal

__all__ = ["Copula"]

_SWEEPS, _EARLY, _SETTLE = 30, 4, 10  # of the fit; when a first candidate is kept; when averaging begins
_JUDGES, _DRAWS = 1_000, 16  # rows and draws by which the best candidate is found
_TOGETHER = 2**21  # latent values worked on at a time

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Copula:
    """A Gaussian copula over the encoded model fields of a table.

    Args:
        marginals: The marginals.
        correlation: Correlation matrix of the latent normals, shape (D, D).

    References:
        Hoff, Extending the rank likelihood for semiparametric copula estimation, 2007 (intervals of a latent normal).
    """

    marginals: Marginals
    correlation: Float

    @classmethod
    def fit(
        cls,
        specs: Sequence[BlockSpec],
        train: Mapping[str, Block],
        *,
        marginals: Marginals | None = None,
        rows: int = 20_000,
        seed: int = 0,
    ) -> Self:
        """Fit the marginals to all training rows, and the correlation to some of them.

        The correlation is found by stochastic EM: latent values of intervals and missing cells are drawn given all
        others, the correlation is that of the completed table. Where columns all but determine each other these draws
        hardly move and the correlation is driven too far, so the start (conditional means), an early and the final
        state compete, and the likelihood of training rows decides.

        Args:
            specs: The blocks; those with role ``model`` are used.
            train: Encoded training rows.
            marginals: Marginals that are already fitted to them.
            rows: Most rows for the correlation.
            seed: Seed of the draws.

        References:
            Celeux & Diebolt, The SEM algorithm, 1985. Delyon, Lavielle & Moulines, 1999 (averaging).
        """
        rng = generator(seed, "copula")
        marginals = marginals or Marginals.fit(specs, train)
        train = _some(train, rows, rng)
        for _ in range(2):
            marginals = marginals.ordered(train, _middle(marginals.cells(train)))
        candidates = [cls(marginals, correlation) for correlation in _correlations(marginals.cells(train), rng)]
        if len(candidates) == 1:
            return candidates[0]
        judges = _some(train, _JUDGES, rng)
        return min(candidates, key=lambda one: float(one.nats(judges, samples=_DRAWS, seed=seed).mean()))

    def nats(self, blocks: Mapping[str, Block], *, samples: int = 64, seed: int = 0) -> Array:
        """An upper bound, in the mean over draws, on -log p(x) of each row, in nats; missing cells are left out.

        The probability of a box is estimated by the GHK simulator, which draws one column after another from its
        interval given those before it and multiplies the masses of the intervals; exact columns come first.

        Args:
            blocks: Encoded rows, B of them.
            samples: Draws K per row; one is enough where nothing is an interval.
            seed: Seed of the draws.

        Returns:
            Shape (B,), in the same units as the model's log-densities.

        References:
            Genz, Numerical computation of multivariate normal probabilities, 1992. Hajivassiliou, McFadden & Ruud 1996.

        Example:
            >>> block = Block(np.random.default_rng(0).normal(size=(500, 2)), np.ones((500, 2), bool))
            >>> spec = BlockSpec(name="number", kind="number", likelihood="gaussian", fields=("a", "b"))
            >>> Copula.fit([spec], {"number": block}).nats({"number": block}).shape
            (500,)
        """
        cells, rng = self.marginals.cells(blocks), generator(seed, "copula", "nats")
        found: Float = cells.unit.sum(1)
        step = max(1, _TOGETHER // (max(samples, 1) * cells.lower.shape[1]))
        for start in range(0, len(found), step):
            rows = slice(start, start + step)
            found[rows] -= log_mean_exp(_log_box(cells.take(rows), self.correlation, samples, rng))
        return found


def _log_box(cells: Cells, correlation: Float, samples: int, rng: np.random.Generator) -> Float:
    """Log-density of points times the estimated mass of intervals, for K draws: shape (K, B)."""
    kind = np.where(cells.exact, 0, np.where(cells.missing, 2, 1))  # shape: (B, D)
    order = np.argsort(kind, axis=1, kind="stable")
    kind, lower, upper = (np.take_along_axis(a, order, axis=1) for a in (kind, cells.lower, cells.upper))
    root = _roots(correlation, order)
    points, last = int((kind == 0).sum(1).min()), int((kind < 2).sum(1).max())
    log_p, latent = np.zeros((1, len(kind))), np.zeros((len(kind), 1, last))  # shapes: (K, B), (B, K, D)
    for column in range(last):
        if column == points:  # from here on draws differ
            log_p, latent = np.repeat(log_p, samples, 0), np.repeat(latent, samples, 1)
        before = (latent[..., :column] @ root[:, column, :column, None])[..., 0].T  # shape: (K, B)
        scale, point, box = root[:, column, column], kind[:, column] == 0, kind[:, column] == 1
        white = (np.where(point, lower[:, column], 0.0) - before) / scale
        log_p += np.where(point, log_normal(white) - np.log(scale), 0.0)
        latent[..., column] = np.where(point, white, 0.0).T
        if box.any():
            low, high = ((end[box, column] - before[:, box]) / scale[box] for end in (lower, upper))
            log_p[:, box] += log_interval(low, high)
            latent[box, :, column] = _between(low, high, rng).T
    return log_p


def _roots(correlation: Float, order: Array) -> Float:
    """Cholesky factors of the correlation with its columns in the order of each row: shape (B, D, D)."""
    orders, which = np.unique(order, axis=0, return_inverse=True)
    found: Float = np.linalg.cholesky(correlation[orders[:, :, None], orders[:, None, :]])[which.ravel()]
    return found


def _between(lower: Float, upper: Float, rng: np.random.Generator) -> Float:
    """Draws of a standard normal within intervals, accurate in both tails."""
    from scipy.special import log_ndtr, ndtri_exp

    flip = lower > -upper
    low, high = np.where(flip, -upper, lower), np.where(flip, -lower, upper)
    top = log_ndtr(high)
    share = np.exp(log_ndtr(low) - top)
    drawn = ndtri_exp(np.minimum(top + np.log(share + open_uniform(rng, low.shape) * (1.0 - share)), -1e-300))
    drawn = np.clip(drawn, low, high)
    signed: Float = np.where(flip, -drawn, drawn)
    return signed


def _middle(cells: Cells) -> Float:
    """Expectation of each latent value given its own cell alone; 0 where missing."""
    exact = cells.exact
    low, high = np.where(exact, -1.0, cells.lower), np.where(exact, 1.0, cells.upper)
    mass = log_interval(low, high)
    mean = np.exp(log_normal(low) - mass) - np.exp(log_normal(high) - mass)
    middle: Float = np.where(exact, cells.lower, np.clip(mean, low, high))
    return middle


def _correlations(cells: Cells, rng: np.random.Generator) -> Iterator[Float]:
    """Correlations of the latent normals by stochastic EM, each shrunk a little so that it is positive definite."""
    z, exact = _middle(cells), cells.exact
    rows, columns = z.shape
    shrink = columns / (columns + rows)
    moment = z.T @ z / rows
    yield _shrunk(moment, shrink)
    unsure = [(column, np.flatnonzero(~exact[:, column])) for column in np.flatnonzero(~exact.all(0))]
    for sweep in range(_SWEEPS if unsure else 0):
        precision = np.linalg.inv(_shrunk(moment, shrink))
        for column, hidden in unsure:
            own = precision[column, column]
            mean = z[hidden, column] - (z @ precision[:, column])[hidden] / own
            scale = 1.0 / np.sqrt(own)
            low, high = ((end[hidden, column] - mean) / scale for end in (cells.lower, cells.upper))
            z[hidden, column] = mean + scale * _between(low, high, rng)
        moment = moment + (z.T @ z / rows - moment) / max(1, sweep - _SETTLE)
        if sweep + 1 in (_EARLY, _SWEEPS):
            yield _shrunk(moment, shrink)


def _shrunk(moment: Float, shrink: float) -> Float:
    found: Float = (1.0 - shrink) * _unit(moment) + shrink * np.eye(len(moment))
    return found


def _unit(moment: Float) -> Float:
    """Second moments scaled to a unit diagonal; a column of zeros is correlated with nothing."""
    scale = np.sqrt(np.maximum(np.diag(moment), 1e-12))
    unit: Float = moment / scale / scale[:, None]
    np.fill_diagonal(unit, 1.0)
    return unit


def _some(blocks: Mapping[str, Block], most: int, rng: np.random.Generator) -> Mapping[str, Block]:
    rows = len(next(iter(blocks.values())))
    return blocks if rows <= most else take(blocks, np.sort(rng.choice(rows, most, replace=False)))

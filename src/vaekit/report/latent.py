"""What the latent space holds: a map of the rows, and what moves when one dimension moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vaekit.arrays import Array
from vaekit.errors import ConfigError
from vaekit.queries.base import query
from vaekit.report.columns import Seen, look, numbers_of

if TYPE_CHECKING:
    import pyarrow as pa

    from vaekit.runtime.engine import Engine

__all__ = ["LatentMap", "Move", "Traversal", "latent_map", "neighbours", "ordered", "traversals"]

REACH, STEPS = 2.0, 9
_DIMENSIONS, _MOVES = 6, 5
_UMAP_ROWS = 50
_ACTIVE = 0.01  # least variance of the posterior centre


@dataclass(frozen=True)
class LatentMap:
    """Rows on the two directions of the latent space in which they differ most.

    Args:
        points: Shape (B, 2); the second column is zero with one latent dimension.
        explained: Share of the variance of the embeddings on each of the two.
        field: The field that the map explains best.
        share: Share of the variance of its ranks, or of the indicators of its levels, that a curved surface over the
            map explains.
    """

    points: Array
    explained: tuple[float, float]
    field: str
    share: float


@dataclass(frozen=True)
class Move:
    """How one field moves along a traversal.

    Args:
        field: Name of the field.
        shape: What the field is, see `Seen`.
        values: Decoded value at each step.
        places: Where these are among real values, from 0 to 1; None for categories.
        size: How far it moves, from 0 (not at all) to 1 (over all real values).
    """

    field: str
    shape: str
    values: tuple[Any, ...]
    places: tuple[float, ...] | None
    size: float


@dataclass(frozen=True)
class Traversal:
    """What one latent dimension means.

    Args:
        dim: The dimension.
        activity: Variance of its posterior centre over rows, 1 if it says as much as a dimension can.
        kl: Nats that it costs, if they are known.
        z: Values of the dimension at the steps.
        moves: The fields that move most, largest first.
    """

    dim: int
    activity: float
    kl: float | None
    z: tuple[float, ...]
    moves: tuple[Move, ...]


def latent_map(embedding: Array, seen: Sequence[Seen]) -> LatentMap | None:
    """Principal components of embeddings, and the field that they explain best; None below three rows.

    Args:
        embedding: Posterior centres, shape (B, L).
        seen: Fields of the same rows.
    """
    if len(embedding) < 3 or not seen:
        return None
    centred = np.asarray(embedding, np.float64) - embedding.mean(0)
    u, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    points = np.zeros((len(centred), 2))
    width = min(2, len(sizes))
    points[:, :width] = u[:, :width] * sizes[:width]
    shares = np.square(sizes) / max(float(np.square(sizes).sum()), 1e-12)
    surface = _surface(points)
    explained = {one.name: _explained(surface, _target(one)) for one in seen}
    best = max(explained, key=explained.__getitem__)
    return LatentMap(points, (float(shares[0]), float(shares[1]) if width > 1 else 0.0), best, explained[best])


def _surface(points: Array) -> Array:
    scaled = points / np.maximum(points.std(0), 1e-9)
    a, b = scaled.T
    found: Array = np.stack([np.ones(len(a)), a, b, a * a, b * b, a * b], 1)
    return found


def _target(seen: Seen) -> Array:
    """What the map should explain: ranks of a number, indicators of levels; NaN where missing, shape (B, C)."""
    if seen.shape == "category":
        indicators: Array = np.where(
            seen.real[:, None] < 0, np.nan, seen.real[:, None] == np.unique(seen.real[seen.real >= 0])
        )
        return indicators
    values = numbers_of(seen, seen.real)
    ranks = np.searchsorted(np.sort(values[np.isfinite(values)]), values, side="left").astype(np.float64)
    return np.where(np.isfinite(values), ranks, np.nan)[:, None]


def _explained(surface: Array, target: Array) -> float:
    held = np.isfinite(target).all(1)
    known = target[held]
    spread = np.square(known - known.mean(0)).sum() if held.sum() >= 20 else 0.0
    if spread <= 0.0:
        return 0.0
    fitted = surface[held] @ np.linalg.lstsq(surface[held], known, rcond=None)[0]
    return float(1.0 - np.square(known - fitted).sum() / spread)


def ordered(embedding: Array, kl: Array | None) -> list[int]:
    """The active dimensions that cost most nats, or where these are not known, vary most; at most six.

    Example:
        >>> ordered(np.array([[1.0, 2.0, 0.0], [-1.0, -2.0, 0.0]]), None)
        [1, 0]
    """
    activity = np.var(embedding, axis=0)
    weight = activity if kl is None or len(kl) != len(activity) else kl
    return [int(dim) for dim in np.argsort(-weight, kind="stable") if activity[dim] > _ACTIVE][:_DIMENSIONS]


def neighbours(embedding: Array, seed: int = 0) -> Array | None:
    """Embeddings (B, L) on a plane on which neighbours stay neighbours, by UMAP; shape (B, 2).

    None where there are fewer than 50 rows or 3 dimensions, for which the map of principal components is enough.

    Raises:
        ConfigError: If umap-learn is not installed.

    References:
        McInnes, Healy & Melville, UMAP: uniform manifold approximation and projection, 2018.
    """
    if len(embedding) < _UMAP_ROWS or embedding.shape[1] < 3:
        return None
    try:
        import umap
    except ModuleNotFoundError as error:
        raise ConfigError("a map by UMAP needs umap-learn, which is not installed; install vaekit[umap]") from error

    found: Array = np.asarray(umap.UMAP(random_state=seed, n_jobs=1).fit_transform(embedding), np.float64)
    return found


def traversals(
    engine: Engine, table: pa.Table, embedding: Array, told: Mapping[str, float], kl: Array | None = None
) -> list[Traversal]:
    """What the most active latent dimensions mean: which fields move, and from what to what.

    Args:
        engine: The model.
        table: Real rows; with condition fields the row nearest to the middle of the embeddings is where paths start.
        embedding: Posterior centres of these rows, shape (B, L).
        told: Fields to look at, with the share of their nats that the latent code tells: the most probable category may
            change though the code says next to nothing about it, so moves of categories are weighed by that share.

        kl: Nats that each dimension costs, shape (L,), if they are known.

    Returns:
        At most six, those first that cost most; or that vary most.
    """
    activity = np.var(embedding, axis=0)
    dims = ordered(embedding, kl)
    known_kl = kl if kl is not None and len(kl) == len(activity) else None
    at = None
    if engine.contract.names("condition"):
        middle = int(np.square(embedding - np.median(embedding, axis=0)).sum(1).argmin())
        at = table.slice(middle, 1)
    real = {name: look(engine.contract[name], table[name]) for name in told}
    known = {name: seen for name, seen in real.items() if seen is not None}
    found = []
    for dim in dims:
        walked = query(engine, "traverse", dim, at=at, steps=STEPS, reach=REACH)
        moves = [move for move in _moves(engine, known, walked, told) if move.size > 0.02]
        z = tuple(float(value) for value in walked["z"].to_pylist())
        moves.sort(key=lambda move: -move.size)
        nats = None if known_kl is None else float(known_kl[dim])
        found.append(Traversal(dim, float(activity[dim]), nats, z, tuple(moves[:_MOVES])))
    return found


def _moves(engine: Engine, real: Mapping[str, Seen], walked: pa.Table, told: Mapping[str, float]) -> list[Move]:
    moves = []
    for name, seen in real.items():
        values = tuple(walked[name].to_pylist())
        if seen.shape == "category":
            texts = [str(value) for value in values]
            shares = {label: float((seen.real == code).sum()) for code, label in enumerate(seen.labels)}
            total = sum(shares.values()) or 1.0
            size = 1.0 - shares.get(texts[0], 0.0) / total if len(set(texts)) > 1 else 0.0
            moves.append(Move(name, seen.shape, values, None, size * told[name]))
            continue
        there = look(engine.contract[name], walked[name])
        if there is None:
            continue
        if seen.shape == "vector":
            spread = np.nanstd(seen.real, axis=0) + 1e-9
            reach = np.ptp(there.real, axis=0) / spread
            moves.append(Move(name, seen.shape, values, None, float(min(1.0, np.nanmean(reach) / 4.0))))
            continue
        ordered = np.sort(numbers_of(seen, seen.real)[np.isfinite(seen.real)])
        low, high = (np.searchsorted(ordered, there.real, side=side) for side in ("left", "right"))
        places = (low + high) / 2.0 / len(ordered)
        moves.append(Move(name, seen.shape, values, tuple(places.tolist()), float(np.ptp(places))))
    return moves

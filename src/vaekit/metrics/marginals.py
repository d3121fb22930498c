"""The baseline every model must beat: each field on its own, all fields independent.

Every scalar column is mapped to a latent standard normal by its fitted marginal: a continuous reading to a point, all
else (categories, counts, rounded readings, atoms) to the interval that has its probability.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from vaekit.arrays import Array, Block, BlockSpec
from vaekit.fields.families.calendar import DAYS

__all__ = ["Cells", "Marginals", "by_field", "log_interval", "log_normal", "marginal_nats"]

_MOST_COUNTED = 4096  # counts above it share the tail
_IMAGE_LEVELS = 256
_NARROW = 1e-3  # cells of fewer standard deviations to each side are points

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Cells:
    """Rows on the latent scale of fitted marginals, D scalar columns, the elements of vectors among them.

    Args:
        lower: Lower end of each cell, shape (B, D); minus infinity where missing.
        upper: Upper end; equal to `lower` where the reading is continuous, infinity where missing.
        unit: What -log of the latent density or mass has to be raised by, in nats; 0 where missing. Shape (B, D).
    """

    lower: Float
    upper: Float
    unit: Float

    def nats(self) -> Float:
        """-log p of each cell under its own marginal, shape (B, D); 0 where missing."""
        exact = self.exact
        density = log_normal(np.where(exact, self.lower, 0.0))
        mass = log_interval(np.where(exact, -1.0, self.lower), np.where(exact, 1.0, self.upper))
        nats: Float = self.unit - np.where(exact, density, mass)
        return nats

    @property
    def exact(self) -> NDArray[np.bool_]:
        """Where a reading is a point, shape (B, D)."""
        exact: NDArray[np.bool_] = self.lower == self.upper
        return exact

    @property
    def missing(self) -> NDArray[np.bool_]:
        """Where there is no reading, shape (B, D)."""
        gone: NDArray[np.bool_] = np.isinf(self.lower) & np.isinf(self.upper)
        return gone

    def take(self, rows: Array | slice) -> Cells:
        """The cells of some rows."""
        return Cells(self.lower[rows], self.upper[rows], self.unit[rows])


@dataclass(frozen=True)
class Marginals:
    """Independent marginals of the model fields of some blocks.

    Numbers: a normal in encoded units, which under a quantile transform is the smoothed histogram of the column.
    Counts and categories: smoothed frequencies (add one half), with a geometric tail for counts above the largest
    seen. Binary vector elements and pixels: smoothed frequencies; other vectors: normals. Datetimes on a calendar:
    normals for weeks and times of the day, smoothed frequencies of the days of the week.
    """

    specs: tuple[BlockSpec, ...]
    parts: Mapping[str, _Normals | _Frequencies | _Calendar]

    @classmethod
    def fit(cls, specs: Sequence[BlockSpec], train: Mapping[str, Block]) -> Self:
        """Fit to encoded training rows; blocks without the role ``model`` are passed over."""
        chosen = tuple(spec for spec in specs if spec.role == "model")
        return cls(
            chosen,
            {spec.name: _part(spec).fit(spec, train[spec.name]) for spec in chosen},
        )

    @property
    def fields(self) -> tuple[str, ...]:
        """Name of the field of each of the D columns."""
        names = [(name, spec.width // len(spec.fields)) for spec in self.specs for name in spec.fields]
        return tuple(name for name, width in names for _ in range(width))

    def cells(self, blocks: Mapping[str, Block]) -> Cells:
        """Encoded rows on the latent scale."""
        parts = [self.parts[spec.name].cells(_flat(blocks[spec.name])) for spec in self.specs]
        return Cells(*(np.concatenate([getattr(p, n) for p in parts], axis=1) for n in ("lower", "upper", "unit")))

    def ordered(self, blocks: Mapping[str, Block], latent: Float) -> Self:
        """The same marginals with the levels of unordered categories in the order that suits the other columns.

        The probability of a level does not depend on where its interval lies; how it goes along with others does. The
        levels are sorted along the direction of the other columns that tells them apart best (Fisher's discriminant).

        Args:
            blocks: Encoded rows, B of them.
            latent: A latent value for each of their cells, shape (B, D).
        """
        start, found = 0, dict(self.parts)
        for spec in self.specs:
            part = found[spec.name]
            if spec.likelihood == "categorical" and isinstance(part, _Frequencies):
                found[spec.name] = part.ordered(_flat(blocks[spec.name]), latent, start)
            start += spec.width
        return replace(self, parts=found)


def marginal_nats(
    specs: Sequence[BlockSpec], train: Mapping[str, Block], held_out: Mapping[str, Block]
) -> dict[str, Array]:
    """-log p(x_f) of each held-out cell under independent marginals fitted on training rows, in nats; 0 where missing.

    Args:
        specs: The blocks; those with role ``model`` are used.
        train: Encoded training rows.
        held_out: Encoded held-out rows, B of them.

    Returns:
        Field name to shape (B,), in the same units as the model's log-densities.
    """
    marginals = Marginals.fit(specs, train)
    return by_field(marginals, marginals.cells(held_out))


def by_field(marginals: Marginals, cells: Cells) -> dict[str, Array]:
    """-log p of each field, summed over its elements: field name to shape (B,)."""
    found: dict[str, Array] = {}
    for name, nats in zip(marginals.fields, cells.nats().T, strict=True):
        found[name] = found[name] + nats if name in found else nats
    return found


def log_normal(z: Float) -> Float:
    """Log-density of the standard normal."""
    density: Float = -0.5 * np.square(z) - 0.5 * np.log(2.0 * np.pi)
    return density


def log_interval(lower: Float, upper: Float) -> Float:
    """Log of the standard normal's mass between two points, accurate in both tails.

    Example:
        >>> round(float(log_interval(np.array(40.0), np.array(np.inf))), 3)
        -804.608
    """
    from scipy.special import log_ndtr

    flip = lower > -upper  # the left tail is the accurate one
    high = log_ndtr(np.where(flip, -lower, upper))
    low = log_ndtr(np.where(flip, -upper, lower))
    mass: Float = high + np.log(-np.expm1(np.minimum(low - high, -1e-15)))
    return mass


@dataclass(frozen=True)
class _Normals:
    """A normal for each column, in encoded units."""

    mean: Float
    std: Float

    @classmethod
    def fit(cls, spec: BlockSpec, block: Block) -> Self:
        values, seen = _flat(block).values, _flat(block).observed
        count = np.maximum(seen.sum(0), 1)
        mean = (values * seen).sum(0) / count
        return cls(mean, np.maximum(np.sqrt((np.square(values - mean) * seen).sum(0) / count), 1e-3))

    def cells(self, block: Block) -> Cells:
        seen = block.observed
        z = (block.values - self.mean) / self.std
        half = np.zeros_like(z) if block.half is None else block.half / self.std
        wide = half > _NARROW
        unit = np.where(wide, np.log(2.0 * np.where(wide, half, 1.0)), 0.0) + np.log(self.std)
        if block.constant is not None:
            unit = unit - block.constant
        half = np.where(wide, half, 0.0)
        return Cells(np.where(seen, z - half, -np.inf), np.where(seen, z + half, np.inf), np.where(seen, unit, 0.0))


@dataclass(frozen=True)
class _Frequencies:
    """Smoothed frequencies of codes for each column; the levels of a column lie one after another on the scale."""

    counts: tuple[Float, ...]  # of each column, in the order of its levels on the scale
    place: tuple[Array, ...]  # of each level in that order
    tail: bool  # codes beyond the largest are possible

    @classmethod
    def fit(cls, spec: BlockSpec, block: Block) -> Self:
        codes, seen = _flat(block, _MOST_COUNTED).values.astype(np.int64), _flat(block).observed
        bits = spec.likelihood == "bernoulli"
        levels = (
            (2 if bits else _IMAGE_LEVELS,) * codes.shape[1]
            if bits or spec.kind == "image"
            else spec.levels or (np.where(seen, codes, 0).max(0, initial=0) + 1).tolist()
        )
        columns = zip(codes.T, seen.T, levels, strict=True)
        counts: tuple[Float, ...] = tuple(
            np.bincount(code[shown], minlength=size).astype(np.float64) + 0.5 for code, shown, size in columns
        )
        return cls(
            counts,
            tuple(np.arange(size) for size in levels),
            tail=spec.kind == "count",
        )

    def ordered(self, block: Block, latent: Float, start: int) -> Self:
        counts, places = [], []
        for column, (count, place) in enumerate(zip(self.counts, self.place, strict=True)):
            if len(count) > 2 and latent.shape[1] > 1:
                seen = block.observed[:, column]
                others = np.delete(latent[seen], start + column, axis=1)
                order = np.argsort(_discriminant(block.values[seen, column].astype(np.int64), len(count), others))
                count, place = count[place][order], np.argsort(order)
            counts.append(count)
            places.append(place)
        return replace(self, counts=tuple(counts), place=tuple(places))

    def cells(self, block: Block) -> Cells:
        lower, upper = np.full((2, *block.values.shape), np.inf)
        for column, (count, place) in enumerate(zip(self.counts, self.place, strict=True)):
            code = block.values[:, column].astype(np.int64)
            edges = _edges(count, self.tail)
            inside = np.minimum(code, len(count) - 1)
            lower[:, column], upper[:, column] = edges[place[inside]], edges[place[inside] + 1]
            if self.tail and (beyond := code >= len(count)).any():
                far = (code[beyond] - len(count)).astype(np.float64)
                lower[beyond, column], upper[beyond, column] = _tail(count.sum() + 1.0, far)
        seen = block.observed
        return Cells(np.where(seen, lower, -np.inf), np.where(seen, upper, np.inf), np.zeros_like(lower))


@dataclass(frozen=True)
class _Calendar:
    """Normals, with frequencies in the places of the days of the week."""

    normals: _Normals
    days: _Frequencies
    places: slice

    @classmethod
    def fit(cls, spec: BlockSpec, block: Block) -> Self:
        places = slice(1, None, spec.event[0])
        days = BlockSpec(name=spec.name, kind="category", fields=spec.fields, levels=(DAYS,) * len(spec.fields))
        return cls(_Normals.fit(spec, block), _Frequencies.fit(days, _columns(_flat(block), places)), places)

    def cells(self, block: Block) -> Cells:
        found, days = self.normals.cells(block), self.days.cells(_columns(block, self.places))
        found.lower[:, self.places], found.upper[:, self.places] = days.lower, days.upper
        constant = np.asarray(block.constant)[:, self.places]
        found.unit[:, self.places] = np.where(block.observed[:, self.places], -constant, 0.0)
        return found


def _discriminant(code: Array, levels: int, others: Float) -> Float:
    """Mean of each level along the direction that tells the levels apart best, shape (levels,)."""
    from scipy.linalg import eigh

    others = others - others.mean(0)
    total = np.zeros((levels, others.shape[1]))
    np.add.at(total, code, others)
    count = np.bincount(code, minlength=levels) + 1.0  # shrinks the means of rare levels
    between = (total / count[:, None]).T @ total
    within = others.T @ others + (0.01 * len(others) + 1.0) * np.eye(others.shape[1])
    along = eigh(between, within, subset_by_index=[others.shape[1] - 1] * 2)[1][:, 0]
    mean: Float = total @ along / count
    return mean


def _edges(count: Float, tail: bool) -> Float:
    """Ends of the intervals of the levels of one column: shape (levels + 1,)."""
    from scipy.special import ndtri

    total = count.sum() + (1.0 if tail else 0.0)  # counts keep a share for the tail
    below, above = np.cumsum(count)[:-1] / total, (np.cumsum(count[::-1])[::-1][1:] + total - count.sum()) / total
    inner = np.where(below < 0.5, ndtri(below), -ndtri(above))
    last = -ndtri(1.0 / total) if tail else np.inf
    return np.concatenate([[-np.inf], inner, [last]])


def _tail(total: float, beyond: Float) -> tuple[Float, Float]:
    """Ends of the intervals of counts above the largest seen: half of what is left belongs to each next count."""
    from scipy.special import ndtri_exp

    left = -np.log(total) - beyond * np.log(2.0)
    return -ndtri_exp(left), -ndtri_exp(left - np.log(2.0))


def _part(spec: BlockSpec) -> type[_Normals | _Frequencies | _Calendar]:
    if spec.likelihood == "calendar":
        return _Calendar
    discrete = spec.kind in ("count", "image") or bool(spec.levels) or spec.likelihood == "bernoulli"
    return _Frequencies if discrete else _Normals


def _columns(block: Block, places: slice) -> Block:
    """Some columns of a flat block: values and what was observed."""
    return Block(block.values[:, places], block.observed[:, places])


def _flat(block: Block, most: float = np.inf) -> Block:
    """A block as float64 matrices with one column per element."""
    shape = (len(block), -1)
    values = np.minimum(np.asarray(block.values, np.float64), most)

    def same(array: Array | None) -> Array | None:
        return None if array is None else np.broadcast_to(np.asarray(array), values.shape).reshape(shape)

    half, constant = same(block.half), same(block.constant)
    observed = np.broadcast_to(np.asarray(block.observed), values.shape).reshape(shape)
    return Block(
        values.reshape(shape),
        observed,
        half=None if half is None else half.astype(np.float64),
        constant=None if constant is None else constant.astype(np.float64),
    )

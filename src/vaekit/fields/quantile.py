"""The quantile map: a column becomes roughly standard normal, whatever its shape, with as few knots as that takes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vaekit.fields.lattice import Lattice
from vaekit.fields.profile import Profile
from vaekit.fields.transforms import SMALLEST_SCALE, Monotone, fit_affine

__all__ = ["fit_quantile"]

GAP = 0.01  # probability that the empty stretches between heavy values share
FINEST = 1e-6  # narrowest piece of a continuous map, relative to the spread: it bounds the log-Jacobian
TAIL = 0.1  # outer mass whose mean slope continues beyond the data
FAR = 40.0  # encoded units beyond the data up to which a light tail stays linear
DOUBLING = 10.0  # encoded units that each doubling of the distance adds from there on
HEAVY = 0.3  # tail index from which a tail is heavy: its variance is hardly finite
OCTAVES = 40  # doublings of the distance that are followed
SMALLEST = 1e-9  # smallest rise of a piece, in encoded units
MIN_ROWS = 50
TAIL_ROWS = 400  # from which ten rows lie beyond the outermost quantile of the tail index
MAX_SHARES = 128
MAX_SPIKES, REPEATS, OCCUPIED = 512, 5, 0.2  # grids with gaps keep a piece for each value if there are not too many

Float = NDArray[np.float64]


def fit_quantile(profile: Profile, lattice: Lattice | None = None) -> tuple[Monotone, tuple[float, ...]]:
    r"""Fit :math:`y = \Phi^{-1}(\hat F(x))`, piecewise linear between knots.

    The empirical distribution function is taken at about :math:`\sqrt n` equal shares of the mass, finer towards both
    tails, and at both edges of every value that holds a whole share, and of every value of a grid that is mostly empty.
    Stretches between such values that hold no rows share one per cent of the mass, so the density is positive
    everywhere. The outermost edges lie at :math:`1 / (2 (n + 1))` from 0 and 1. Beyond them the mean slope of the outer
    tenth goes on for 40 units, and then every doubling of the distance adds ten, so that far outliers stay far, and
    their density a number to work with. Where the outer quantiles show a heavy tail of index :math:`\xi`, every
    doubling adds what it adds under :math:`1 - F \propto x^{-1/\xi}` from the start. With fewer than 50 rows or three
    distinct values the map is affine.

    Args:
        profile: Training values.
        lattice: Grid of the readings: knots are then edges of cells, and no cell straddles a knot. None if continuous.

    Returns:
        The map, and the atoms: values of a continuous column that hold a whole share, each alone in a piece.

    References:
        Pickands, Statistical inference using extreme order statistics, 1975 (the tail index).

    Example:
        >>> rng = np.random.default_rng(0)
        >>> fitted, atoms = fit_quantile(Profile.of_values(np.exp(rng.normal(size=2000))))
        >>> encoded = np.interp(np.exp([-1.0, 0.0, 1.0]), fitted.x, fitted.y)
        >>> bool(np.allclose(encoded, [-1.0, 0.0, 1.0], atol=0.1)), atoms
        (True, ())
    """
    if profile.count < MIN_ROWS or len(profile.values) <= 2:
        return fit_affine(profile), ()
    shares = float(np.clip(np.sqrt(profile.count), 2, MAX_SHARES))
    heavy = profile.counts * shares >= profile.count
    if lattice is None:
        finest = 8 * np.finfo(float).eps * float(np.abs(profile.values).max())
        closest = max(FINEST * profile.spread, finest, SMALLEST_SCALE)
        atoms, reach = _atoms(profile, heavy, closest)
        knots = _select(*_spacings(profile, heavy, reach), shares, profile.count)
        x, cdf = _spread_out(*knots, closest)
        piece = np.clip(np.searchsorted(x, atoms) - 1, 0, len(x) - 2)
        alone = (np.diff(x)[piece] <= 2.5 * reach) & (np.bincount(piece)[piece] == 1)  # if its edges were kept
        return _normal(x, cdf, profile), tuple(atoms[alone].tolist())
    cells = (profile.values[-1] - profile.values[0]) / lattice.delta + 1
    few = len(profile.values) <= MAX_SPIKES and profile.count >= REPEATS * len(profile.values)
    spikes = heavy | (few and len(profile.values) < OCCUPIED * cells)  # values that come again and again, far apart
    x, cdf, _ = _select(*_cells(profile, lattice, spikes), shares, profile.count)
    return _normal(x, cdf, profile), ()


def _cells(profile: Profile, lattice: Lattice, heavy: NDArray[np.bool_]) -> tuple[Float, Float, NDArray[np.bool_]]:
    """Edges of the cells that hold rows, the rows below each, and whether it must become a knot."""
    index = lattice.index(profile.values).astype(np.int64)
    upper = 2 * index + 1  # in half steps, so that edges shared by two cells are equal integers
    halves = np.unique(np.concatenate([upper - 2, upper]))
    below = np.concatenate([[0], profile.below])[np.searchsorted(upper, halves, side="right")]
    forced = np.isin(halves, np.concatenate([upper[heavy] - 2, upper[heavy]]))
    return lattice.point(halves / 2), below.astype(np.float64), forced


def _atoms(profile: Profile, heavy: NDArray[np.bool_], closest: float) -> tuple[Float, Float]:
    """Heavy values of a continuous column, and how far the piece of each reaches to both sides."""
    gaps = np.diff(profile.values)
    nearest = np.minimum(np.append(gaps, np.inf), np.insert(gaps, 0, np.inf))[heavy]
    reach = np.clip(0.25 * nearest, closest, max(closest, 0.005 * profile.spread))
    return profile.values[heavy], reach


def _spacings(profile: Profile, heavy: NDArray[np.bool_], reach: Float) -> tuple[Float, Float, NDArray[np.bool_]]:
    """The same for continuous readings: edges halfway between light values, and close around each heavy one."""
    values, below, spread = profile.values, profile.below, profile.spread
    gaps = np.diff(values)
    light = ~(heavy[1:] | heavy[:-1])
    first = [] if heavy[0] else [values[0] - min(0.5 * gaps[0], spread)]
    last = [] if heavy[-1] else [values[-1] + min(0.5 * gaps[-1], spread)]
    middles = values[:-1] + 0.5 * gaps
    edges = np.concatenate([first, middles[light], values[heavy] - reach, values[heavy] + reach, last])
    under = below[heavy] - profile.counts[heavy]
    rows = np.concatenate([[0] * len(first), below[:-1][light], under, below[heavy], [profile.count] * len(last)])
    forced = np.repeat([True, False, True], (len(first), int(light.sum()), 2 * int(heavy.sum()) + len(last)))
    order = np.argsort(edges, kind="stable")
    return edges[order], np.maximum.accumulate(rows[order].astype(np.float64)), forced[order]


def _select(
    edges: Float, below: Float, forced: NDArray[np.bool_], shares: float, rows: int
) -> tuple[Float, Float, NDArray[np.bool_]]:
    """Keep the edges where a new share of the mass begins, and those that are forced."""
    even = np.arange(1, int(shares)) / int(shares)
    finer = 2.0 ** -np.arange(1, 64) / int(shares)
    tail = finer[finer * rows >= 4]
    grid = np.concatenate([tail[::-1], even, 1 - tail])
    share = np.searchsorted(grid, below / rows, side="right")
    keep = forced | (np.diff(share, prepend=-1) > 0)
    keep[0] = keep[-1] = True
    return edges[keep], below[keep] / rows, forced[keep]


def _spread_out(edges: Float, cdf: Float, forced: NDArray[np.bool_], closest: float) -> tuple[Float, Float]:
    """Drop knots that lie closer than `closest`, forced ones last."""
    kept = [0]
    for index in range(1, len(edges)):
        if edges[index] - edges[kept[-1]] >= closest:
            kept.append(index)
        elif (forced[index] and not forced[kept[-1]] and len(kept) > 1) or index == len(edges) - 1:
            kept[-1] = index
    if len(kept) < 2 or edges[kept[-1]] - edges[kept[0]] < closest:
        return np.array([edges[0], edges[0] + closest]), np.array([0.0, 1.0])
    return edges[kept], cdf[kept]


def _normal(x: Float, cdf: Float, profile: Profile) -> Monotone:
    """Knots in encoded units, continued on each side."""
    from scipy.special import ndtri

    mass = np.diff(cdf)
    empty = mass <= 0
    if empty.any():
        width = np.where(empty, np.diff(x), 0.0)
        mass = (1 - GAP) * mass + GAP * width / width.sum()
    cdf = np.concatenate([[0.0], np.cumsum(mass)])
    outer = 0.5 / (profile.count + 1)
    y = ndtri(outer + (1 - 2 * outer) * np.clip(cdf / cdf[-1], 0.0, 1.0))
    y = y[0] + np.concatenate([[0.0], np.cumsum(np.maximum(np.diff(y), SMALLEST))])
    low = max(1, int(np.searchsorted(cdf, TAIL * cdf[-1], side="left")))
    high = min(len(x) - 2, int(np.searchsorted(cdf, (1 - TAIL) * cdf[-1], side="right")) - 1)
    down, below = _beyond(x[low] - x[0], y[low] - y[0], abs(y[0]), _tail_index(profile, -1))
    up, above = _beyond(x[-1] - x[high], y[-1] - y[high], abs(y[-1]), _tail_index(profile, 1))
    x = np.concatenate([x[0] - down[::-1], x, x[-1] + up])
    y = np.concatenate([y[0] - below[::-1], y, y[-1] + above])
    return Monotone(x=tuple(x.tolist()), y=tuple(y.tolist()))


def _tail_index(profile: Profile, side: int) -> float:
    """Pickands' estimate of the tail index on one side, from the outer 10, 5 and 2.5 %; 0 where rows are few."""
    if profile.count < TAIL_ROWS:
        return 0.0
    near, middle, far = (profile.quantile(share if side < 0 else 1 - share) for share in (0.1, 0.05, 0.025))
    inner, outer = side * (middle - near), side * (far - middle)
    return float(np.log2(outer / inner)) if inner > 0 and outer > 0 else 0.0


def _beyond(width: float, rise: float, end: float, index: float) -> tuple[Float, Float]:
    """Distances from the outermost edge, and what they add in encoded units: knots of the continuation.

    Args:
        width: Width of the outer tenth, in the units of the column.
        rise: The same in encoded units.
        end: Distance of the outermost edge from zero, in encoded units.
        index: The tail index.
    """
    if index > HEAVY:  # y^2 / 2 grows by log(2) / index with each doubling
        doublings = np.arange(1.0, OCTAVES + 1)
        return width * (2.0**doublings - 1.0), np.sqrt(end**2 + 2.0 * np.log(2.0) / index * doublings) - end
    straight = max(FAR / rise, 1.0)
    doublings = np.arange(0.0, OCTAVES + 1)
    steps = np.concatenate([[1.0], straight * 2.0**doublings]) if straight > 1.0 else 2.0**doublings
    return width * steps, rise * np.minimum(steps, straight) + DOUBLING * np.log2(np.maximum(steps / straight, 1.0))

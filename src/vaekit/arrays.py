"""Blocks of columns, their static description, and noise that is drawn outside every graph.

Shape legend, used in every docstring and in ``# shape:`` comments: ``B`` batch rows, ``K`` importance samples, ``F``
fields in a block, ``D`` values of one field per row (its event shape), ``L`` latent width of a group, ``T`` time steps,
``C`` channels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Array",
    "Block",
    "BlockSpec",
    "Blocks",
    "Noise",
    "NoiseSpec",
    "Streams",
    "draw",
    "draw_rows",
    "generator",
    "middle",
    "open_uniform",
    "take",
    "tempered",
    "truncated",
]

Array = NDArray[Any]


_ARRAYS = ("values", "observed", "half", "constant", "calendar", "lengths", "unknown")
_TOGETHER = 64  # neighbouring rows whose noise comes from one stream


class BlockSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Static description of one block: the columns of one kind and likelihood that are processed together.

    Args:
        name: Unique name, for example ``"number.gaussian"`` or ``"condition.category"``.
        kind: Field kind: ``number``, ``count``, ``category``, ``vector``, ``image`` or ``datetime``.
        role: ``model`` (has a likelihood) or ``condition`` (is only conditioned on).
        likelihood: Name of the likelihood family; empty for a condition.
        fields: Names of the fields, in order (F of them).
        event: Event shape D of one field; ``()`` for scalars.
        levels: Number of categories per field, for categories; else empty.
        cell: Half the width of the narrowest cell of each field in encoded units (0 for continuous), for numbers; else
            empty. Scales below a fraction of it are meaningless, so likelihoods use it as their floor.
        options: Likelihood options, for example ``{"scale": "learned"}``.
        partial: Whether single elements of a field may be missing, for vectors; otherwise fields are missing as a
            whole.

    Example:
        >>> BlockSpec(name="number.gaussian", kind="number", likelihood="gaussian", fields=("a", "b")).width
        2
    """

    name: str
    kind: str
    role: str = "model"
    likelihood: str = ""
    fields: tuple[str, ...]
    event: tuple[int, ...] = ()
    levels: tuple[int, ...] = ()
    cell: tuple[float, ...] = ()
    options: dict[str, str | float | int | bool] = {}
    partial: bool = False

    @property
    def width(self) -> int:
        """Number of scalar values of the block in one row: F times the event size."""
        return len(self.fields) * int(np.prod(self.event, dtype=np.int64))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one row of the block: ``(F, *event)``."""
        return (len(self.fields), *self.event)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The arrays of a `Block` that this block carries, in the order in which graphs take them."""
        seen = ("calendar",) if self.kind == "datetime" else ()
        if self.role == "condition":
            return ("values", "observed", *seen)
        cells = {"number": ("half", "constant"), "datetime": ("half", "constant")}
        data = () if self.kind in ("category", "image") else ("constant",)  # a log-mass has no part of the data alone
        return ("values", "observed", *cells.get(self.kind, data), *seen)


@dataclass(frozen=True)
class Block:
    """Encoded values of one block for a batch of rows, as NumPy arrays or torch tensors alike.

    Args:
        values: Encoded values, shape (B, F, *event): float32, int64 codes for categories, or uint8 levels and bits of
            images. Missing cells hold zero.
        observed: True where a cell was observed, broadcastable to values.
        half: Numbers only. Half the width of the cell that a reading stands for, in encoded units, shape (B, F);
            zero for a continuous reading.
        constant: The part of the log-density that depends on data only (log-Jacobian, factorials), broadcastable to
            values, in nats.
        calendar: Datetimes only. Waves of the clock, the week and the year, shape (B, F, C).
        lengths: Number of valid steps per row for ragged blocks, shape (B,).
        unknown: Categories only, where the contract reads values that are no level as missing: True where one came,
            shape (B, F).
        whole: Known beforehand to miss no cell, so that nothing has to be masked, and graphs are smaller.

    Example:
        >>> block = Block(np.arange(6.0).reshape(3, 2), np.ones((3, 2), bool))
        >>> block.take(np.array([2])).values
        array([[4., 5.]])
    """

    values: Any
    observed: Any
    half: Any = None
    constant: Any = None
    calendar: Any = None
    lengths: Any = None
    unknown: Any = None
    whole: Any = False

    def __len__(self) -> int:
        return int(self.values.shape[0])

    def arrays(self) -> dict[str, Any]:
        """The arrays that are present, by name."""
        pairs = {name: getattr(self, name) for name in _ARRAYS}
        return {name: value for name, value in pairs.items() if value is not None}

    def take(self, indices: Any) -> Block:
        """The rows at `indices` (an index array, a boolean mask or a slice)."""
        return self.filled({name: value[indices] for name, value in self.arrays().items()})

    def filled(self, arrays: Mapping[str, Any]) -> Block:
        """The same with other arrays, by name."""
        return replace(self, **arrays)

    def seen(self, observed: Any) -> Block:
        """The same values, of which other cells were observed."""
        return replace(self, observed=observed, whole=False)


Blocks = Mapping[str, Block]


def take(blocks: Blocks, indices: Any) -> dict[str, Block]:
    """The rows at `indices` of every block.

    Example:
        >>> blocks = {"a": Block(np.arange(3.0)[:, None], np.ones((3, 1), bool))}
        >>> take(blocks, slice(1, None))["a"].values.ravel()
        array([1., 2.])
    """
    return {name: block.take(indices) for name, block in blocks.items()}


class Noise(msgspec.Struct, frozen=True):
    """One named source of randomness of a model.

    Args:
        kind: ``normal``, ``uniform`` (0, 1) or ``gumbel``.
        shape: Shape of one draw for one row, for example ``(L,)``.
    """

    kind: Literal["normal", "uniform", "gumbel"]
    shape: tuple[int, ...]


NoiseSpec = Mapping[str, Noise]


def generator(seed: int, *stream: str | int) -> np.random.Generator:
    """A Philox generator for one named stream of a seed; streams of one seed are independent.

    Args:
        seed: The user's seed.
        stream: Names or numbers that tell this stream from others.

    Returns:
        A NumPy generator that is the same on every machine.

    Example:
        >>> bool(generator(0, "z").integers(100) == generator(0, "z").integers(100))
        True
    """
    digest = hashlib.sha256(repr((int(seed), *stream)).encode()).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(digest[:16], dtype=np.uint64)))


def draw(spec: NoiseSpec, seed: int, *lead: int) -> dict[str, Array]:
    """Draw every source of a noise spec from a seed, outside any graph, alike for every backend.

    Each name has a stream of its own, so a graph that needs a subset of the names gets the same numbers.

    Args:
        spec: Names, kinds and shapes.
        seed: The seed.
        lead: Leading shape of the draw, for example (K, B), or (K, 1) for one draw shared by all rows.

    Returns:
        Name to float32 array of shape (*lead, *shape).

    Example:
        >>> draw({"z": Noise("normal", (2,))}, 0, 3, 1)["z"].shape
        (3, 1, 2)
    """
    return {name: _sample(generator(seed, name), noise, (*lead, *noise.shape)) for name, noise in spec.items()}


def middle(spec: NoiseSpec, *lead: int) -> dict[str, Array]:
    """The middle of every source in place of a draw: 0, and 1/2 for uniform noise.

    Example:
        >>> middle({"z": Noise("normal", (2,))}, 1)["z"]
        array([[0., 0.]], dtype=float32)
    """
    values = {"normal": 0.0, "gumbel": 0.0, "uniform": 0.5}
    return {name: np.full((*lead, *noise.shape), values[noise.kind], np.float32) for name, noise in spec.items()}


def tempered(spec: NoiseSpec, drawn: Mapping[str, Array], temperature: float) -> dict[str, Array]:
    """Draws that keep closer to the middle (temperature below 1) or go further from it.

    Normal and Gumbel noise is scaled; with Gumbel noise a choice by ``argmax(logits + noise)`` then follows
    ``softmax(logits / temperature)``. Uniform noise stays as it is.

    Example:
        >>> tempered({"z": Noise("normal", (1,))}, {"z": np.ones((1, 1), np.float32)}, 0.5)["z"]
        array([[0.5]], dtype=float32)
    """
    factor = {"normal": temperature, "gumbel": temperature, "uniform": 1.0}
    return {name: drawn[name] * np.float32(factor[noise.kind]) for name, noise in spec.items()}


def truncated(spec: NoiseSpec, drawn: Mapping[str, Array], limit: float) -> dict[str, Array]:
    """Normal draws within so many standard deviations: the normal distribution given that it stays there.

    Each number is moved to the same quantile of the truncated distribution, so draws keep their order. Other noise
    stays as it is.

    References:
        Brock, Donahue & Simonyan, Large scale GAN training for high fidelity natural image synthesis, 2019, section
        3.1.

    Example:
        >>> truncated({"z": Noise("normal", (1,))}, {"z": np.float32([[0.0], [9.0]])}, 1.0)["z"].round(3).tolist()
        [[0.0], [1.0]]
    """
    from scipy.special import ndtr, ndtri

    low = ndtr(-limit)
    return {
        name: ndtri(low + ndtr(drawn[name].astype(np.float64)) * (1.0 - 2.0 * low)).astype(np.float32)
        if noise.kind == "normal"
        else drawn[name]
        for name, noise in spec.items()
    }


class Streams:
    """Noise piece by piece: every name has a stream of its own, which goes on where its last piece ended.

    Args:
        seed: The seed.
        stream: Names or numbers that tell these streams from others.

    Example:
        >>> parts, whole = Streams(0, "rows"), Streams(0, "rows")
        >>> first, second = (parts.draw("z", Noise("normal", (2,)), rows) for rows in (1, 2))
        >>> bool((whole.draw("z", Noise("normal", (2,)), 3)[1:] == second).all())
        True
    """

    def __init__(self, seed: int, *stream: str | int) -> None:
        self._seed, self._stream = seed, stream
        self._made: dict[str, np.random.Generator] = {}

    def draw(self, name: str, noise: Noise, *lead: int) -> Array:
        """The next piece of one stream, shape (*lead, *noise.shape)."""
        if name not in self._made:
            self._made[name] = generator(self._seed, *self._stream, name)
        return _sample(self._made[name], noise, (*lead, *noise.shape))


def draw_rows(noise: Noise, seed: int, rows: Array, *stream: str | int) -> Array:
    """Noise that belongs to the number of a row: the same whatever other rows are asked for.

    Args:
        noise: Kind, and the shape of all that one row needs.
        seed: The seed.
        rows: Row numbers, shape (B,).
        stream: Names or numbers that tell this stream from others.

    Returns:
        Array of shape (B, *shape).

    Example:
        >>> both, one = (draw_rows(Noise("normal", (2,)), 0, np.array(rows)) for rows in ([3, 70], [70]))
        >>> bool((both[1] == one[0]).all())
        True
    """
    group, place = np.divmod(np.asarray(rows, np.int64), _TOGETHER)
    drawn = np.empty((len(group), *noise.shape), np.float64 if noise.kind == "uniform" else np.float32)
    for number in np.unique(group):  # one generator for a group of neighbours
        here = group == number
        drawn[here] = _sample(generator(seed, *stream, int(number)), noise, (_TOGETHER, *noise.shape))[place[here]]
    return drawn


def _sample(rng: np.random.Generator, noise: Noise, size: tuple[int, ...]) -> Array:
    if noise.kind == "normal":
        return rng.standard_normal(size, dtype=np.float32)
    if noise.kind == "uniform":
        return open_uniform(rng, size).astype(np.float32)  # exact: 23 bits and a half fit float32
    return rng.gumbel(size=size).astype(np.float32)


def open_uniform(rng: np.random.Generator, size: tuple[int, ...]) -> NDArray[np.float64]:
    """Uniform draws strictly between 0 and 1, so that every quantile function stays finite."""
    return (rng.integers(0, 2**23, size=size).astype(np.float64) + 0.5) / 2.0**23

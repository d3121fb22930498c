"""`vector`: a list of numbers of one constant length, modelled element by element under one likelihood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vaekit.arrays import Block
from vaekit.errors import ConfigError, ContractError
from vaekit.fields import numeric
from vaekit.fields.arrow_types import is_list, is_number, parse_type
from vaekit.fields.base import Codec, Column, Field, Float, Option, Role, wrong_type
from vaekit.fields.number import FARTHEST, RESOLUTION
from vaekit.fields.profile import HUGE

__all__ = ["Moments", "Vector", "VectorCodec", "constant_length", "element_matrix", "write_lists"]

CHUNK = 4096


class Vector(Field, frozen=True, kw_only=True, tag="vector"):
    r"""A list of D numbers; elements may be missing one by one.

    Args:
        likelihood: ``gaussian``, on standardised elements :math:`(x - center) / scale`, or ``bernoulli``, on bits.
        length: Number of elements D.
        options: Options of the likelihood.
        center: Mean of each element in the training rows (gaussian only).
        scale: Standard deviation of each element in the training rows, 1 if constant (gaussian only).
        partial: Whether training rows miss single elements, not only whole vectors.

    Example:
        >>> field = Vector.blank("v", pa.list_(pa.float32(), 2), "model").fit(pa.chunked_array([[[1, 5], [3, 5]]]))
        >>> field.length, field.center, field.scale
        (2, (2.0, 5.0), (1.0, 1.0))
    """

    likelihood: str
    length: int = 0
    options: dict[str, Option] = msgspec.field(default_factory=dict)
    center: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    partial: bool = False

    editable: ClassVar[frozenset[str]] = Field.editable | {"likelihood", "options"}

    def __post_init__(self) -> None:
        self._check_likelihood(self.likelihood, self.options)
        numbers = (
            np.array([self.center, self.scale]) if len(self.center) == len(self.scale) else np.full((2, 1), np.nan)
        )
        if not np.all(np.isfinite(numbers)) or np.any(numbers[1] <= 0) or len(self.center) not in (0, self.length):
            raise ConfigError(
                f"field {self.name!r}: center and scale need {self.length} finite numbers, scales positive"
            )

    @property
    def block(self) -> str:
        """Each vector is a block of its own."""
        return f"condition.vector.{self.name}" if self.role == "condition" else f"vector.{self.name}"

    @property
    def detail(self) -> str:
        """Number of elements."""
        return f"{self.length} elements" if self.length else ""

    @classmethod
    def accepts(cls, kind: pa.DataType) -> bool:
        """Whether a column of this Arrow type can hold vectors."""
        return is_list(kind) and (is_number(kind.value_type) or bool(pa.types.is_boolean(kind.value_type)))

    @classmethod
    def blank(cls, name: str, kind: pa.DataType, role: Role) -> Self:
        """A vector that is not fitted yet."""
        return cls(name=name, type=str(kind), role=role, likelihood="gaussian")

    def changes(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Another likelihood needs other units, so the fit is dropped with it."""
        if asked.get("likelihood", self.likelihood) == self.likelihood:
            return {}
        return {"length": 0, "center": (), "scale": (), "partial": False} | (
            {} if "options" in asked else {"options": {}}
        )

    def tally(self, column: Column, *, strict: bool = True) -> Moments:
        """The moments of the elements of a column."""
        length = self.length or constant_length(column)
        if not length:
            raise ContractError(
                "vectors need one constant length", field=self.name, expected="lists of numbers of one length"
            )
        values = element_matrix(self, column, length)
        if strict:
            _check_elements(self, values)
        bad = ~(np.abs(values) < HUGE)
        values = np.where(bad, np.nan, values) if bad.any() else values
        partial = bool((bad.any(axis=1) & ~bad.all(axis=1)).any())
        seen = (~bad).sum(axis=0)
        mean = np.nansum(values, axis=0) / np.maximum(seen, 1)
        return Moments(len(column), seen, mean, np.nansum((values - mean) ** 2, axis=0), partial)

    def fitted(self, tally: Moments) -> Self:
        """The field with length, and center and scale of its elements, taken from training rows."""
        if not tally.seen.any():
            raise ContractError("the training rows hold no value; set its role to 'ignore'", field=self.name)
        length = len(tally.seen)
        missing = 1.0 - float(tally.seen.sum()) / max(tally.rows * length, 1)
        field = msgspec.structs.replace(self, length=length, missing=missing, partial=tally.partial)
        if self.likelihood == "bernoulli":
            return field
        scale = np.sqrt(tally.squares / np.maximum(tally.seen, 1))
        scale = np.where(scale > 1e-9 * np.maximum(np.abs(tally.mean), 1e-300), scale, 1.0)
        return msgspec.structs.replace(field, center=tuple(tally.mean.tolist()), scale=tuple(scale.tolist()))

    def merge(self, column: Column, filled: pa.Array, missing: NDArray[np.bool_]) -> pa.Array | Column:
        """A column with its missing elements filled."""
        seen = element_matrix(self, column, self.length)
        new = element_matrix(self, pa.chunked_array([filled]), self.length)
        return write_lists(np.where(np.isnan(seen), new, seen), parse_type(self.type))

    def codec(self, fields: Sequence[Any]) -> Codec:
        """What encodes and decodes the block of one vector."""
        return VectorCodec(fields[0])


class VectorCodec(Codec):
    """Encodes and decodes one `Vector` field."""

    def __init__(self, field: Vector) -> None:
        if not field.length or (field.likelihood == "gaussian" and not field.scale):
            raise ContractError("field is not fitted; call Contract.fit with the training rows", field=field.name)
        self._field, self._type = field, parse_type(field.type)
        self.event = (field.length,)
        affine = bool(field.scale)
        self._center = np.array(field.center) if affine else np.zeros(field.length)
        self._scale = np.array(field.scale) if affine else np.ones(field.length)
        self._jacobian = -np.log(self._scale).astype(np.float32)

    def check(self, columns: Sequence[Column | None], rows: int) -> Float:
        """Elements as one matrix (B, D), NaN where missing; infinite values and wrong lengths are refused."""
        column = columns[0]
        if column is None:
            return np.full((rows, self._field.length), np.nan)
        values = element_matrix(self._field, column, self._field.length)
        _check_elements(self._field, values)
        return values

    def encode(self, columns: Sequence[Column | None], rows: int) -> Block:
        """Encode the column into one block of B rows."""
        matrix = self.check(columns, rows)
        values, constant = (np.empty((rows, 1, self._field.length), dtype=np.float32) for _ in range(2))
        observed = np.empty(values.shape, dtype=np.bool_)
        for start in range(0, rows, CHUNK):
            part = slice(start, start + CHUNK)
            standard = matrix[part] - self._center
            standard /= self._scale
            whole = _below(standard, FARTHEST)
            if not whole:
                np.clip(standard, -FARTHEST, FARTHEST, out=standard)
            values[part, 0], constant[part, 0] = standard, self._jacobian
            observed[part] = True
            if not whole and not np.equal(standard, standard, out=observed[part, 0]).all():  # NaN, which is missing
                values[part, 0][~observed[part, 0]] = constant[part, 0][~observed[part, 0]] = 0.0
        return Block(values, observed, constant=constant)

    def decode(self, values: NDArray[Any]) -> list[pa.Array]:
        """Lists in the column's own type; NaN elements become null."""
        elements = np.asarray(values, dtype=np.float64)[:, 0] * self._scale + self._center
        return [write_lists(elements, self._type)]

    def summarise(self, draws: NDArray[Any], wanted: Sequence[int], interval: float) -> list[dict[str, pa.Array]]:
        """The mean of each element, or its more frequent bit."""
        mean = np.asarray(draws, dtype=np.float64).mean(0)[:, 0]
        if self._field.likelihood == "bernoulli":
            return [{"": write_lists((mean >= 0.5).astype(np.float64), self._type)}]
        return [{"": write_lists(mean * self._scale + self._center, self._type)}]

    def resolution(self, block: Block) -> Float:
        """Sum over observed elements of the log of a hundredth of their scale; zero for bits."""
        if self._field.likelihood == "bernoulli":
            return super().resolution(block)
        nats: Float = (np.asarray(block.observed) * np.log(RESOLUTION * self._scale)).sum(-1)
        return nats


@dataclass(frozen=True)
class Moments:
    """Counts, means and sums of squared deviations of the elements of vectors.

    Args:
        rows: Number of rows.
        seen: Rows with a value, per element (D,).
        mean: Mean of each element (D,).
        squares: Sum of squared deviations from it (D,).
        partial: Whether a row misses some of its elements.

    References:
        Chan, Golub and LeVeque, Updating formulae for computing sample variances, 1979, eq. 2.1.
    """

    rows: int
    seen: NDArray[np.int64]
    mean: Float
    squares: Float
    partial: bool

    def merged(self, other: Moments) -> Moments:
        """The moments of the rows of both."""
        seen = self.seen + other.seen
        gap, share = other.mean - self.mean, other.seen / np.maximum(seen, 1)
        mean = np.where(self.seen > 0, self.mean + gap * share, other.mean)
        between = np.where((self.seen > 0) & (other.seen > 0), gap**2 * self.seen * share, 0.0)
        return Moments(
            self.rows + other.rows, seen, mean, self.squares + other.squares + between, self.partial or other.partial
        )


def write_lists(elements: Float, kind: pa.DataType) -> pa.Array:
    """Rows of elements (B, D) as lists of a given type; NaN elements become null.

    Example:
        >>> write_lists(np.array([[1.0, np.nan]]), pa.list_(pa.int64())).to_pylist()
        [[1, None]]
    """
    child, length = kind.value_type, elements.shape[1]
    if pa.types.is_boolean(child):
        missing = np.isnan(elements.ravel())
        flat = pa.array(elements.ravel() >= 0.5, mask=missing if missing.any() else None)
    else:
        flat = numeric.write(elements.ravel(), child)
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(flat, type=kind)
    offsets = np.arange(0, (len(elements) + 1) * length, length)
    family = pa.LargeListArray if pa.types.is_large_list(kind) else pa.ListArray
    size = pa.int64() if pa.types.is_large_list(kind) else pa.int32()
    return family.from_arrays(pa.array(offsets, type=size), flat, type=kind)


def constant_length(column: Column) -> int:
    """The length that all lists of a column share; 0 if there is none.

    Example:
        >>> constant_length(pa.chunked_array([[[1, 2], None, [3, 4]]]))
        2
        >>> constant_length(pa.chunked_array([[[1], [2, 3]]]))
        0
    """
    import pyarrow.compute as pc

    if pa.types.is_fixed_size_list(column.type):
        return int(column.type.list_size)
    lengths = pc.unique(pc.list_value_length(column)).drop_null().to_pylist()
    return int(lengths[0]) if len(lengths) == 1 else 0


def element_matrix(field: Field, column: Column, length: int) -> Float:
    """The elements of a list column as float64 with NaN for what is missing, shape (B, D).

    Raises:
        ContractError: The column holds no lists of numbers, or a list has another length.
    """
    if pa.types.is_null(column.type):
        return np.full((len(column), length), np.nan)
    if not Vector.accepts(column.type):
        raise wrong_type(field, f"lists of {length} numbers ({field.type})", column.type)
    parts, start = [], 0
    for chunk in column.chunks:
        if not pa.types.is_fixed_size_list(chunk.type) or chunk.type.list_size != length:
            _check_lengths(field, chunk, length, start)
        flat = chunk.flatten()
        if pa.types.is_boolean(flat.type):
            flat = flat.cast(pa.uint8())
        part = flat.to_numpy(zero_copy_only=False).reshape(-1, length)
        if chunk.null_count:
            whole = np.full((len(chunk), length), np.nan)
            whole[chunk.is_valid().to_numpy(zero_copy_only=False)] = part
            part = whole
        parts.append(part)
        start += len(chunk)
    return np.concatenate(parts or [np.empty((0, length))], dtype=np.float64)


def _check_lengths(field: Field, chunk: pa.Array, length: int, start: int) -> None:
    import pyarrow.compute as pc

    lengths = pc.list_value_length(chunk).fill_null(length).to_numpy(zero_copy_only=False)
    wrong = lengths != length
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ContractError(
            "list has the wrong length",
            field=field.name,
            row=start + row,
            expected=f"{length} elements",
            got=f"{int(lengths[row])}",
        )


def _below(values: Float, bound: float) -> bool:
    """Whether it is easily seen that all values are numbers below a bound: their squares add up to less than its."""
    flat = values.ravel()
    return bool(np.dot(flat, flat) < bound * bound)


def _check_elements(field: Vector, values: Float) -> None:
    """Refuse infinite elements, and elements of a bernoulli vector that are neither 0 nor 1."""
    if field.likelihood != "bernoulli" and _below(values, HUGE):
        return
    bad, expected = np.abs(values) >= HUGE, "finite numbers (below 1e100), or null where they are not known"
    if field.likelihood == "bernoulli" and not bad.any():
        bad, expected = (values != 0) & (values != 1) & ~np.isnan(values), "elements that are 0 or 1"
    if bad.any():
        row, element = (int(index) for index in np.unravel_index(int(np.argmax(bad)), bad.shape))
        got = f"{float(values[row, element])!r} in element {element}"
        raise ContractError("value does not fit the vector", field=field.name, row=row, expected=expected, got=got)

"""What every kind of field brings: a `Field` is plain data, a `Codec` turns a block of fields into arrays and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol, Self, TypeAlias

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vaekit.arrays import Block, BlockSpec
from vaekit.errors import ConfigError, ContractError
from vaekit.fields.arrow_types import parse_type
from vaekit.fields.markers import without

__all__ = ["Codec", "Column", "Field", "Float", "Option", "Role", "Tally", "wrong_type"]

Role = Literal["model", "condition", "ignore", "entity", "time"]
Option = str | float | int | bool
Float = NDArray[np.float64]
Column: TypeAlias = pa.ChunkedArray


class Tally(Protocol):
    """What fitting a field needs to know of some rows; tallies of several parts of a table add up."""

    def merged(self, other: Any) -> Any:
        """The tally of the rows of both."""


class Field(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    tag_field="kind",
):
    """One column of a contract; each kind of field is a subclass, told apart by ``kind`` in JSON.

    Args:
        name: Name of the column.
        type: Arrow type of the column, as text. Decoded columns have exactly this type.
        role: ``model`` (the model learns its density), ``condition`` (the model is conditioned on it), ``entity`` or
            ``time`` (not modelled; splits keep entities whole, and training before what it is tested on) or ``ignore``.
        missing: Fraction of the training rows in which the field is missing.
        markers: Values that stand for "missing" in this column, such as ``"?"`` or ``-999``.
        note: Why the field is of this kind, or what is odd about it.
    """

    name: str
    type: str
    role: Role
    missing: float = 0.0
    markers: tuple[str | int | float, ...] = ()
    note: str = ""

    editable: ClassVar[frozenset[str]] = frozenset({"role", "markers", "note"})

    @property
    def asides(self) -> dict[str, pa.DataType]:
        """What is told beside a point estimate of the field: suffix of the column's name to its type."""
        return {}

    @property
    def kind(self) -> str:
        """The name of the kind, such as ``number``, ``category``, ``image`` or ``other``."""
        return str(self.__struct_config__.tag)

    @property
    def block(self) -> str:
        """Name of the block that the field goes to, before fields with other options are told apart."""
        if self.role == "condition":
            return f"condition.{self.kind}"
        return f"{self.kind}.{getattr(self, 'likelihood', '')}"

    @property
    def detail(self) -> str:
        """What is worth knowing about the fitted field, in a few words."""
        return ""

    def clean(self, column: Column) -> Column:
        """A column as the field reads it: null where it holds one of the `markers`."""
        return without(column, self.markers) if self.markers else column

    @classmethod
    def accepts(cls, kind: pa.DataType) -> bool:
        """Whether a column of this Arrow type can be a field of this kind."""
        raise NotImplementedError

    @classmethod
    def blank(cls, name: str, kind: pa.DataType, role: Role) -> Self:
        """A field of this kind that is not fitted yet."""
        raise NotImplementedError

    def changes(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """What else changes when a user changes `asked`, such as a transform that must be fitted again."""
        return {}

    def fit(self, column: Column, *, strict: bool = True) -> Self:
        """The field with its transform fitted to a column; what defines its values (levels, lattice) stays.

        Args:
            column: Training rows.
            strict: Refuse values that break the contract; otherwise leave them out.

        Raises:
            ContractError: A value breaks the contract, or no value is left to fit to.
        """
        return self.fitted(self.tally(column, strict=strict))

    def tally(self, column: Column, *, strict: bool = True) -> Any:
        """All that fitting the field needs to know of a column; arguments and errors as in `fit`."""
        raise NotImplementedError

    def fitted(self, tally: Any) -> Self:
        """The field with its transform fitted to the tally of all training rows.

        Raises:
            ContractError: There is no value to fit to.
        """
        raise NotImplementedError

    def codec(self, fields: Sequence[Any]) -> Codec:
        """What encodes and decodes a block of such fields."""
        raise NotImplementedError

    def cells(self, values: Sequence[Any]) -> pa.Array:
        """Plain Python values as a column of the field's own type; errors are Arrow's or Python's own."""
        kind = parse_type(self.type)
        if pa.types.is_dictionary(kind):
            return pa.array(values, type=kind.value_type).dictionary_encode().cast(kind)
        return pa.array(values, type=kind)

    def error(self, real: Column, seen: Column) -> dict[str, float]:
        """How far the values that a model gives are from the real ones, over observed cells; by name of the figure."""
        return {}

    def merge(self, column: Column, filled: pa.Array, missing: NDArray[np.bool_]) -> pa.Array | Column:
        """A column with its missing cells (B,) filled; observed cells stay exactly as they came."""
        import pyarrow.compute as pc

        if pa.types.is_null(column.type):
            return filled
        return pc.if_else(pa.array(missing), filled.cast(column.type), column)

    def _check_likelihood(self, likelihood: str, options: Mapping[str, Option]) -> None:
        """Refuse a likelihood that this kind cannot have, and options that the likelihood does not know."""
        from vaekit.fields.families import FAMILIES

        allowed = [family.name for family in FAMILIES.values() if self.kind in family.kinds]
        if likelihood not in allowed:
            choice = ", ".join(allowed)
            raise ConfigError(f"field {self.name!r}: a {self.kind} has a likelihood of {choice}; got {likelihood!r}")
        spec = BlockSpec(
            name=self.name,
            kind=self.kind,
            likelihood=likelihood,
            fields=(self.name,),
            levels=(2,),
            options=dict(options),
        )
        try:
            FAMILIES[likelihood].check(spec)
        except ConfigError as error:
            raise ConfigError(str(error).replace("block", "field", 1)) from error


class Codec(ABC):
    """Turns the columns of one block into arrays and back, all fields at once."""

    event: tuple[int, ...] = ()
    levels: tuple[int, ...] = ()
    cell: tuple[float, ...] = ()

    @abstractmethod
    def check(self, columns: Sequence[Column | None], rows: int) -> Any:
        """Read the columns and refuse values that break the contract; what was read is handed to `encode`.

        Args:
            columns: One per field; None for a column that is missing as a whole.
            rows: Number of rows B.

        Raises:
            ContractError: A column has the wrong type, or a value breaks the contract.
        """

    @abstractmethod
    def encode(self, columns: Sequence[Column | None], rows: int) -> Block:
        """Encode the columns into one block of B rows."""

    def encode_training(self, columns: Sequence[Column | None], rows: int) -> Block:
        """As `encode`, but with what training draws anew in every step left as it is; the same for most kinds."""
        return self.encode(columns, rows)

    @abstractmethod
    def decode(self, values: NDArray[Any]) -> list[pa.Array]:
        """Turn encoded values (B, F, *event) back into columns of the fields' own types; NaN becomes null."""

    def summarise(self, draws: NDArray[Any], wanted: Sequence[int], interval: float) -> list[dict[str, pa.Array]]:
        """Point estimates of predictive draws, and what is told beside them.

        Args:
            draws: Encoded values (S, B, F, *event).
            wanted: Numbers of the fields that are asked for.
            interval: Coverage of intervals.

        Returns:
            For each field that is asked for, the point estimates under the empty name, and its `Field.asides`.
        """
        raise NotImplementedError

    def resolution(self, block: Block) -> Float:
        """Log of the resolution at which each cell was read, in the units of the column; zero for a log-mass.

        Args:
            block: Encoded rows.

        Returns:
            Nats of shape (B, F), zero where missing: added to a log-density they make it the log of a probability.
        """
        return np.zeros(block.values.shape[:2])


def wrong_type(field: Field, expected: str, got: pa.DataType) -> ContractError:
    """The error for a column whose Arrow type does not fit its field."""
    return ContractError("column has the wrong type", field=field.name, expected=expected, got=str(got))

"""What every kind of field brings: a `Field` is plain data, a `Codec` turns a block of fields into arrays and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self, TypeAlias

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vaekit.arrays import Block, BlockSpec
from vaekit.errors import ConfigError, ContractError

__all__ = ["Codec", "Column", "Field", "Float", "Option", "Role", "wrong_type"]

Role = Literal["model", "condition", "ignore", "entity", "time"]
Option = str | float | int | bool
Float = NDArray[np.float64]
Column: TypeAlias = pa.ChunkedArray


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
        note: Why the field is of this kind, or what is odd about it.
    """

    name: str
    type: str
    role: Role
    missing: float = 0.0
    note: str = ""

    editable: ClassVar[frozenset[str]] = frozenset({"role", "note"})

    @property
    def kind(self) -> str:
        """The name of the kind: ``number``, ``count``, ``category``, ``vector`` or ``other``."""
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
        return self

    def codec(self, fields: Sequence[Any]) -> Codec:
        """What encodes and decodes a block of such fields."""
        raise NotImplementedError

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

    @abstractmethod
    def decode(self, values: NDArray[Any]) -> list[pa.Array]:
        """Turn encoded values (B, F, *event) back into columns of the fields' own types; NaN becomes null."""

    def resolution(self, fields: Sequence[Any]) -> Float:
        """Log of the resolution of each field, in the units of the column; zero for a log-mass. Shape (F,)."""
        return np.zeros(len(fields))


def wrong_type(field: Field, expected: str, got: pa.DataType) -> ContractError:
    """The error for a column whose Arrow type does not fit its field."""
    return ContractError("column has the wrong type", field=field.name, expected=expected, got=str(got))

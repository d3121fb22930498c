"""The contract: the fields of a row with their fitted transforms, as plain data with a hash."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vaekit.arrays import Array, Block, BlockSpec
from vaekit.errors import ConfigError, ContractError
from vaekit.fields.base import Codec, Column, Role
from vaekit.fields.batches import Source, empty
from vaekit.fields.edit import AnyField, edited
from vaekit.fields.infer import CHECK
from vaekit.fields.show import show
from vaekit.fields.sources import open_source
from vaekit.fields.streams import fitted, inferred
from vaekit.fields.tables import to_arrow
from vaekit.files import write_file

__all__ = ["VERSION", "Contract"]

VERSION = 1


class _Part(NamedTuple):
    """One block: its description, its fields, and what encodes and decodes them."""

    spec: BlockSpec
    fields: tuple[Any, ...]
    codec: Codec


class Contract(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """The ordered fields of a row; applies the same transforms in training and in serving.

    Args:
        fields: The fields, in the order of the columns.
        version: Version of the format.

    Example:
        >>> contract = Contract.infer({"speed": [1.5, 2.25, None], "origin": ["JFK", "EWR", "JFK"]})
        >>> [(field.name, field.kind) for field in contract.fields]
        [('speed', 'number'), ('origin', 'category')]
        >>> blocks = contract.encode({"speed": [1.5], "origin": ["EWR"]})
        >>> contract.decode({name: block.values for name, block in blocks.items()}).to_pylist()
        [{'speed': 1.5, 'origin': 'EWR'}]
    """

    fields: tuple[AnyField, ...]
    version: int = VERSION

    def __post_init__(self) -> None:
        names = [field.name for field in self.fields]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ConfigError(f"two fields of the contract have the name {twice!r}")

    # ---------------------------------------------------------------- making and changing

    @classmethod
    def infer(cls, data: Any) -> Self:
        """The contract that a table suggests; it never fails on a column, it leaves it out and says why.

        Files and other sources that are not in memory are read in batches, in memory that does not grow with them: a
        look at a sample, then one pass over all rows. See `vaekit.fields.streams.inferred`.

        Args:
            data: Anything that `vaekit.fields.sources.open_source` takes, with at least one row.

        Returns:
            A fitted contract. Print it, and see `warnings`.

        Raises:
            ContractError: The data is no table, or has no rows.
        """
        return cls(fields=inferred(open_source(data)))  # type: ignore[arg-type]

    @property
    def types(self) -> dict[str, str]:
        """The Arrow types of the columns, as text, as far as values of them can be held."""
        return {field.name: field.type for field in self.fields if field.kind != "other"}

    def table(self, data: Any) -> pa.Table:
        """Any table as a `pyarrow.Table`; the columns of a text file have the types of the fields.

        Args:
            data: Anything that `to_arrow` takes.

        Raises:
            ContractError: The data is no table, or a value in a file is none of the type of its field.
        """
        return to_arrow(data, self.types)

    def source(self, data: Any) -> Source:
        """Any source of rows, without reading them all; the columns of a text file have the types of the fields.

        Args:
            data: Anything that `vaekit.fields.sources.open_source` takes.

        Raises:
            ContractError: The data is no source of rows.
        """
        return open_source(data, self.types)

    def fit(self, data: Any) -> Self:
        """The contract with its transforms fitted to training rows; kinds, levels and grids stay.

        Rows that are not in memory are read once, in batches. A transform of a column with more than 2¹⁷ distinct
        values is then fitted to quantiles of bounded error, see `vaekit.fields.profile.Profile.merged`.

        Args:
            data: Training rows only; anything that `vaekit.fields.sources.open_source` takes.

        Raises:
            ContractError: A row breaks the contract, a column is missing, or holds nothing to fit to.
        """
        source = self.source(data)
        used = [field for field in self.fields if field.role in ("model", "condition")]
        for field in used:
            _column(empty(source.schema), field)
        fresh = {field.name: field for field in fitted(used, source)}
        return msgspec.structs.replace(self, fields=tuple(fresh.get(field.name, field) for field in self.fields))

    def replace(self, name: str, /, **changes: Any) -> Self:
        """The contract with one field changed; `fit` it again before use if its kind or transform changed.

        Args:
            name: Name of the field.
            changes: ``role``, ``kind``, or an option of the kind, such as ``likelihood``, ``transform`` or ``unseen``.

        Raises:
            ConfigError: No such field, no such option, or a value that it cannot have.

        Example:
            >>> contract = Contract.infer({"x": [1.0, 2.0, 4.0]}).replace("x", likelihood="student_t")
            >>> contract["x"].transform
            'standard'
        """
        changed = edited(self[name], changes)
        fields = tuple(changed if one.name == name else one for one in self.fields)
        return msgspec.structs.replace(self, fields=fields)

    # ---------------------------------------------------------------- looking

    def __getitem__(self, name: str) -> AnyField:
        for field in self.fields:
            if field.name == name:
                return field
        close = difflib.get_close_matches(str(name), self.names(), n=1)
        hint = f"; did you mean {close[0]!r}?" if close else f"; it has {', '.join(self.names()[:20])}"
        raise ConfigError(f"the contract has no field {name!r}{hint}")

    def __str__(self) -> str:
        return show(self.fields)

    def names(self, role: Role | None = None) -> tuple[str, ...]:
        """Names of the fields, of one role if it is given, in order."""
        return tuple(field.name for field in self.fields if role is None or field.role == role)

    @property
    def warnings(self) -> tuple[tuple[str, str], ...]:
        """Name and note of every field that is left out, or that needs a look."""
        return tuple(
            (field.name, field.note)
            for field in self.fields
            if field.note and (field.role == "ignore" or field.note.startswith(CHECK))
        )

    def require_usable(self) -> Self:
        """The contract itself, if there is something to model.

        Raises:
            ContractError: No field has the role ``model``.
        """
        if not self.names("model"):
            got = "; ".join(f"{name} ({note})" for name, note in self.warnings[:5]) or "none"
            raise ContractError("a contract needs at least one model field; give one role='model'", got=got)
        return self

    # ---------------------------------------------------------------- encoding

    @cached_property
    def _parts(self) -> tuple[_Part, ...]:
        """The blocks: fields of one kind, role, likelihood and options, as they appear, model before condition."""
        groups: dict[tuple[str, str], list[AnyField]] = {}
        used = [field for role in ("model", "condition") for field in self.fields if field.role == role]
        for field in used:
            options = str(sorted(getattr(field, "options", {}).items())) if field.role == "model" else ""
            groups.setdefault((field.block, options), []).append(field)
        parts, seen = [], dict[str, int]()
        for (name, _), fields in groups.items():
            seen[name] = seen.get(name, 0) + 1
            unique = name if seen[name] == 1 else f"{name}.{seen[name]}"
            codec = fields[0].codec(fields)
            parts.append(_Part(_spec(unique, fields, codec), tuple(fields), codec))
        return tuple(parts)

    def blocks(self) -> tuple[BlockSpec, ...]:
        """What the blocks are, in the order of `encode`.

        Raises:
            ContractError: A field is not fitted.
        """
        return tuple(part.spec for part in self._parts)

    def encode(self, data: Any, *, partial: bool = False, training: bool = False) -> dict[str, Block]:
        """Rows as blocks of arrays, in encoded units.

        Args:
            data: Anything that `to_arrow` takes. Columns that the contract does not know are passed over.
            partial: Take columns that are not there as missing in every row.
            training: Leave to training what it draws anew in every step, such as the bits of images.

        Returns:
            Block name to `Block` of B rows; missing cells hold zero.

        Raises:
            ContractError: A column is missing or has the wrong type, or a value breaks the contract.
        """
        table = self.table(data)
        return {
            part.spec.name: _encoded(part, _columns(table, part, partial), table.num_rows, training)
            for part in self._parts
        }

    def validate(self, data: Any, *, partial: bool = False) -> None:
        """Check that rows fit the contract, without encoding them.

        Raises:
            ContractError: A column is missing or has the wrong type, or a value breaks the contract.
        """
        table = self.table(data)
        for part in self._parts:
            part.codec.check(_columns(table, part, partial), table.num_rows)

    def missing(self, rows: int) -> dict[str, Block]:
        """Blocks in which every cell of `rows` rows is missing."""
        return {part.spec.name: _encoded(part, [None] * len(part.fields), rows) for part in self._parts}

    def decode(self, values: Mapping[str, Array], names: Sequence[str] | None = None) -> pa.Table:
        """Encoded values of the model fields as a table, in the columns' own types and order.

        Numbers and counts are kept within the range of the training rows unless the field has ``clip=False``; NaN
        becomes null.

        Args:
            values: Block name to encoded values (B, F, *event), as `encode` or a quantile function gives them.
            names: Fields to decode; by default all model fields. Blocks without any of them need not be there.

        Raises:
            ContractError: A block is missing, or has the wrong shape.
        """
        wanted = self.names("model") if names is None else tuple(names)
        columns: dict[str, pa.Array] = {}
        for part in self._parts:
            if part.spec.role == "model" and not set(wanted).isdisjoint(part.spec.fields):
                arrays = part.codec.decode(_shaped(values, part.spec))
                columns |= dict(zip(part.spec.fields, arrays, strict=True))
        for name in wanted:
            if name not in columns:
                raise ContractError("only model fields can be decoded", field=name, got=f"role {self[name].role!r}")
        ordered = [name for name in self.names("model") if name in wanted]
        return pa.Table.from_arrays([columns[name] for name in ordered], names=ordered)

    def column(self, name: str, values: Sequence[Any]) -> pa.Array:
        """Plain Python values as a column of a field's own type.

        Raises:
            ContractError: A value does not have that type.

        Example:
            >>> Contract.infer({"x": [1, 2, 4]}).column("x", [None, 3]).type
            DataType(int64)
        """
        field = self[name]
        try:
            return field.cells(values)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise ContractError(
                "value has the wrong type", field=name, expected=field.type, got=repr(values)[:80]
            ) from error

    def summarise(
        self, draws: Mapping[str, Array], names: Sequence[str], interval: float
    ) -> dict[str, dict[str, pa.Array]]:
        """Point estimates of predictive draws, and what is told beside them.

        Args:
            draws: Block name to encoded values (S, B, F, *event).
            names: Model fields that are asked for.
            interval: Coverage of intervals.

        Returns:
            Field name to its point estimates, under the empty name, and its `Field.asides`, each of B rows.
        """
        found: dict[str, dict[str, pa.Array]] = {}
        for part in self._parts:
            wanted = [index for index, name in enumerate(part.spec.fields) if name in names]
            if wanted and part.spec.role == "model":
                told = part.codec.summarise(draws[part.spec.name], wanted, interval)
                found |= {part.spec.fields[index]: one for index, one in zip(wanted, told, strict=True)}
        return found

    def resolution(self, blocks: Mapping[str, Block]) -> dict[str, NDArray[np.float64]]:
        """Log of the resolution at which each cell of the model fields was read, by field, shape (B,).

        The width of the cell of a rounded number, a hundredth of the robust spread of a continuous one (summed over the
        observed elements of a vector), and one for counts and categories; zero where a cell is missing. Adding it to a
        log-density gives a unit-free score.

        Args:
            blocks: Encoded rows, as `encode` gives them.
        """
        found: dict[str, NDArray[np.float64]] = {}
        for part in self._parts:
            if part.spec.role == "model":
                nats = part.codec.resolution(blocks[part.spec.name])
                found |= dict(zip(part.spec.fields, nats.T, strict=True))
        return found

    # ---------------------------------------------------------------- as text

    @property
    def hash(self) -> str:
        """sha256 of the contract as canonical JSON (sorted keys, defaults left out)."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()

    def to_json(self) -> str:
        """The contract as JSON, one field per line."""
        lines = ",\n    ".join(msgspec.json.encode(field).decode() for field in self.fields)
        return f'{{\n  "version": {self.version},\n  "fields": [\n    {lines}\n  ]\n}}\n'

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The contract that `to_json` wrote.

        Raises:
            ContractError: The text is no contract, or one of a newer version.
        """
        try:
            return cls._from_plain(msgspec.json.decode(text))
        except msgspec.DecodeError as error:
            raise ContractError(f"contract is not valid JSON: {error}") from error

    @classmethod
    def _from_plain(cls, plain: Any) -> Self:
        version = plain.get("version") if isinstance(plain, dict) else None
        if isinstance(version, int) and version > VERSION:
            raise ContractError(
                "contract was written by a newer vaekit; upgrade",
                expected=f"version {VERSION}",
                got=f"version {version}",
            )
        try:
            return msgspec.convert(plain, cls)
        except (msgspec.ValidationError, ConfigError) as error:
            raise ContractError(f"contract is not valid: {error}") from error

    def save(self, path: str | Path) -> Path:
        """Write the contract atomically, as JSON or TOML by the suffix.

        Raises:
            ConfigError: The suffix is neither .json nor .toml.
        """
        path = Path(path)
        if path.suffix == ".json":
            content = self.to_json().encode()
        elif path.suffix == ".toml":
            content = msgspec.toml.encode(self)
        else:
            raise ConfigError(f"{path}: a contract is saved as .json or .toml")
        write_file(path, content)
        return path

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a contract that `save` wrote; reading executes nothing.

        Raises:
            ConfigError: The suffix is neither .json nor .toml.
            ContractError: The file cannot be read, or holds no contract.
        """
        path = Path(path)
        if path.suffix not in (".json", ".toml"):
            raise ConfigError(f"{path}: a contract is a .json or .toml file")
        try:
            content = path.read_bytes()
            if path.suffix == ".json":
                return cls.from_json(content)
            return cls._from_plain(msgspec.toml.decode(content))
        except (OSError, msgspec.DecodeError) as error:
            raise ContractError(f"{path} cannot be read: {error}") from error


def _column(table: pa.Table, field: AnyField) -> Column:
    index = table.schema.get_field_index(field.name)
    if index < 0:
        raise ContractError(
            "column is missing", field=field.name, got=f"columns {', '.join(table.column_names[:20]) or 'none'}"
        )
    return field.clean(table.column(index))


def _columns(table: pa.Table, part: _Part, partial: bool) -> list[Column | None]:
    there = set(table.column_names) if partial else set(part.spec.fields)
    return [_column(table, field) if field.name in there else None for field in part.fields]


def _encoded(part: _Part, columns: Sequence[Column | None], rows: int, training: bool = False) -> Block:
    block = part.codec.encode_training(columns, rows) if training else part.codec.encode(columns, rows)
    if part.spec.role == "condition":
        return Block(block.values, block.observed, calendar=block.calendar, unknown=block.unknown)
    return block


def _spec(name: str, fields: Sequence[AnyField], codec: Codec) -> BlockSpec:
    first = fields[0]
    model = first.role == "model"
    return BlockSpec(
        name=name,
        kind=first.kind,
        role=first.role,
        likelihood=str(getattr(first, "likelihood", "")) if model else "",
        fields=tuple(field.name for field in fields),
        event=codec.event,
        levels=codec.levels,
        cell=codec.cell,
        options=dict(getattr(first, "options", {})) if model else {},
        partial=bool(getattr(first, "partial", False)),
    )


def _shaped(values: Mapping[str, Array], spec: BlockSpec) -> Array:
    if spec.name not in values:
        raise ContractError(f"values of block {spec.name!r} are missing", got=", ".join(values) or "no block")
    array = np.asarray(values[spec.name])
    if array.shape[1:] != spec.shape:
        expected = f"(rows, {', '.join(map(str, spec.shape))})"
        raise ContractError(
            f"values of block {spec.name!r} have the wrong shape", expected=expected, got=str(array.shape)
        )
    return array

"""`edit`: rows with one attribute changed, and as little else as the model allows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vaekit.arrays import Array
from vaekit.errors import ConfigError, QueryError
from vaekit.fields.pixels import is_bytes
from vaekit.metrics.attributes import Classes, Quantities, combined
from vaekit.queries.base import Attributes, Labelled, count, positive, register
from vaekit.queries.paths import centres, decoded

if TYPE_CHECKING:
    import pyarrow as pa

    from vaekit.runtime.engine import Engine

__all__ = ["edit"]

_CLASSES = 20  # different values up to which whole numbers are taken for classes
_SHARES = (1.0, 0.5, 0.5)  # of the way to the goal, each time that an edit is decoded, encoded and read again
_LEAST = 5  # examples of a class, or of a quantity for each latent dimension that leans on it


@register
def edit(
    engine: Engine,
    rows: Labelled,
    examples: Labelled = None,
    *,
    set: Attributes,
    strength: float = 1.0,
    steps: int = 1,
) -> pa.Table:
    """Rows as they would be with another value of an attribute.

    A condition field is simply given its new value, and the row is decoded from the same latent code. Any other
    attribute is learned from `examples`: rows with a column of that name, which need not be a field of the model.
    Codes of a class are moved to those of another by the map between the normals fitted to both that moves them
    least, then so that quantities of the examples that are no fields of the model stay, where there are five
    examples for each latent dimension. Codes of a quantity are moved
    to the nearest that are read as the new value while all other quantities, and classes, of the examples stay; of more
    quantities than latent dimensions not all can. Quantities are read within each class, by kernel ridge, and the
    step is corrected by what the decoded edit is read as. Classes are changed first, then quantities.

    Args:
        engine: The model.
        rows: Rows to edit, B of them. Where they have columns of attributes, these say from which class each comes, and
            what a quantity is that is no field of the model; otherwise the likeliest class is taken, and what is read.
        examples: Rows of the model with columns of attributes: text, booleans and few whole numbers are classes, other
            numbers are quantities. Rows without the attribute are left out.
        set: Attribute to its new value.
        strength: How far to go: 1 to the new value, below it part of the way, above it beyond.
        steps: Points on the way, of which the last is the full edit; 1 gives the full edit alone.

    Returns:
        The model fields of the edited rows; with several steps columns ``row`` and ``step`` before them, and B · steps
        rows.

    Raises:
        ConfigError: If nothing is set, or steps or strength make no sense.
        QueryError: If an attribute is no column of the examples, is not known there, or there are too few of them.
        ContractError: If the rows do not fit the contract.

    References:
        Larsen et al., Autoencoding beyond pixels using a learned similarity metric, 2016, section 4.2 (attribute
        vectors by arithmetic on means, which this refines).

    Example:
        >>> from vaekit.queries import QUERIES
        >>> "edit" in QUERIES
        True
    """
    positive(steps=steps)
    if not set or not np.isfinite(strength):
        raise ConfigError(f"edit needs set={{attribute: value}} and a finite strength, got {dict(set)} and {strength}")
    asked, contract = dict(set), engine.contract
    table = contract.table(rows)
    given = {name: asked.pop(name) for name in contract.names("condition") if name in asked}
    blocks = engine.encode(table)
    start = centres(engine, blocks)
    z = _joined(start)
    moved = z.copy()
    if asked and examples is None:
        raise QueryError(
            f"edit learns {', '.join(asked)} from examples: pass rows with a column of that name as examples=; only "
            f"condition fields ({', '.join(contract.names('condition')) or 'this model has none'}) need none"
        )
    for name, value in given.items():
        column = contract.column(name, [value]).take(np.zeros(table.num_rows, np.int64))
        table = table.set_column(table.column_names.index(name), name, column)
    if given:
        blocks = engine.encode(table)
    if asked:
        labelled = contract.table(examples)
        known = _joined(centres(engine, engine.encode(labelled)))

        def again(z: Array) -> Array:
            """Codes of what codes are decoded to."""
            found = decoded(engine, _split(z[None].astype(np.float32), start), blocks, {})
            for name in contract.names("condition"):
                found = found.append_column(name, table[name])
            return _joined(centres(engine, contract.encode(found)))  # no row that anybody asked about

        fields = frozenset(contract.names("model") + contract.names("condition"))
        learned = _Learned(known, labelled, z, table, fields, again)
        for name, value in sorted(asked.items(), key=lambda one: learned.is_quantity(one[0])):
            moved = learned.edited(moved, name, value)
    share = (np.arange(1, steps + 1) / steps * strength)[:, None, None]
    walk = _split((z + share * (moved - z)).astype(np.float32), start)
    row, step = (part.ravel() for part in np.mgrid[: count(blocks), :steps])
    found = decoded(engine, walk, blocks, {"row": row, "step": step} if steps > 1 else {})
    for name in given:
        found = found.append_column(name, table[name].take(row))
    return found


class _Learned:
    """What examples tell of attributes, for changing them one after the other: classes first, then quantities."""

    def __init__(
        self,
        known: Array,
        examples: pa.Table,
        start: Array,
        rows: pa.Table,
        fields: frozenset[str],
        again: Callable[[Array], Array],
    ) -> None:
        self.known, self.examples, self.start, self.rows = known, examples, start, rows
        self.fields, self.again = fields, again
        self.columns = {name: _column(examples, name) for name in _attributes(examples)}
        self.now = dict[str, Array]()  # classes that edits have given the rows

    def is_quantity(self, name: str) -> bool:
        """Whether examples have numbers to be read off a scale there."""
        labels = _column(self.examples, name)
        return _is_quantity(labels[_there(labels)])

    def edited(self, z: Array, name: str, value: Any) -> Array:
        """Codes with one attribute changed."""
        labels = _column(self.examples, name)
        here = _there(labels)
        if not _is_quantity(labels[here]):
            return self._of_class(z, name, value, labels, here)
        if here.sum() < _LEAST * z.shape[1]:
            raise QueryError(
                f"{int(here.sum())} examples of {name!r} are too few for {z.shape[1]} latent dimensions; give "
                f"{_LEAST * z.shape[1]} at least"
            )
        if len({*labels[here].tolist()}) < 2:
            raise QueryError(f"{name!r} has one value in the examples, from which nothing can be learned about it")
        try:
            target = float(value)
        except (TypeError, ValueError) as error:
            raise QueryError(
                f"{name!r} is a quantity in the examples; its new value is a number, got {value!r}"
            ) from error
        if not np.isfinite(target):
            raise QueryError(f"{name!r} is a quantity in the examples; its new value is finite, got {value!r}")
        others, kinds = self._others(name, here)
        values = {name: labels[here].astype(np.float64)} | others
        quantities = Quantities.fit(self.known[here], np.stack(list(values.values()), 1), list(kinds.values()))
        if quantities.told(0):
            raise QueryError(f"{name!r} follows from {', '.join(kinds)} in the examples: change {' or '.join(kinds)}")
        groups = combined(self._classes_of(z, kinds, here), len(z))
        goal, own = quantities.read(self.again(z), groups), self._own(name)
        first = combined(self._classes_of(self.start, kinds, here, edited=False), len(z))
        unread = own - quantities.read(self.again(self.start), first)[:, 0]
        goal[:, 0] = target - np.where(np.isnan(own), 0.0, unread)
        return self._settled(z, quantities, groups, goal, np.arange(len(values)) == 0)

    def _of_class(self, z: Array, name: str, value: Any, labels: Array, here: Array) -> Array:
        """Codes of another class, whose quantities beyond the fields stay."""
        classes = _classes(self.known[here], labels[here], name, value)
        wanted = next(one for one in classes.means if one == value)
        source = self._class(z, name, classes)
        found = classes.moved(z, source, wanted)
        self.now[name] = target = _objects([wanted] * len(z))
        others, kinds = self._others(name, here)
        values = {other: column for other, column in others.items() if other not in self.fields}
        names = labels[here].tolist()
        kinds = {  # one that the edited class decides goes with it
            kind: column
            for kind, column in kinds.items()
            if len({*zip(names, column.tolist(), strict=True)}) > len({*names})
        }
        if not values or here.sum() < _LEAST * z.shape[1]:
            return found
        used = {*source.tolist(), wanted}
        own_class = _objects([one if one in used else None for one in names])
        quantities = Quantities.fit(self.known[here], np.stack(list(values.values()), 1), [own_class, *kinds.values()])
        rest = self._classes_of(z, kinds, here)
        before, after = (combined([one, *rest], len(z)) for one in (source, target))
        own = np.stack([self._own(other) for other in values], 1)
        goal = np.where(np.isnan(own), quantities.read(self.again(z), before), own)
        settled = self._settled(found, quantities, after, goal, np.zeros(len(values), np.bool_))
        return np.where((source == target)[:, None], z, settled)

    def _settled(self, z: Array, quantities: Quantities, groups: list[Any], goal: Array, exact: Array) -> Array:
        """Codes moved until what they are decoded to is read as it should."""
        for share in _SHARES:
            z = quantities.moved(z, groups, share * (goal - quantities.read(self.again(z), groups)), exact)
        return z

    def _others(self, name: str, here: Array) -> tuple[dict[str, Array], dict[str, Array]]:
        """Quantities and classes of other columns that all examples of an attribute have."""
        quantities, kinds = dict[str, Array](), dict[str, Array]()
        for other, whole in self.columns.items():
            column = whole[here]
            if other == name or not _there(column).all() or len(distinct := {*column.tolist()}) < 2:
                continue
            if _is_quantity(column):
                quantities[other] = column.astype(np.float64)
            elif len(distinct) <= _CLASSES:
                kinds[other] = column
        return quantities, kinds

    def _own(self, name: str) -> Array:
        """The rows' own values of a quantity that is no field of the model; not a number where there is none."""
        none = np.full(self.rows.num_rows, np.nan)
        if name in self.fields or name not in _attributes(self.rows):
            return none
        told = _column(self.rows, name)
        if any(isinstance(one, str | bool) for one in told):
            return none
        found = told.astype(np.float64)
        return np.where(np.isfinite(found), found, np.nan)

    def _classes_of(self, z: Array, kinds: Mapping[str, Array], here: Array, edited: bool = True) -> list[Array]:
        """Classes of the rows, of each kind."""
        return [self._class(z, kind, Classes.fit(self.known[here], labels), edited) for kind, labels in kinds.items()]

    def _class(self, z: Array, name: str, classes: Classes, edited: bool = True) -> Array:
        """Classes of the rows: as edited, as told, or the likeliest."""
        told = self.now.get(name) if edited else None
        if told is None and name in _attributes(self.rows):
            told = _column(self.rows, name)
        source = classes.likeliest(z)
        return source if told is None else np.where([one in classes.means for one in told], told, source)


def _classes(known: Array, labels: Array, name: str, value: Any) -> Classes:
    there = Counter(labels.tolist())
    if not isinstance(value, Hashable):
        raise QueryError(f"the new value of {name!r} is a single value, got {value!r}")
    if value not in there or there[value] < _LEAST:
        shown = ", ".join(repr(one) for one in sorted(there, key=str)[:20])
        told = f"only {there[value]} times" if value in there else "not at all"
        raise QueryError(
            f"{name!r} is {value!r} {told} in the examples, and {_LEAST} are needed; it is one of: {shown}"
        )
    enough = np.array([there[one] >= _LEAST for one in labels])
    return Classes.fit(known[enough], labels[enough])


def _attributes(examples: pa.Table) -> list[str]:
    """Columns of examples that hold single values."""
    import pyarrow as pa

    return [
        field.name
        for field in examples.schema
        if not pa.types.is_nested(field.type)
        and not isinstance(field.type, pa.BaseExtensionType)
        and not pa.types.is_temporal(field.type)
        and not is_bytes(field.type)
    ]


def _column(table: pa.Table, name: str) -> Array:
    """A column of single values as Python objects."""
    if name not in table.column_names or name not in _attributes(table):
        there = ", ".join(_attributes(table)) or "none"
        raise QueryError(f"the examples have no attribute {name!r}; they have: {there}")
    return _objects([None if _is_missing(one) else one for one in table[name].to_pylist()])


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and not np.isfinite(value))


def _objects(values: Sequence[Any]) -> Array:
    found = np.empty(len(values), object)
    found[:] = values
    return found


def _there(values: Array) -> Array:
    return np.array([one is not None for one in values], np.bool_)


def _is_quantity(values: Array) -> bool:
    """Whether values are numbers to be read off a scale, and not names of classes."""
    if not len(values) or any(isinstance(one, str | bool) for one in values):
        return False
    whole = all(float(one).is_integer() for one in values)
    return not whole or len({*values.tolist()}) > _CLASSES


def _joined(groups: Mapping[str, Array]) -> Array:
    return np.concatenate([value.astype(np.float64) for value in groups.values()], axis=-1)


def _split(walk: Array, like: Mapping[str, Array]) -> dict[str, Array]:
    ends = np.cumsum([value.shape[-1] for value in like.values()])[:-1]
    return dict(zip(like, np.split(walk, ends, axis=-1), strict=True))

"""Changing one field of a contract, as strictly checked as a contract that is read from a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import msgspec

from vaekit.errors import ConfigError, ContractError
from vaekit.fields.arrow_types import is_text, parse_type, value_type
from vaekit.fields.base import Field, Role
from vaekit.fields.category import Category
from vaekit.fields.count import Count
from vaekit.fields.datetime import Datetime
from vaekit.fields.image import Image
from vaekit.fields.lattice import Lattice
from vaekit.fields.number import Number
from vaekit.fields.numeric import Numeric
from vaekit.fields.other import Other
from vaekit.fields.vector import Vector

__all__ = ["KINDS", "AnyField", "edited"]

AnyField = Number | Count | Category | Vector | Image | Datetime | Other
KINDS: dict[str, type[Field]] = {
    "number": Number,
    "count": Count,
    "category": Category,
    "vector": Vector,
    "image": Image,
    "datetime": Datetime,
    "other": Other,
}


def edited(field: Field, asked: Mapping[str, Any]) -> AnyField:
    """The field with the changes that a user asks for, and those that follow from them.

    Args:
        field: Any field.
        asked: ``kind``, ``role``, or options of the kind, with their new values.

    Returns:
        The changed field; it is not fitted any more if its kind, transform or grid changed.

    Raises:
        ConfigError: No such kind or option, or a value that it cannot have.

    Example:
        >>> edited(Other(name="x", type="int64", role="ignore"), {"kind": "count", "role": "model"}).likelihood
        'negative_binomial'
    """
    changes = dict(asked)
    kind = changes.pop("kind", field.kind)
    if kind not in KINDS:
        raise ConfigError(f"field {field.name!r}: unknown kind {kind!r}; expected one of {', '.join(KINDS)}")
    left_out = field.role == "ignore"
    if kind != field.kind:
        field = _reinterpret(field, kind, written=changes.get("text") is not None)
    for option in changes:
        if option not in field.editable:
            allowed = ", ".join(sorted(field.editable | {"kind"}))
            raise ConfigError(f"field {field.name!r}: a {kind} has no option {option!r}; it has {allowed}")
    if changes.get("role", "ignore") not in get_args(Role):
        allowed = ", ".join(get_args(Role))
        raise ConfigError(f"field {field.name!r}: role is one of {allowed}; got {changes['role']!r}")
    follow = field.changes(changes)
    if left_out and field.kind != "other" and changes.get("role", "ignore") != "ignore":
        follow.setdefault("note", changes.get("note", ""))  # the old one said why the field was left out
    return _validated(field, {**changes, **follow})


def _reinterpret(field: Field, kind: str, *, written: bool) -> Field:
    """The same column as another kind, not fitted yet; `written`: it is said how its text is to be read."""
    target = KINDS[kind]
    if target is Other:
        return Other(name=field.name, type=field.type, role="ignore", note="left out by request")
    try:
        arrow = parse_type(field.type)
    except ContractError as error:
        raise ConfigError(f"field {field.name!r}: a column of type {field.type} cannot be a {kind}") from error
    numeric = issubclass(target, Numeric)
    text = field.text if isinstance(field, Numeric) else None
    written = written or text is not None
    if not target.accepts(arrow) and not (numeric and written and is_text(value_type(arrow))):
        more = "; if it holds numbers, text={} says how they are written" if numeric and is_text(arrow) else ""
        raise ConfigError(f"field {field.name!r}: a column of type {field.type} cannot be a {kind}{more}")
    blank = msgspec.structs.replace(target.blank(field.name, arrow, field.role), markers=field.markers)
    levels = field.levels if isinstance(field, Category) else ()
    counted = isinstance(field, Count) or (levels and all(type(level) is int for level in levels))
    if isinstance(blank, Number) and counted:
        blank = msgspec.structs.replace(blank, lattice=Lattice(step=1))
    if isinstance(blank, Number | Count) and blank.kind != "datetime":
        blank = msgspec.structs.replace(blank, text=text)
    return blank


def _validated(field: Field, changes: Mapping[str, Any]) -> AnyField:
    """The field with changes applied, as strictly checked as one that is read from a file."""
    values = {**msgspec.structs.asdict(field), **changes, "kind": field.kind}
    try:
        made: AnyField = msgspec.convert(msgspec.to_builtins(values), AnyField)
    except (msgspec.ValidationError, TypeError) as error:
        raise ConfigError(f"field {field.name!r}: {error}") from error
    return made

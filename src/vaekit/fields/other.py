"""`other`: a column that cannot be modelled, kept in the contract with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import pyarrow as pa

from vaekit.errors import ConfigError
from vaekit.fields.base import Codec, Field, Role

__all__ = ["Other", "why_not"]

_BINARY = "binary values are not modelled yet; decode them to numbers or text"
_REASONS = (
    (pa.types.is_null, "holds no values"),
    (pa.types.is_interval, "calendar intervals have no fixed length; cast them to durations or numbers"),
    (
        pa.types.is_struct,
        "nested values are not modelled yet; make its fields columns, with Table.flatten() for example",
    ),
    (pa.types.is_nested, "nested values are not modelled yet; flatten it into columns"),
    (pa.types.is_binary, _BINARY),
    (pa.types.is_large_binary, _BINARY),
    (pa.types.is_binary_view, _BINARY),
    (pa.types.is_fixed_size_binary, _BINARY),
)


class Other(Field, frozen=True, kw_only=True, tag="other"):
    """A column that is left out; its note says why, and what to do about it.

    Example:
        >>> Other(name="code", type="binary", role="ignore", note=why_not(pa.binary())).note
        'binary values are not modelled yet; decode them to numbers or text'
    """

    def __post_init__(self) -> None:
        if self.role in ("model", "condition"):
            raise ConfigError(f"field {self.name!r} cannot have role {self.role!r}: {self.note or f'type {self.type}'}")

    @classmethod
    def accepts(cls, kind: pa.DataType) -> bool:
        """Any column can be left out."""
        return True

    @classmethod
    def blank(cls, name: str, kind: pa.DataType, role: Role) -> Self:
        """A column that is left out."""
        return cls(name=name, type=str(kind), role="ignore")

    def codec(self, fields: Sequence[Any]) -> Codec:
        """There is none: the column is left out."""
        raise ConfigError(f"field {self.name!r} is of kind other and cannot be encoded")


def why_not(kind: pa.DataType) -> str:
    """Why values of an Arrow type cannot be modelled, and what to do.

    Example:
        >>> why_not(pa.binary())
        'binary values are not modelled yet; decode them to numbers or text'
    """
    for matches, reason in _REASONS:
        if matches(kind):
            return reason
    if isinstance(kind, pa.BaseExtensionType):
        name = str(getattr(kind, "type_name", "") or getattr(kind, "extension_name", kind))
        if name == "arrow.fixed_shape_tensor":
            return (
                f"tensors are images here: uint8 (or bool) of shape (height, width) or (height, width, 1 or 3), not "
                f"{kind.value_type} of shape {tuple(kind.shape)}; cast (grey levels from 0 to 255) or transpose them"
            )
        if name == "arrow.uuid":
            return "an identifier: a UUID tells rows apart and has no distribution to learn"
        if getattr(kind, "vendor_name", "") == "python":
            return f"Python values of type {name} are not modelled; turn them into numbers, text or lists"
        return f"extension types are not modelled yet ({name}); cast to a plain type"
    return f"values of type {kind} are not modelled yet; cast to a plain type"

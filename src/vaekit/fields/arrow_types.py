"""Arrow types as text and back, so that a contract can be plain JSON and still give each column its own type again."""

from __future__ import annotations

import re

import pyarrow as pa

from vaekit.errors import ContractError

__all__ = ["decimals_of", "is_list", "is_number", "is_numeric", "is_text", "parse_type", "value_type"]

_PLAIN: dict[str, pa.DataType] = {
    str(kind): kind
    for kind in (
        *(pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
        *(pa.float16(), pa.float32(), pa.float64(), pa.bool_(), pa.string(), pa.large_string(), pa.string_view()),
        *(pa.date32(), pa.date64(), *(pa.timestamp(unit) for unit in ("s", "ms", "us", "ns"))),
        *(pa.duration(unit) for unit in ("s", "ms", "us", "ns")),
        *(pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns")),
        *(pa.binary(), pa.large_binary(), pa.binary_view()),
    )
}
_DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}
_DECIMAL = re.compile(r"decimal(?P<bits>32|64|128|256)\((?P<precision>\d+), (?P<scale>-?\d+)\)")
_DICTIONARY = re.compile(
    r"dictionary<values=(?P<values>[^<>]+), indices=(?P<indices>u?int\d+), ordered=(?P<ordered>[01])>"
)
_ZONED = re.compile(r"timestamp\[(?P<unit>s|ms|us|ns), tz=(?P<zone>[\w/+:-]+)\]")
_LIST = re.compile(
    r"(?P<family>list|large_list|fixed_size_list)"
    r"<(?P<child>.*): (?P<values>\w+)(?P<required> not null)?>(?:\[(?P<size>\d+)\])?"
)

_TENSOR = re.compile(
    r"extension<arrow\.fixed_shape_tensor\[value_type=(?P<values>\w+), shape=\[(?P<shape>\d+(?:,\d+)*)\]\]>"
)


def parse_type(text: str) -> pa.DataType:
    """The Arrow type that a contract wrote as text; the inverse of ``str`` for every type that can be modelled.

    Args:
        text: For example ``"double"``, ``"dictionary<values=string, indices=int8, ordered=1>"`` or
            ``"fixed_size_list<item: float>[16]"``.

    Returns:
        The Arrow type.

    Raises:
        ContractError: The text names no type that a contract can hold values of.

    Example:
        >>> parse_type("fixed_size_list<item: float>[16]").list_size
        16
    """
    if (plain := _plain(text)) is not None:
        return plain
    if (match := _DICTIONARY.fullmatch(text)) and match["indices"] in _PLAIN:
        values = _plain(match["values"])
        if values is not None:
            return pa.dictionary(_PLAIN[match["indices"]], values, ordered=match["ordered"] == "1")
    if (match := _LIST.fullmatch(text)) and match["values"] in _PLAIN:
        child = pa.field(match["child"], _PLAIN[match["values"]], nullable=match["required"] is None)
        if match["family"] == "fixed_size_list" and match["size"] is not None:
            return pa.list_(child, int(match["size"]))
        if match["family"] != "fixed_size_list" and match["size"] is None:
            return pa.list_(child) if match["family"] == "list" else pa.large_list(child)
    if (match := _TENSOR.fullmatch(text)) and match["values"] in _PLAIN:
        return pa.fixed_shape_tensor(_PLAIN[match["values"]], [int(size) for size in match["shape"].split(",")])
    raise ContractError(
        "type is not one that can be modelled", expected="numbers, bool, text, dates, a dictionary or a list", got=text
    )


def _plain(text: str) -> pa.DataType | None:
    """The type of a text that names no type of values inside."""
    if match := _ZONED.fullmatch(text):
        return pa.timestamp(match["unit"], match["zone"])
    if match := _DECIMAL.fullmatch(text):
        make = {"32": "decimal32", "64": "decimal64", "128": "decimal128", "256": "decimal256"}[match["bits"]]
        return getattr(pa, make)(int(match["precision"]), int(match["scale"]))
    return _PLAIN.get(text)


def is_number(kind: pa.DataType) -> bool:
    """Whether values of an Arrow type are integers or floating-point numbers.

    Example:
        >>> is_number(pa.int8()), is_number(pa.bool_()), is_number(pa.decimal128(9, 2))
        (True, False, False)
    """
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def is_numeric(kind: pa.DataType) -> bool:
    """Whether values of an Arrow type are numbers once read: also decimals, durations and times of day (seconds).

    Example:
        >>> is_numeric(pa.decimal128(9, 2)), is_numeric(pa.duration("ms")), is_numeric(pa.date32())
        (True, True, False)
    """
    spans = pa.types.is_duration(kind) or pa.types.is_time(kind)
    return is_number(kind) or bool(pa.types.is_decimal(kind) or spans)


def decimals_of(kind: pa.DataType) -> int | None:
    """Decimals that an Arrow type has room for; None for floating-point types, which do not say.

    Example:
        >>> decimals_of(pa.int8()), decimals_of(pa.decimal128(9, 2)), decimals_of(pa.time64("us"))
        (0, 2, 6)
    """
    if pa.types.is_decimal(kind):
        return max(int(kind.scale), 0)
    if pa.types.is_duration(kind) or pa.types.is_time(kind):
        return _DIGITS[kind.unit]
    return 0 if pa.types.is_integer(kind) else None


def is_text(kind: pa.DataType) -> bool:
    """Whether values of an Arrow type are strings, in any of Arrow's layouts.

    Example:
        >>> is_text(pa.large_string()), is_text(pa.binary())
        (True, False)
    """
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_list(kind: pa.DataType) -> bool:
    """Whether an Arrow type is a list, of fixed or of free length.

    Example:
        >>> is_list(pa.list_(pa.float32(), 3)), is_list(pa.string())
        (True, False)
    """
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def value_type(kind: pa.DataType) -> pa.DataType:
    """The type of the values that a dictionary stands for; any other type itself.

    Example:
        >>> value_type(pa.dictionary(pa.int8(), pa.string()))
        DataType(string)
    """
    return kind.value_type if pa.types.is_dictionary(kind) else kind

"""Constraints on rows in a small language that is parsed, and never run as code."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from vaekit.errors import ConfigError, ContractError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Constraint"]

Mask = NDArray[np.bool_]
Test = Callable[["pa.Table"], Mask]

_MOST, _DEEPEST = 2_000, 40  # characters, and brackets within brackets
_TOKEN = re.compile(
    r"\s*(?:(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?![\w.])|(?P<text>'[^']*'|\"[^\"]*\")"
    r"|(?P<name>[^\W\d]\w*|`[^`]+`)|(?P<sign><=|>=|==|!=|=|<|>|\(|\)|,))"
)
_WORDS = {"and", "or", "not", "in", "is", "missing", "true", "false"}
_SIGNS = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "=": operator.eq,
    "!=": operator.ne,
}  # fmt: skip


@dataclass(frozen=True)
class Constraint:
    """What a row has to be like, such as ``age > 18 and (origin in ('JFK', 'LGA') or not delay is missing)``.

    Comparisons (``< <= > >= == !=``) of a column with a number, a text in quotes (also a date), ``true`` or ``false``,
    or of two columns; ``in`` a list; ``is missing``; ``and``, ``or``, ``not`` and brackets. Names that are no single
    word stand in backticks. A comparison with a missing cell does not hold.

    Args:
        text: How it is written.
        test: From rows to whether each meets it.

    Example:
        >>> import pyarrow as pa
        >>> rows = pa.table({"age": [17, 30, None], "home town": ["Ulm", "Bonn", "Ulm"]})
        >>> Constraint.parse("age >= 18 or `home town` in ('Ulm', 'Kiel')").holds(rows).tolist()
        [True, True, True]
        >>> Constraint.parse("not age is missing and age < 18").holds(rows).tolist()
        [True, False, False]
    """

    text: str
    test: Test

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a constraint.

        Args:
            text: The constraint.

        Raises:
            ConfigError: If it cannot be read; the message says where.
        """
        if len(text) > _MOST:
            raise ConfigError(f"a constraint has {_MOST} characters at most, got {len(text)}")
        reader = _Reader(text)
        test = reader.any_of()
        if reader.kind != "end":
            raise reader.error("the end, and, or")
        return cls(text, test)

    def holds(self, table: pa.Table) -> Mask:
        """Whether each row meets it, shape (B,).

        Args:
            table: Rows.

        Raises:
            ContractError: If a column is not there, or is compared with what it does not hold.
        """
        return self.test(table)


class _Reader:
    """Reads a constraint from left to right."""

    def __init__(self, text: str) -> None:
        self.text, self.at, self.depth = text, 0, 0
        self.next()

    def next(self) -> None:
        """Go on to the next word."""
        self.start = self.at
        if not self.text[self.at :].strip():
            self.kind, self.word = "end", ""
            return
        found = _TOKEN.match(self.text, self.at)
        if found is None:
            self.kind, self.word = "nothing", self.text[self.at :].split()[0]
            raise self.error("a name, a number, a text in quotes or a comparison")
        self.kind, self.at = str(found.lastgroup), found.end()
        self.word = found[self.kind]
        if self.kind == "name" and self.word.lower() in _WORDS:
            self.kind, self.word = "word", self.word.lower()

    def error(self, expected: str) -> ConfigError:
        """What is wrong at this place."""
        got = repr(self.word) if self.word else "the end"
        return ConfigError(f"constraint {self.text!r}: expected {expected} at character {self.start}, got {got}")

    def take(self, *words: str) -> str:
        """The next word, if it is one of these, else nothing."""
        word = self.word if self.kind in ("word", "sign") and self.word in words else ""
        if word:
            self.next()
        return word

    def any_of(self) -> Test:
        tests = [self.all_of()]
        while self.take("or"):
            tests.append(self.all_of())
        return lambda table: np.logical_or.reduce([test(table) for test in tests])

    def all_of(self) -> Test:
        tests = [self.one()]
        while self.take("and"):
            tests.append(self.one())
        return lambda table: np.logical_and.reduce([test(table) for test in tests])

    def one(self) -> Test:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise ConfigError(f"constraint {self.text!r}: more than {_DEEPEST} brackets or nots within each other")
        if self.take("not"):
            inner = self.one()
            test: Test = lambda table: ~inner(table)  # noqa: E731
        elif self.take("("):
            test = self.any_of()
            if not self.take(")"):
                raise self.error("), and, or")
        else:
            test = self.comparison()
        self.depth -= 1
        return test

    def comparison(self) -> Test:
        name = self.name()
        if self.take("is"):
            wanted = not self.take("not")
            if not self.take("missing"):
                raise self.error("missing")
            return lambda table: _missing(table, name) == wanted
        negated = bool(self.take("not"))
        if self.take("in"):
            values = self.values()

            def one_of(table: pa.Table) -> Mask:
                found: Mask = np.logical_or.reduce([_compared(table, name, operator.eq, one) for one in values])
                return found

            return (lambda table: ~one_of(table) & ~_missing(table, name)) if negated else one_of
        if negated:
            raise self.error("in")
        sign = self.take(*_SIGNS)
        if not sign:
            raise self.error(f"{' '.join(_SIGNS)}, in, or is")
        if self.kind == "name":
            other = self.name()
            return lambda table: _compared(table, name, _SIGNS[sign], None, other)
        value = self.value()
        return lambda table: _compared(table, name, _SIGNS[sign], value)

    def name(self) -> str:
        if self.kind != "name":
            raise self.error("the name of a column")
        word = self.word.strip("`")
        self.next()
        return word

    def values(self) -> list[Any]:
        if not self.take("("):
            raise self.error("( and a list of values")
        found = [self.value()]
        while self.take(","):
            found.append(self.value())
        if not self.take(")"):
            raise self.error(", or )")
        return found

    def value(self) -> Any:
        if word := self.take("true", "false"):
            return word == "true"
        if self.kind not in ("number", "text"):
            raise self.error("a number, a text in quotes, true or false")
        found = float(self.word) if self.kind == "number" else self.word[1:-1]
        self.next()
        return found


def _column(table: pa.Table, name: str) -> pa.ChunkedArray:
    import pyarrow as pa

    if name not in table.column_names:
        raise ContractError(
            "the constraint names a column that is not there", field=name, expected=", ".join(table.column_names)
        )
    column = table[name]
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _missing(table: pa.Table, name: str) -> Mask:
    import pyarrow.compute as pc

    return np.asarray(pc.is_null(_column(table, name), nan_is_null=True).to_numpy(), np.bool_)


def _compared(
    table: pa.Table, name: str, sign: Callable[[Any, Any], Any], value: Any, other: str | None = None
) -> Mask:
    """Whether a column stands so to a value, or to another column; never where a cell is missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = _column(table, name)
    ask = {operator.lt: pc.less, operator.le: pc.less_equal, operator.gt: pc.greater, operator.ge: pc.greater_equal}
    ask |= {operator.eq: pc.equal, operator.ne: pc.not_equal}
    try:
        right = _column(table, other) if other is not None else _scalar(value, column.type)
        found = ask[sign](column, right)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, TypeError) as error:
        raise ContractError(
            "the constraint compares the column with what it does not hold",
            field=name,
            expected=str(column.type),
            got=other or repr(value),
        ) from error
    there = ~_missing(table, name) if other is None else ~_missing(table, name) & ~_missing(table, other)
    return np.asarray(pc.fill_null(found, False).to_numpy(), np.bool_) & there


def _scalar(value: Any, kind: pa.DataType) -> Any:
    """A value as one of a type; a number stays one where the type has whole numbers only."""
    import pyarrow as pa

    if isinstance(value, float) and pa.types.is_integer(kind):
        return pa.scalar(value)
    if isinstance(value, bool) != pa.types.is_boolean(kind) or (isinstance(value, float) and not _numeric(kind)):
        raise TypeError(f"{value!r} is no {kind}")
    return pa.scalar(value).cast(kind)


def _numeric(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))

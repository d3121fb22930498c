"""Numbers that are written as text: how they are written, and reading and writing them that way."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vaekit.errors import ConfigError
from vaekit.fields.markers import says_missing

__all__ = ["NumberText", "find_number_text", "no_numbers"]

Float = NDArray[np.float64]

_CURRENCY = r"US\$|[$€£¥₹₽₩₺₪฿]|(?:USD|EUR|GBP|CHF|JPY|CNY|INR|CAD|AUD|NZD|SEK|NOK|DKK|PLN|CZK|BRL|ZAR|Rs\.?|kr|zł)"
_BODY = r"\d[\d.,'’\u00a0\u202f ]*\d|\d|[.,]\d+|\d+[.,]"
_SHAPE = re.compile(
    rf"(?P<open>\()?(?P<sign>[-+−]?)(?P<prefix>(?:{_CURRENCY})\s?)?(?P<sign2>[-+−]?)(?P<body>{_BODY})"
    rf"(?P<exponent>[eE][-+]?\d+)?(?P<suffix>\s?(?:%|‰|{_CURRENCY}))?(?P<close>\))?",
    re.ASCII,  # what Arrow reads as digits
)
_GROUPS = {",": ",", ".": r"\.", " ": " ", "\u00a0": "\u00a0", "\u202f": "\u202f", "'": "'", "’": "’"}
_DIGITS = 15  # more do not fit a float
AMBIGUOUS = "ambiguous"


class NumberText(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How the numbers of a text column are written.

    Args:
        prefix: What stands before the digits, such as ``"$"``.
        suffix: What stands behind them, such as ``" %"``; a percentage stays in per cent.
        decimal: The decimal separator.
        thousands: What separates groups of three digits, if anything.
        decimals: How many decimals all values are written with; None if no more than a value needs.
        parentheses: Negative values stand in parentheses.

    Example:
        >>> NumberText(prefix="$", thousands=",", decimals=2).write(np.array([1234.5, -3.0])).to_pylist()
        ['$1,234.50', '-$3.00']
    """

    prefix: str = ""
    suffix: str = ""
    decimal: str = "."
    thousands: str = ""
    decimals: int | None = None
    parentheses: bool = False

    def __post_init__(self) -> None:
        if self.decimal not in (".", ",") or (self.thousands and self.thousands not in _GROUPS):
            raise ConfigError(f"numbers are written with . or , and groups of three; got {msgspec.to_builtins(self)}")
        if self.decimal == self.thousands or (self.decimals is not None and not 0 <= self.decimals <= _DIGITS):
            raise ConfigError(
                f"the separators of a number must differ, with 0 to {_DIGITS} decimals; got {msgspec.to_builtins(self)}"
            )

    def read(self, column: pa.ChunkedArray) -> tuple[Float, NDArray[np.bool_]]:
        """Numbers of a text column, NaN where there is none, and which rows hold something else; both (B,)."""
        import pyarrow.compute as pc

        if len(column) == 0:
            return np.zeros(0), np.zeros(0, dtype=np.bool_)
        text = pc.replace_substring(pc.utf8_trim_whitespace(column.cast(pa.large_string())), "−", "-")
        for end, pattern, by in (
            (self.parentheses, r"^\((.*)\)$", "-\\1"),
            (self.prefix, rf"^([+-]?)\s*{re.escape(self.prefix.strip())}\s*", "\\1"),
            (self.suffix, rf"\s*{re.escape(self.suffix.strip())}$", ""),
        ):
            text = pc.replace_substring_regex(text, pattern, by) if end else text
        point = re.escape(self.decimal)
        whole = rf"(\d{{1,3}}({re.escape(self.thousands)}\d{{3}})+|\d*)" if self.thousands else r"\d*"
        good = pc.match_substring_regex(text, rf"^[+-]?{whole}({point}\d*)?([eE][+-]?\d+)?$")
        good = pc.and_(good, pc.match_substring_regex(text, r"^[^eE]*\d"))
        text = pc.replace_substring_regex(pc.if_else(good, text, None), r"^\+", "")
        text = pc.replace_substring(text, self.thousands, "") if self.thousands else text
        values = np.asarray(pc.replace_substring(text, self.decimal, ".").cast(pa.float64()).to_numpy(), np.float64)
        return values, np.asarray(pc.invert(good).fill_null(False).to_numpy(), dtype=np.bool_)

    def write(self, values: Float) -> pa.Array:
        """Numbers (B,) as text in this format; NaN becomes null."""
        distinct, where = np.unique(values, return_inverse=True)
        texts = pa.array([None if value != value else self._one(value) for value in distinct.tolist()], pa.string())
        return texts.take(pa.array(where))

    def _one(self, value: float) -> str:
        size = abs(value)
        if self.decimals is not None:
            digits = f"{size:,.{self.decimals}f}"
        elif not self.thousands and (size >= 1e16 or 0 < size < 1e-5):
            digits = repr(size)
            return f"{'-' if value < 0 else ''}{self.prefix}{digits.replace('.', self.decimal)}{self.suffix}"
        else:
            digits = np.format_float_positional(size, unique=True, trim="-")
            whole, point, rest = digits.partition(".")
            digits = f"{int(whole):,}{point}{rest}"
        negative = value < 0 and any(digit in digits for digit in "123456789")
        whole, _, rest = digits.partition(".")
        text = whole.replace(",", self.thousands) + (f"{self.decimal}{rest}" if rest else "")
        text = f"{self.prefix}{text}{self.suffix}"
        return (f"({text})" if self.parentheses else f"-{text}") if negative else text


def find_number_text(values: Sequence[str]) -> tuple[NumberText, tuple[str, ...]] | str | None:
    """How the distinct values of a text column are written as numbers, and which of them mean "missing".

    Args:
        values: Distinct texts.

    Returns:
        The format and the markers; None if the values are no numbers (a leading zero makes a code: ``"007"``); a reason
        if they are numbers that can be read in two ways (is ``"1,234"`` a thousand or one and a bit?).

    Example:
        >>> find_number_text(["1.234,50", "7,00", "-"])
        (NumberText(prefix='', suffix='', decimal=',', thousands='.', decimals=2, parentheses=False), ('-',))
        >>> find_number_text(["007", "012"]), find_number_text(["red", "1"])
        (None, None)
        >>> find_number_text(["1,234", "5,678"]).partition(":")[0]
        'ambiguous'
    """
    stripped = {value: value.strip() for value in values}
    markers = tuple(sorted({text for text in stripped.values() if says_missing(text)}))
    shapes = [_SHAPE.fullmatch(text) for text in stripped.values() if not says_missing(text)]
    if not shapes or any(shape is None or bool(shape["open"]) != bool(shape["close"]) for shape in shapes):
        return None
    found = [shape.groupdict(default="") for shape in shapes if shape is not None]
    prefixes, suffixes = ({shape[end] for shape in found} for end in ("prefix", "suffix"))
    if any(len({end.strip() for end in ends} - {""}) > 1 for ends in (prefixes, suffixes)):
        return None  # two currencies, or a currency in some rows and per cent in others
    bodies = [shape["body"] for shape in found]
    if any(re.match(r"0\d", body) for body in bodies):
        return None
    separators = _separators(bodies)
    if separators is None or isinstance(separators, str):
        return separators
    decimal, thousands = separators
    after = {len(body.partition(decimal)[2]) for body in bodies}
    exponents = any(shape["exponent"] for shape in found)
    made = NumberText(
        prefix=max(prefixes, key=len),
        suffix=max(suffixes, key=len),
        decimal=decimal,
        thousands=thousands,
        decimals=after.pop() if len(after) == 1 and max(after) <= _DIGITS and not exponents else None,
        parentheses=any(shape["open"] for shape in found),
    )
    return made, markers


def no_numbers(values: Sequence[str]) -> list[str]:
    """The texts that are neither numbers nor mean "missing".

    Example:
        >>> no_numbers(["1.5", "-", "about 3"])
        ['about 3']
    """
    return [value for value in values if not says_missing(value) and not _SHAPE.fullmatch(value.strip())]


def _separators(bodies: Sequence[str]) -> tuple[str, str] | str | None:
    """Decimal and thousands separators that explain all bodies of digits; None if none do, a reason if two do."""
    used = {char for body in bodies for char in body if not char.isdigit()}
    choices = [(".", ""), (",", "")] + [(d, g) for g in _GROUPS for d in (".", ",") if d != g]
    fits = []
    for decimal, thousands in choices:
        if used <= {decimal, thousands} and (thousands in used or not thousands):
            group = _GROUPS.get(thousands, "")
            whole = rf"(?:\d{{1,3}}(?:{group}\d{{3}})+|\d{{1,3}})" if thousands else r"\d*"
            shape = re.compile(rf"{whole}(?:{re.escape(decimal)}\d*)?", re.ASCII)
            if all(shape.fullmatch(body) for body in bodies):
                fits.append((decimal, thousands))
    fits = [fit for fit in fits if fit[0] in used or fit[0] == "." or fit[1] == "."]
    if len({fit[1] for fit in fits}) <= 1 or "," not in used:
        return next((fit for fit in fits), None)
    grouped, plain = [body for body in bodies if "," in body], [body for body in bodies if "," not in body]
    if any(body.startswith("0") for body in grouped):
        return (",", "")  # 0,500
    if plain or "." in used:
        return (".", ",")  # 950 beside 1,234: decimals would not all have three digits
    example = grouped[0]
    return (
        f"{AMBIGUOUS}: is {example!r} {example.replace(',', '')} or {example.replace(',', '.')}? "
        "text={'thousands': ','} with kind='number' and role='model' says the first, text={'decimal': ','} the second"
    )

"""What the name of a column says about its values: identifier, code, order, year, or a turn of the clock."""

from __future__ import annotations

import re

__all__ = ["says_amount", "says_code", "says_cycle", "says_identifier", "says_order", "says_year", "words"]

_SPLIT = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_]+")
_IDENTIFIER = frozenset({
    "id", "ids", "uuid", "guid", "pk", "rowid", "rownum", "rownames", "ssn", "hash", "md5", "sha", "url", "uri",
    "email", "isbn", "iban", "vin", "imei", "tailnum",
})  # fmt: skip
_WHOLE_IDENTIFIER = frozenset({
    "index", "idx", "key", "obs", "row", "rowname", "rowno", "recno", "no", "nr", "record", "serial", "sn", "seq",
    "subject", "subj", "patient", "participant", "respondent", "customer", "user", "client", "student", "person",
    "individual", "animal", "rat", "household", "caseno", "casenum",
})  # fmt: skip
_CODE = frozenset({
    "code", "codes", "cd", "type", "typ", "class", "cls", "category", "cat", "group", "grp", "sex", "gender",
    "race", "ethnic", "ethnicity", "marital", "marriage", "religion", "region", "zone", "state", "country",
    "county", "city", "district", "zip", "zipcode", "postcode", "postal", "fips", "naics", "sic", "icd", "status",
    "target", "label", "species", "cluster", "kind", "segment", "brand", "occupation", "industry", "job",
    "sector", "department", "dept", "division", "branch", "store", "shop", "station", "channel", "source",
    "reason", "method", "treatment", "treat", "trt", "arm", "cause", "color", "colour", "nationality", "language",
    "lang", "party", "campus", "site", "block", "plot", "batch", "strain", "variety", "breed", "genotype",
    "product", "flag", "indicator", "nation", "province",
})  # fmt: skip
_ORDER = frozenset({
    "rate", "rating", "ratings", "score", "stars", "star", "grade", "level", "lvl", "likert", "severity", "stage",
    "quality", "satisfaction", "agreement", "priority", "tier", "importance", "opinion", "pain",
    "religious", "happy",
})  # fmt: skip
_AMOUNT = frozenset({
    "size", "age", "time", "dose", "exposure", "day", "days", "week", "weeks", "months", "years", "hours", "visit",
    "wave", "period", "round", "trial", "session", "step", "steps", "frequency", "freq", "count", "num", "number", "n",
    "amount", "length", "height", "width", "weight", "distance", "duration", "children", "kids", "rooms",
})  # fmt: skip
_YEAR = frozenset({
    "year", "yr", "yyyy", "jahr", "annee", "ano", "anno",
})  # fmt: skip
_CYCLES = {
    **dict.fromkeys(("month", "mon"), (0, 12)),
    **dict.fromkeys(("weekday", "wday", "dow", "dayofweek"), (0, 7)),
    **dict.fromkeys(("quarter", "qtr", "season"), (0, 4)),
    "hour": (0, 24),
}


def words(name: str) -> list[str]:
    """The words of a name, in lower case; camel case, digits and punctuation divide it.

    Example:
        >>> words("PassengerId"), words("day_of_week"), words("PAY_0")
        (['passenger', 'id'], ['day', 'of', 'week'], ['pay', '0'])
    """
    return [word.lower() for word in _SPLIT.findall(name)]


def says_identifier(name: str) -> bool:
    """Whether a column is called an identifier: nameless, or ``id``, ``customerID``, ``uuid``, ``index``, for example.

    Example:
        >>> says_identifier("PassengerId"), says_identifier(""), says_identifier("price_index"), says_identifier("paid")
        (True, True, False, False)
    """
    found = [word for word in words(name) if not word.isdigit()]
    if not found:
        return not name.strip()
    return found in (["unnamed"], ["row", "names"], ["row", "number"], ["row", "index"], ["row", "num"]) or (
        found[0] in ("id", "uuid", "guid")
        or found[-1] in _IDENTIFIER
        or (words(name) == found and len(found) == 1 and found[0] in _WHOLE_IDENTIFIER)
    )


def says_code(name: str) -> bool:
    """Whether a column is called something that only has kinds, no amounts.

    Example:
        >>> says_code("zip"), says_code("MARRIAGE"), says_code("cell_type"), says_code("age")
        (True, True, True, False)
    """
    found = [word for word in words(name) if not word.isdigit()]
    return bool(found) and (found[-1] in _CODE or found[0] in _CODE - {"type", "class", "group", "state"})


def says_order(name: str) -> bool:
    """Whether a column is called something that has steps.

    Example:
        >>> says_order("customer_rating"), says_order("rated")
        (True, False)
    """
    return not _ORDER.isdisjoint(words(name))


def says_amount(name: str) -> bool:
    """Whether a column is called something that is measured or counted.

    Example:
        >>> says_amount("cell size"), says_amount("num_rooms"), says_amount("sex")
        (True, True, False)
    """
    return not _AMOUNT.isdisjoint(words(name))


def says_year(name: str) -> bool:
    """Whether a column is called a year.

    Example:
        >>> says_year("model_year"), says_year("yearly_income"), says_year("years")
        (True, False, False)
    """
    found = [word for word in words(name) if not word.isdigit()]
    return bool(found) and (found[-1] in _YEAR or (found[0] in _YEAR and found[-1] in ("built", "of", "sold", "made")))


def says_cycle(name: str) -> tuple[int, int] | None:
    """The smallest and largest value of a turn of the clock or the calendar that a column is called; None if none.

    Example:
        >>> says_cycle("day_of_week"), says_cycle("month"), says_cycle("hours")
        ((0, 7), (0, 12), None)
    """
    found = [word for word in words(name) if not word.isdigit()]
    if found[-3:] == ["day", "of", "week"] or found[-2:] == ["week", "day"]:
        return (0, 7)
    return _CYCLES.get(found[-1]) if found else None

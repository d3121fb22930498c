"""Constraints: what they say, on every type of column, and what they refuse."""

import datetime as dt

import pyarrow as pa
import pytest

from vaekit.errors import ConfigError, ContractError
from vaekit.fields.constraint import Constraint

ROWS = pa.table(
    {
        "x": [1, 2, None],
        "y": [0.5, 3.0, 1.0],
        "s": pa.array(["a", "b", None]).dictionary_encode(),
        "on": [True, False, None],
        "day": [dt.date(2013, 7, 4), dt.date(2014, 1, 1), None],
        "when": pa.array([dt.datetime(2013, 7, 4, 3), None, None], pa.timestamp("us")),
        "home town": ["Ulm", "Bonn", "Ulm"],
    }
)


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("x > 1.5", [0, 1, 0]),
        ("x>-1", [1, 1, 0]),
        ("x = 1", [1, 0, 0]),
        ("x != 1", [0, 1, 0]),
        ("not (x > 1)", [1, 0, 1]),
        ("x < y", [0, 1, 0]),
        ("s == 'a'", [1, 0, 0]),
        ("s not in ('a')", [0, 1, 0]),
        ("s in ('a', \"b\")", [1, 1, 0]),
        ("on = true or on = false", [1, 1, 0]),
        ("day >= '2013-12-31'", [0, 1, 0]),
        ("when > '2013-07-04 01:00:00'", [1, 0, 0]),
        ("x is missing", [0, 0, 1]),
        ("x is not missing AND `home town` == 'Ulm'", [1, 0, 0]),
        ("x > 0 and y < 1 or y > 2", [1, 1, 0]),
        ("x > 0 and (y < 1 or y > 2)", [1, 1, 0]),
        ("not x is missing and not y > 1e0", [1, 0, 0]),
    ],
)
def test_what_constraints_say(text, held):
    assert Constraint.parse(text).holds(ROWS).tolist() == [bool(one) for one in held]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x >", "expected a number, a text in quotes, true or false at character 3, got the end"),
        ("x > 1 or", "the name of a column"),
        ("__import__('os').system('x')", r"expected < .* got '\('"),
        ("x > 1; x", "got ';'"),
        ("x > 1 y", "expected the end, and, or"),
        ("x in 3", r"\( and a list"),
        ("(x > 1", r"expected \), and, or"),
        ("x is 3", "expected missing"),
        ("'a' == s", "the name of a column"),
        ("", "the name of a column"),
        ("(" * 60 + "x>1" + ")" * 60, "more than 40"),
        ("not " * 60 + "x>1", "more than 40"),
        ("x > 1 or " * 300 + "x > 1", "2000 characters"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_place(text, told):
    with pytest.raises(ConfigError, match=told):
        Constraint.parse(text)


@pytest.mark.parametrize("text", ["z > 1", "s > 3", "x > 'a'", "on > 1", "day > 'soon'", "s == true", "x < s"])
def test_columns_that_are_not_there_or_hold_something_else(text):
    with pytest.raises(ContractError, match=r"not there|does not hold"):
        Constraint.parse(text).holds(ROWS)

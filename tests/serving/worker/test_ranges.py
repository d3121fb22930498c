"""What documents say that values can be is what the queries and the contract take."""

import pytest

from vaekit.errors import ConfigError, ContractError, QueryError
from vaekit.queries import query
from vaekit.serving.batching.stored import read_bundle
from vaekit.serving.wire.messages import Limits
from vaekit.serving.worker.hosted import Hosted

LIMITS = Limits(max_rows=50, max_batch_rows=50, max_samples=9, max_pixels=1)
SERVICE = ("samples", "n", "draws", "steps")  # whose upper end is a limit of the service, not of the query
TINY = 1e-9


@pytest.fixture(scope="module")
def hosted(zoo):
    stored = read_bundle("flights", zoo["flights"].bundle, "onnx")
    return Hosted(stored.packed, dict(zip(stored.packed.files, stored.files, strict=True)), LIMITS, backend="onnx")


def asked(hosted, name, **options):
    """Ask the smallest question with some options changed."""
    row, condition = hosted.nothing, hosted.engine.contract.names("condition")
    base = {"traverse": {"dim": 0, "at": row, "steps": 1}, "detect": {"alpha": 0.5}}.get(name, {})
    if name == "sample":
        base = {"n": 1, "given": dict.fromkeys(condition)}
    if name == "edit":
        base = {"set": dict.fromkeys(condition)}
    tables = {"interpolate": [row, row], "sample": [], "traverse": []}.get(name, [row])
    return query(hosted.engine, name, *tables, **{**base, **options})


def edges(extent, integer):
    """Values just inside and just outside of a range."""
    step = 1 if integer else TINY
    if "enum" in extent:
        return list(extent["enum"]), ["other"]
    inside = [extent[name] for name in ("minimum", "maximum") if name in extent]
    outside = [extent["minimum"] - (step if integer else 1e-3)] if "minimum" in extent else []
    outside += [extent["maximum"] + step] if "maximum" in extent else []
    for name, sign in (("exclusiveMinimum", 1), ("exclusiveMaximum", -1)):
        if name in extent:
            inside.append(extent[name] + sign * TINY)
            outside.append(extent[name])
    return inside, outside


def test_options_take_what_is_within_their_ranges_and_nothing_else(hosted):
    tried = set()
    for name, facts in hosted.facts.queries.items():
        for option in (*facts.arguments, *facts.options):
            extent = {key: value for key, value in option.range.items() if key != "required"}
            if not extent or option.name == "first":  # which the service counts from, and no query knows
                continue
            inside, outside = edges(extent, option.type == "integer")
            for value in inside:
                asked(hosted, name, **{option.name: value})
            for value in outside:
                if option.name in SERVICE and value == extent["maximum"] + 1:
                    continue
                with pytest.raises((ConfigError, QueryError)):
                    asked(hosted, name, **{option.name: value})
            tried.add(option.name)
    assert tried == {
        "samples",
        "draws",
        "interval",
        "alpha",
        "steps",
        "path",
        "dim",
        "reach",
        "temperature",
        "truncation",
        "n",
    }


def test_what_must_be_given_must_be(hosted):
    queries = hosted.facts.queries
    given = next(one for one in queries["sample"].options if one.name == "given")
    assert (given.required, given.range["required"]) == (True, ["origin", "hour"])
    assert next(one for one in queries["traverse"].arguments if one.name == "at").required
    for name in ("sample", "traverse"):
        with pytest.raises(ConfigError):
            query(hosted.engine, name, 0)


def test_fields_take_what_is_within_their_ranges_and_nothing_else(kept):
    stored = read_bundle(kept.name, kept.bundle, "onnx")
    files = dict(zip(stored.packed.files, stored.files, strict=True))
    hosted = Hosted(stored.packed, files, LIMITS, backend="onnx", queries=["embed"])
    for facts in hosted.facts.fields:
        if not facts.range:
            continue
        cells = hosted.cells[facts.name]

        def encoded(value, cells=cells, name=facts.name):
            row = [value] * cells.length if cells.list else value
            table = hosted.nothing.set_column(
                hosted.nothing.column_names.index(name), name, cells.array([cells.checked(row)])
            )
            hosted.engine.encode(table)

        integer = facts.json == "integer"
        if "enum" in facts.range:
            inside, outside = facts.range["enum"], [2]
        elif integer:
            inside = [facts.range["minimum"]]
            outside = [facts.range["minimum"] - 1] + [facts.range["maximum"] + 1] * ("maximum" in facts.range)
        else:
            inside = [facts.range[name] * 0.99 for name in facts.range if name.startswith("exclusive")]
            outside = [value * 100 for value in inside]
        for value in inside:
            encoded(value)
        for value in outside:
            with pytest.raises(ContractError):
                encoded(value)

"""Requests that are asked together are answered as each is alone, and one that fails costs nobody else."""

import base64
import re

import msgspec
import pyarrow as pa
import pytest

from tests.notorch.alike import differences
from tests.serving.questions import (
    CSV,
    FILE,
    JSON,
    PARQUET,
    STREAM,
    answer,
    ask,
    hosted,
    numbers_of,
    table_of,
    values,
    written,
)
from vaekit.queries import QUERIES
from vaekit.serving.worker.answering import Answering

ASKED = {
    "score": {"attribution": True, "seed": 3},
    "detect": {"alpha": 0.1},
    "embed": {},
    "reconstruct": {},
    "denoise": {"samples": 8, "seed": 3},
    "impute": {"interval": 0.8, "samples": 8, "seed": 3},
}
CUTS = ((0, 1), (1, 7), (20, 30), (60, 1))


@pytest.fixture(scope="module")
def flights(zoo):
    return hosted(zoo["flights"])


def together(*tables):
    return pa.concat_tables(tables)


def sent(table, schema):
    """A table as a service sends it: images of callers as PNG files."""
    columns = [
        pa.array([None if one is None else base64.b64decode(one) for one in values(table[field.name])], field.type)
        if pa.types.is_binary(field.type)
        else table[field.name].cast(field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


@pytest.mark.parametrize("query", ASKED)
def test_each_caller_gets_what_the_model_says_of_its_rows_alone(query, kept):
    model = hosted(kept)
    formats = [STREAM, JSON, FILE, PARQUET]
    parts = [kept.rows.slice(*cut).select(list(model.cells)) for cut in CUTS]
    asks = [ask(kept.name, query, written(part, media), media, **ASKED[query]) for media in formats for part in parts]
    told = answer(model, *asks)
    wanted = [kept.onnx.query(query, part, **ASKED[query]) for part in parts]
    for start in range(0, len(told), len(parts)):
        found = [table_of(one) for one in told[start : start + len(parts)]]
        assert [one.num_rows for one in found] == [part.num_rows for part in parts]
        schema = found[0].schema
        assert {one.schema for one in found} == {schema}  # whatever has holes in whose rows
        assert differences(together(*found), together(*(sent(one, schema) for one in wanted))) == []


def test_draws_stand_with_their_request(zoo):
    """Requests of several sizes, cut into slices that end within them."""
    kept = zoo["cancer"]
    model = hosted(kept, max_batch_rows=16)
    parts = [kept.rows.slice(*cut).select(list(model.cells)) for cut in ((0, 5), (5, 20), (25, 1), (30, 40))]
    told = answer(model, *(ask("cancer", "impute", written(part, STREAM), STREAM, draws=3, seed=2) for part in parts))
    found = [table_of(one) for one in told]
    for part, one in zip(parts, found, strict=True):
        n = part.num_rows
        assert one["draw"].to_pylist() == [0] * n + [1] * n + [2] * n
    wanted = [kept.onnx.impute(part, draws=3, seed=2).cast(one.schema) for part, one in zip(parts, found, strict=True)]
    assert differences(together(*found), together(*wanted)) == []


def test_large_requests_are_asked_in_slices(zoo, monkeypatch):
    kept = zoo["flights"]
    model = hosted(kept, max_batch_rows=64)
    sizes, score = [], QUERIES["score"]

    def watched(engine, table, **options):
        sizes.append(len(table))
        return score(engine, table, **options)

    monkeypatch.setitem(QUERIES, "score", watched)
    table = kept.table.slice(0, 400)
    (told,) = answer(model, ask("flights", "score", written(table, STREAM), STREAM))
    assert sizes == [64] * 6 + [16]
    monkeypatch.undo()
    assert differences(table_of(told), kept.onnx.score(table)) == []


def test_one_bad_row_costs_one_caller(flights, zoo):
    table = zoo["flights"].rows
    asks = []
    for index in range(24):
        rows = msgspec.json.decode(written(table.slice(3 * index, 3), JSON))["rows"]
        if index in (5, 6, 17):
            rows[index % 3]["origin"] = "nowhere"
        asks.append(ask("flights", "score", msgspec.json.encode({"rows": rows})))
    told = answer(flights, *asks)
    faults = {index: (one.fault.status, one.fault.field, one.fault.row) for index, one in enumerate(told) if one.fault}
    assert faults == {5: (422, "origin", 2), 6: (422, "origin", 0), 17: (422, "origin", 2)}
    good = [index for index in range(24) if index not in faults]
    wanted = [zoo["flights"].onnx.score(table.slice(3 * index, 3)) for index in good]
    assert differences(together(*(table_of(told[index]) for index in good)), together(*wanted)) == []


def test_a_bad_row_in_a_later_slice_is_counted_from_the_first_row(zoo):
    model = hosted(zoo["flights"], max_batch_rows=16)
    table = zoo["flights"].rows.slice(0, 50)
    names = table["origin"].cast(pa.string()).to_pylist()
    names[37] = "nowhere"
    bad = table.set_column(table.schema.get_field_index("origin"), "origin", pa.array(names))
    (told,) = answer(model, ask("flights", "score", written(bad, STREAM), STREAM))
    assert told.fault.row == 37
    assert "row 37" in told.fault.message


def test_a_defect_costs_one_caller_and_its_log_holds_no_value(flights, zoo, monkeypatch, caplog):
    score = QUERIES["score"]

    def faulty(engine, table, **options):
        if poison in table["distance"].to_pylist():
            raise RuntimeError(f"air_time is {table['air_time'].to_pylist()}")
        return score(engine, table, **options)

    monkeypatch.setitem(QUERIES, "score", faulty)
    table = zoo["flights"].table
    poison = table["distance"].to_pylist()[300]
    parts = [part for part in (table.slice(at, 1) for at in range(40)) if part["distance"][0].as_py() != poison]
    parts.insert(7, table.slice(300, 1))
    told = answer(flights, *(ask("flights", "score", written(part, STREAM), STREAM) for part in parts))
    assert [index for index, one in enumerate(told) if one.fault] == [7]
    assert (told[7].fault.status, told[7].fault.kind) == (500, "defect")
    assert "RuntimeError" in caplog.text
    assert "faulty" in caplog.text
    assert "air_time is" not in re.sub("raise RuntimeError.*", "", caplog.text + told[7].fault.message)


def test_a_writer_that_refuses_costs_its_caller(zoo):
    kept = zoo["digits"]
    model = hosted(kept)
    body = written(kept.rows.slice(0, 2), STREAM)
    lists, arrow = answer(model, ask("digits", "embed", body, STREAM, CSV), ask("digits", "embed", body, STREAM))
    assert lists.fault.status == 406
    assert table_of(arrow).num_rows == 2


def test_answers_to_different_options_and_columns_are_not_mixed(flights, zoo):
    table = zoo["flights"].rows.slice(0, 6).select(list(flights.cells))
    some = table.drop_columns(["arr_delay"])
    cases = [(table, {"seed": 1}), (table, {"seed": 2}), (some, {"seed": 1}), (table, {"seed": 1, "interval": 0.5})]
    told = answer(flights, *(ask("flights", "impute", written(t, STREAM), STREAM, **o) for t, o in cases))
    for (rows, options), one in zip(cases, told, strict=True):
        wanted = zoo["flights"].onnx.impute(rows, **options)
        assert differences(table_of(one), wanted.cast(table_of(one).schema)) == []


def test_what_is_remembered_of_a_model_goes_with_it(zoo):
    """Another bundle under the same name, with other limits, is not asked as the one before it was."""
    answering = Answering({"flights": hosted(zoo["flights"])})
    one = ask("flights", "score", written(zoo["flights"].rows.slice(0, 1), STREAM), STREAM, samples=64)
    for limits, status in (({}, None), ({"max_samples": 10}, 400)):
        answering.models = {"flights": hosted(zoo["flights"], **limits)}
        (told,), _ = answering.answer([one], [one.body])
        assert (told.fault and told.fault.status) == status


def test_types_of_arrow_columns_stay_as_they_came(flights, zoo):
    """Rows of other types than the contract's are asked in a group of their own."""
    table = zoo["flights"].rows.slice(0, 6).select(list(flights.cells))
    narrow = table.set_column(0, "dep_delay", table["dep_delay"].cast(pa.float32()))
    both = answer(flights, *(ask("flights", "impute", written(t, STREAM), STREAM) for t in (table, narrow)))
    assert [table_of(one).schema.field("dep_delay").type for one in both] == [pa.float64(), pa.float32()]


def test_what_is_not_there_is_named(flights, zoo):
    body = written(zoo["flights"].rows.slice(0, 1), JSON)
    asks = [
        ask("flight", "score", body),
        ask("flights", "scores", body),
        ask("flights", "score", body, "text/html"),
        ask("flights", "score", body, JSON, "text/html"),
    ]
    assert [one.fault.status for one in answer(flights, *asks)] == [404, 404, 415, 406]


def test_what_was_noticed_adds_up(flights, zoo):
    table = zoo["flights"].rows
    asks = [ask("flights", "score", written(table.slice(0, n), STREAM), STREAM) for n in (3, 4)]
    asks += [ask("flights", "embed", written(table.slice(0, 5), JSON)), ask("flights", "score", b"nonsense")]
    told, seen = Answering({"flights": flights}).answer(asks, [one.body for one in asks])
    assert seen.rows == 12
    assert sorted((group.query, group.requests, group.rows) for group in seen.groups) == [
        ("embed", 1, 5),
        ("score", 2, 7),
    ]
    assert [one.rows for one in told] == [3, 4, 5, 0]
    assert min(seen.parse, seen.infer, seen.write) > 0.0


def test_json_rows_answer_in_the_order_of_the_request(flights, zoo):
    table = zoo["flights"].rows.slice(0, 40)
    order = list(range(39, -1, -1))
    forth, back = answer(
        flights,
        ask("flights", "score", written(table, JSON), gives=JSON),
        ask("flights", "score", written(table.take(order), JSON), gives=JSON),
    )
    there, here = numbers_of(forth)["score"].astype(float), numbers_of(back)["score"].astype(float)
    assert abs(there - here[::-1]).max() < 1e-4
    assert there.std() > 0.1

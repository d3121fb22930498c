"""Bodies in every format are read in the types of the contract, or refused with the reason; answers are written."""

import datetime as dt
import io
import json
import random
import re

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from PIL import Image

import vaekit as vk
from tests.notorch.alike import differences
from tests.serving.questions import (
    COLUMNS,
    CSV,
    FILE,
    JSON,
    PARQUET,
    STREAM,
    answer,
    ask,
    hosted,
    table_of,
    written,
)
from vaekit.errors import ContractError
from vaekit.serving.wire.asking import Ask
from vaekit.serving.wire.inference import TENSORS
from vaekit.serving.worker.cells import Cells, plain_values
from vaekit.serving.worker.formats import READERS
from vaekit.serving.worker.formats.tensors import Tensor

FORM = "multipart/form-data"


@pytest.fixture(scope="module")
def flights(zoo):
    return hosted(zoo["flights"], max_rows=300)


@pytest.fixture(scope="module")
def digits(zoo):
    return hosted(zoo["digits"])


def fault(model, query, body, takes=JSON, **options):
    (told,) = answer(model, ask(model.name, query, body, takes, **options))
    assert told.fault is not None, told
    assert told.body == b""
    return told.fault


def rows(**changes):
    """A row of flights with some changes; those of None leave a field out."""
    row = {"dep_delay": 2.0, "arr_delay": 11, "distance": 1400, "air_time": 227.5, "origin": "EWR"}
    row |= {"carrier": "UA", "evening": False, "hour": 5.0, **changes}
    return msgspec.json.encode({"rows": [{name: value for name, value in row.items() if value is not ...}]})


# -------------------------------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize("media", [JSON, COLUMNS, STREAM, FILE, CSV, PARQUET])
@pytest.mark.parametrize("name", ["flights", "cancer", "digits", "weather", "visits"])
def test_every_format_brings_the_same_rows(zoo, name, media):
    kept = zoo[name]
    model = hosted(kept)
    asked = kept.rows.slice(0, 60).select(list(model.cells))
    if media == CSV and name == "digits":
        assert fault(model, "score", b"label\nd3\n", CSV).status == 415  # lists
        return
    body = written(asked, media)
    parsed = READERS[JSON if media == COLUMNS else media](body, ask(name, "score", body), model)
    table = type(parsed.rows).merged([parsed.rows])
    assert parsed.rows.count == table.num_rows == 60
    if media in (JSON, COLUMNS):
        assert table.schema == pa.schema([(n, cells.type) for n, cells in model.cells.items()])
    (told,) = answer(model, ask(name, "score", body, JSON if media == COLUMNS else media))
    assert differences(table_of(told), kept.onnx.score(asked)) == []


def test_values_are_read_in_the_types_of_their_fields(zoo):
    for name in ("flights", "cancer", "digits", "weather", "visits"):
        kept = zoo[name]
        model = hosted(kept)
        asked = kept.rows.slice(0, 100).select(list(model.cells)).combine_chunks()
        for media in (JSON, COLUMNS):
            body = written(asked, media)
            table = READERS[JSON](body, ask(name, "score", body), model).rows
            found = type(table).merged([table])
            for column in asked.column_names:
                there, here = asked[column].to_pylist(), found[column].to_pylist()
                assert here == [None if isinstance(x, float) and x != x else x for x in there], column


@pytest.mark.parametrize("kind", [pa.time32("ms"), pa.time64("us")])
def test_times_of_day_are_iso_text_both_ways(kind):
    times = [dt.time(5, 0), dt.time(23, 59, 30), None, dt.time(5, 0)] * 5
    table = pa.table({"departs": pa.array(times, kind)})
    cells = Cells(vk.Contract.infer(table)["departs"])
    found = cells.array([cells.checked(text) for text in ["05:00:00", "23:59:30", None, "05:00:00"] * 5])
    assert found.to_pylist() == times
    assert [text and text[:8] for text in plain_values(found)[:3]] == ["05:00:00", "23:59:30", None]
    with pytest.raises(ContractError, match="ISO 8601"):
        cells.array(["five"])


def test_whole_numbers_may_be_written_with_a_point_and_floats_without(flights):
    (exact,) = answer(flights, ask("flights", "score", rows()))
    (other,) = answer(flights, ask("flights", "score", rows(distance=1400.0, dep_delay=2, hour=5)))
    assert exact.body == other.body


@pytest.mark.parametrize(
    ("changes", "field", "expected"),
    [
        ({"distance": 1400.5}, "distance", "a whole number"),
        ({"distance": "1400"}, "distance", "a whole number"),
        ({"distance": True}, "distance", "a whole number"),
        ({"distance": 2**40}, "distance", "int32"),
        ({"distance": 10**30}, "distance", "int32"),
        ({"dep_delay": "late"}, "dep_delay", "a number"),
        ({"dep_delay": [1.0]}, "dep_delay", "a number"),
        ({"dep_delay": 10**400}, "dep_delay", None),
        ({"evening": 1}, "evening", "a boolean"),
        ({"carrier": 7}, "carrier", "a string"),
        ({"origin": "XYZ"}, "origin", "one of 'EWR'"),
        ({"hour": ...}, "hour", None),
    ],
)
def test_what_breaks_the_contract_is_told_with_field_and_row(flights, changes, field, expected):
    good = msgspec.json.decode(rows())["rows"][0]
    bad = {name: value for name, value in (good | changes).items() if value is not ...}
    body = json.dumps({"rows": [good, bad, good]}).encode()
    found = fault(flights, "score", body)
    if "10000000000" in body.decode() and field == "dep_delay":
        assert found.status in (400, 422)  # too long to be any number
        return
    assert (found.status, found.field, found.row) == (422, field, 1)
    assert expected is None or expected in found.message


def test_a_column_that_is_left_out_everywhere_is_named(flights):
    found = fault(flights, "score", rows(hour=...))
    assert (found.status, found.field) == (422, "hour")
    (told,) = answer(flights, ask("flights", "impute", rows(arr_delay=..., distance=...), gives=JSON))
    filled = msgspec.json.decode(told.body)["rows"][0]
    assert isinstance(filled["arr_delay"], float)
    assert isinstance(filled["distance"], int)


def test_columns_that_the_model_does_not_know_are_passed_over(flights):
    (plain,) = answer(flights, ask("flights", "score", rows()))
    extra = {"tail": "N1", "more": {"deep": [1, {"x": 2}]}}
    (told,) = answer(flights, ask("flights", "score", rows(**extra)))
    assert told.body == plain.body
    (told,) = answer(flights, ask("flights", "impute", rows(**extra), gives=JSON))
    assert set(msgspec.json.decode(told.body)["rows"][0]) == set(flights.cells)
    assert fault(flights, "score", b'{"rows": [{"tail": "N1"}]}').status == 422


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not JSON"),
        (b"nonsense", "not JSON"),
        (b'{"rows": [', "not JSON"),
        (b"[1, 2]", "a JSON object"),
        (b"null", "a JSON object"),
        (b"{}", "either rows or columns"),
        (b'{"rows": [], "columns": {}}', "either rows or columns"),
        (b'{"row": []}', "no place for 'row'"),
        (b'{"rows": {}}', "a list of objects"),
        (b'{"rows": [1]}', "a row is an object"),
        (b'{"columns": []}', "columns is an object"),
        (b'{"columns": {"hour": 1}}', "a list of values"),
        (b'{"columns": {"hour": [1], "dep_delay": [1, 2]}}', "equally many"),
        (b'{"rows": [], "options": 3}', "options is an object"),
        (b'{"rows": [{"hour": NaN}]}', "not JSON"),
        (b'{"rows": [{"hour": Infinity}]}', "not JSON"),
        (b'{"rows": [{"hour": 1e999}]}', "not JSON"),
        (b'{"rows": [{"hour": 01}]}', "not JSON"),
        (b'{"rows": [{"hour": 1,}]}', "not JSON"),
        (b'{"rows": [{"hour": 1, "hour": 2}]}', "key 'hour' twice"),
        (b'{"rows": [{"x": {"y": 1, "y" : 2}}]}', "key 'y' twice"),
        (b'{"rows": [], "rows": []}', "key 'rows' twice"),
        (b'{"rows": [{"\xff": 1}]}', "UTF-8"),
        (b'{"rows": [{"x": "\xff"}]}', "UTF-8"),
        (b'{"rows": [{"origin": "\\ud800"}]}', "not JSON"),
        (b'{"rows": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"rows": [{"x": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}]}", "nested too deeply"),
        (b'{"rows": [{"hour": ' + b"9" * 10_000 + b"}]}", ""),
    ],
)
def test_a_body_that_is_no_question_is_refused_with_the_reason(flights, body, words):
    found = fault(flights, "score", body)
    assert found.status in ((400,) if words else (400, 422)), found
    assert words in found.message


def test_a_key_twice_is_found_wherever_texts_hold_what_looks_like_keys(flights):
    """Keys are counted quickly first; what makes the count wrong must not hide a repetition."""
    fine = rows(carrier="UA", note='a":b', other=':"x":')
    (told,) = answer(flights, ask("flights", "score", fine))
    assert told.fault is None
    twice = fine.replace(b'"hour":', b'"hour" : 3, "hour":')
    assert "twice" in fault(flights, "score", twice).message


@pytest.mark.parametrize("media", [STREAM, FILE, PARQUET, CSV, FORM, "text/plain"])
def test_garbage_in_other_formats_is_refused(flights, media):
    found = fault(flights, "score", b"\x00garbage\xff" * 50, media)
    assert found.status == (415 if media == "text/plain" else 400 if media != CSV else found.status)
    assert found.status in (400, 415, 422)


def test_numbers_of_single_precision_have_no_more_digits_than_it_takes(flights, zoo):
    body = written(zoo["flights"].rows.slice(0, 20), STREAM)
    told = answer(flights, *(ask("flights", "embed", body, STREAM, gives) for gives in (STREAM, JSON)))
    exact = table_of(told[0])["embedding"].combine_chunks().flatten().to_numpy()
    digits = re.findall(rb"-?\d[\d.e+-]*", told[1].body)
    assert [np.float32(one) for one in digits] == exact.tolist()
    assert [float(one) for one in digits] == [float(str(one)) for one in exact]  # str has the shortest
    assert Tensor("x", "FP32", (2,), np.array([0.1, np.nan], np.float32)).written == [0.1, None]


@pytest.mark.parametrize("media", [JSON, STREAM, FILE, PARQUET, CSV])
def test_damaged_bodies_never_crash_a_worker(zoo, media):
    """Cut off, or with bytes changed: an answer or a refusal, and never a defect."""
    kept = zoo["visits"]
    model = hosted(kept)
    body = written(kept.rows.slice(0, 20), media)
    chance = random.Random(7)
    for _ in range(150):
        damaged = bytearray(body[: chance.randrange(len(body))] if chance.random() < 0.3 else body)
        for _ in range(chance.choice([0, 1, 3, 30])):
            if damaged:
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        (told,) = answer(model, ask("visits", "score", bytes(damaged), media))
        assert told.fault is None or told.fault.status in (400, 413, 415, 422), told.fault


def test_too_many_rows_are_refused_before_they_are_answered(flights, zoo):
    table = zoo["flights"].table.slice(0, 301)
    for media in (JSON, STREAM, PARQUET, CSV):
        found = fault(flights, "score", written(table, media), media)
        assert found.status == 413
        assert "300" in found.message
    assert fault(flights, "impute", written(table.slice(0, 101), STREAM), STREAM, draws=3).status == 413
    (told,) = answer(flights, ask("flights", "impute", written(table.slice(0, 100), STREAM), STREAM, draws=3))
    assert table_of(told).num_rows == 300


def test_no_rows_give_an_empty_answer(flights, zoo):
    for body, media in ((b'{"rows": []}', JSON), (written(zoo["flights"].rows.slice(0, 0), STREAM), STREAM)):
        (told,) = answer(flights, ask("flights", "score", body, media))
        assert table_of(told).num_rows == 0
        assert table_of(told).column_names == ["score", "p_value"]


def test_a_type_that_nobody_knows_is_the_fault_of_its_caller(zoo):
    """A time zone that is none: Arrow reads it, and fails when it looks for the zone."""
    model, rows = hosted(zoo["weather"]), zoo["weather"].rows.slice(0, 3)
    zone = rows["when"].cast(pa.timestamp("us")).cast(pa.int64()).cast(pa.timestamp("us", "Nowhere/Town"))
    wrong = rows.set_column(rows.schema.get_field_index("when"), "when", zone)
    found = fault(model, "score", written(wrong, STREAM), STREAM)
    assert found.status == 422
    assert "Nowhere/Town" in found.message


def test_a_column_that_is_there_twice_is_refused(flights, zoo):
    table = zoo["flights"].rows.slice(0, 2)
    twice = pa.Table.from_arrays([*table.columns, table["hour"]], names=[*table.column_names, "hour"])
    assert "twice" in fault(flights, "score", written(twice, STREAM), STREAM).message


# -------------------------------------------------------------------------------------------------------------- options


def test_options_change_the_answer_from_the_body_or_from_outside(flights, zoo):
    table, model = zoo["flights"].rows.slice(0, 5), zoo["flights"].onnx
    wanted = model.score(table, attribution=True, samples=3, seed=9)
    (inside,) = answer(flights, ask("flights", "score", written(table, JSON, attribution=True, samples=3, seed=9)))
    (outside,) = answer(
        flights, ask("flights", "score", written(table, STREAM), STREAM, attribution="true", samples=3, seed=9)
    )
    for told in (inside, outside):
        assert differences(table_of(told), wanted) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sample": 3}, "no option 'sample'; it has: attribution, samples, seed"),
        ({"samples": 2.5}, "expected integer, got 2.5"),
        ({"samples": "8"}, "expected integer"),
        ({"attribution": 1}, "expected boolean"),
        ({"samples": None}, "expected integer"),
        ({"samples": 100_000}, "at most 1024"),
        ({"samples": 0}, "at least 1"),
        ({"positions": [3]}, "no option 'positions'"),
    ],
)
def test_options_that_make_no_sense_are_refused(flights, zoo, options, words):
    body = written(zoo["flights"].rows.slice(0, 1), JSON, **options)
    found = fault(flights, "score", body)
    assert found.status == 400
    assert words in found.message


@pytest.mark.parametrize("text", ["nan", "inf", "1e999", "x", "", "0.1x"])
def test_numbers_in_urls_are_numbers(flights, text):
    found = fault(flights, "detect", rows(), alpha=text)
    assert found.status == 400
    assert "alpha" in found.message


def test_a_part_of_a_table_is_answered_as_in_its_place(flights, zoo):
    rows, model = zoo["flights"].rows.slice(0, 9), zoo["flights"].onnx
    whole = model.denoise(rows, samples=8)
    asks = [
        ask("flights", "denoise", written(rows.slice(first, 3), JSON, samples=8, first=first)) for first in (0, 3, 6)
    ]
    parts = pa.concat_tables([table_of(told) for told in answer(flights, *asks)])
    assert differences(parts, whole) == []
    assert differences(parts, model.denoise(rows.slice(0, 3), samples=8)) != []
    for first in (-1, 2**53):
        found = fault(flights, "denoise", written(rows, JSON, first=first))
        assert (found.status, "'first'" in found.message) == (400, True)


def test_an_option_is_given_once(flights, zoo):
    body = written(zoo["flights"].rows.slice(0, 1), JSON, seed=1)
    assert "give it once" in fault(flights, "score", body, seed=1).message


# --------------------------------------------------------------------------------------------- queries without rows


def test_new_rows_are_drawn_as_the_query_draws_them(flights, zoo):
    given = {"origin": "JFK", "hour": 9.0}
    body = json.dumps({"n": 20, "given": given, "seed": 4, "temperature": 0.5}).encode()
    (told,) = answer(flights, ask("flights", "sample", body))
    wanted = zoo["flights"].onnx.sample(20, given=given, seed=4, temperature=0.5)
    assert differences(table_of(told), wanted) == []
    assert told.rows == 20
    (options,) = answer(
        flights, ask("flights", "sample", json.dumps({"n": 20, "given": given, "options": {"seed": 4}}).encode())
    )
    assert differences(table_of(options), zoo["flights"].onnx.sample(20, given=given, seed=4)) == []


def test_given_values_are_read_as_their_fields_are(zoo):
    model = hosted(zoo["weather"])
    body = json.dumps({"n": 5, "given": {"issued": "2013-07-04T00:00:00", "day": "2013-07-04"}}).encode()
    (told,) = answer(model, ask("weather", "sample", body))
    assert set(map(str, table_of(told)["day"].to_pylist())) == {"2013-07-04"}
    wrong = json.dumps({"n": 5, "given": {"issued": "tomorrow"}}).encode()
    assert fault(model, "sample", wrong).status == 422
    assert fault(model, "sample", b'{"n": 5, "given": {"colour": 1, "issued": null}}').status == 400


def test_paths_through_the_latent_space(flights, zoo):
    model, table = zoo["flights"].onnx, zoo["flights"].rows
    ends = [msgspec.json.decode(written(table.slice(at, 3), JSON))["rows"] for at in (0, 10)]
    body = msgspec.json.encode({"a": ends[0], "b": ends[1], "steps": 4})
    (told,) = answer(flights, ask("flights", "interpolate", body))
    asked = [table.slice(at, 3).select(list(flights.cells)) for at in (0, 10)]
    assert differences(table_of(told), model.interpolate(*asked, steps=4)) == []
    (told,) = answer(flights, ask("flights", "traverse", msgspec.json.encode({"dim": 1, "at": ends[0], "steps": 3})))
    assert differences(table_of(told), model.traverse(1, at=asked[0], steps=3)) == []


@pytest.fixture(scope="module")
def labelled(zoo):
    """Rows with attributes that are no fields: one of classes, which a row lacks, a quantity, and whole numbers."""
    rows = msgspec.json.decode(written(zoo["flights"].rows.slice(0, 100), JSON))["rows"]
    for at, row in enumerate(rows):
        late = (row["dep_delay"] or 0) > 0
        row |= {"mood": "late" if late else "early", "rush": at / 7, "odd": bool(at % 2), "turn": at % 3}
    del rows[3]["mood"]
    return rows


def test_an_edit_learns_attributes_that_are_no_fields(flights, zoo, labelled):
    model, table = zoo["flights"].onnx, zoo["flights"].rows.slice(0, 100)
    columns = {name: pa.array([row.get(name) for row in labelled]) for name in ("mood", "rush", "odd", "turn")}
    examples = table
    for name, column in columns.items():
        examples = examples.append_column(name, column)
    for asked in ({"mood": "late"}, {"rush": 9.5}, {"odd": True}, {"turn": 2}):
        body = msgspec.json.encode({"rows": labelled[:5], "examples": labelled, "options": {"set": asked, "steps": 2}})
        (told,) = answer(flights, ask("flights", "edit", body))
        assert told.fault is None, told.fault
        assert differences(table_of(told), model.edit(examples.slice(0, 5), examples, set=asked, steps=2)) == []


@pytest.mark.parametrize(
    ("change", "asked", "status", "words"),
    [
        ({}, {"colour": "red"}, 400, "the examples have no attribute 'colour'; they have: "),
        ({}, {"mood": "lost"}, 400, "'mood' is 'lost' not at all in the examples"),
        ({}, {"rush": "soon"}, 400, "'rush' is a quantity in the examples; its new value is a number"),
        ({}, {"mood": ["late"]}, 400, "the new value of 'mood' is a single value"),
        ({"mood": 3}, {"mood": "late"}, 422, "wrong type .*row 7.*expected a text, as in the rows before, got 3"),
        ({"mood": ["late"]}, {"mood": "late"}, 422, "wrong type .*row 7.*got .*late"),
    ],
)
def test_attributes_that_make_no_sense_are_refused(flights, labelled, change, asked, status, words):
    examples = [row | (change if at == 7 else {}) for at, row in enumerate(labelled)]
    body = json.dumps({"rows": labelled[:2], "examples": examples, "set": asked}).encode()
    found = fault(flights, "edit", body)
    assert found.status == status, found
    assert re.search(words, found.message), found.message
    if status == 422:
        assert (found.field, found.row) == ("mood", 7)


@pytest.mark.parametrize(
    ("query", "body", "status", "words"),
    [
        ("sample", {}, 400, "needs 'n'"),
        ("sample", {"n": -1}, 400, "n must be"),
        ("sample", {"n": 2.5}, 400, "expected integer"),
        ("sample", {"n": 301, "given": {"origin": "JFK", "hour": 1}}, 413, "300"),
        ("sample", {"n": 3}, 400, "must be given"),
        ("sample", {"n": 3, "rows": []}, 400, "no place for 'rows'"),
        ("interpolate", {"a": []}, 400, "needs 'b'"),
        ("interpolate", {"a": 3, "b": 4}, 400, "a list of objects"),
        ("traverse", {"dim": 99, "at": []}, 400, "dim"),
        ("score", {"n": 3}, 400, "no place for 'n'"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(flights, query, body, status, words):
    found = fault(flights, query, json.dumps(body).encode())
    assert found.status == status
    assert words in found.message


def test_a_table_is_no_argument_of_a_query_without_rows(flights, zoo):
    assert fault(flights, "sample", written(zoo["flights"].rows, STREAM), STREAM).status == 400


# ---------------------------------------------------------------------------------------------------------------- forms


def form(*parts, boundary="cut", end=b"--cut--\r\n"):
    """A form of parts: name, content, and for files their name and type."""
    lines = []
    for name, content, *file in parts:
        head = f'Content-Disposition: form-data; name="{name}"'
        if file:
            head += f'; filename="{file[0]}"\r\nContent-Type: {file[1]}'
        lines.append(f"--{boundary}\r\n{head}\r\n\r\n".encode() + content + b"\r\n")
    return b"".join(lines) + end


def asked(model, query, body, **options):
    headers = {"content-type": "multipart/form-data; boundary=cut"}
    texts = {name: str(value) for name, value in options.items()}
    one = Ask(id="", model=model.name, query=query, takes=FORM, gives=STREAM, options=texts, headers=headers, body=body)
    (told,) = answer(model, one)
    return told


def picture(levels, kind="PNG", mode="L"):
    sink = io.BytesIO()
    Image.fromarray(np.asarray(levels, np.uint8)).convert(mode).save(sink, kind)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("media", "name"),
    [(CSV, "t.csv"), (PARQUET, "T.PARQUET"), (FILE, "t.arrow"), (STREAM, "t.arrows"), (JSON, "t.json")],
)
def test_a_table_comes_as_a_file(flights, zoo, media, name):
    table = zoo["flights"].rows.slice(0, 12)
    part = ("file", written(table, media), name, "application/octet-stream")
    told = asked(flights, "score", form(part, ("options", b'{"seed": 3}')))
    assert differences(table_of(told), zoo["flights"].onnx.score(table, seed=3)) == []


def test_an_image_is_a_vector_and_other_parts_are_other_fields(digits, zoo):
    levels = np.arange(16).reshape(4, 4) * 17
    bits = msgspec.json.encode([0, 1] * 8)
    others = [("label", b"d3"), ("bits", bits), ("profile", b"[1,2,3,4,5,6,7,8]")]
    parts = [("grey", picture(levels), "x.png", "image/png"), *others]
    told = asked(digits, "score", form(*parts), white=15)
    row = {"grey": [(levels.ravel() / 17).tolist()], "bits": [[0, 1] * 8], "label": ["d3"]}
    wanted = zoo["digits"].onnx.score(pa.table(row | {"profile": [[1.0, 2, 3, 4, 5, 6, 7, 8]]}))
    assert differences(table_of(told), wanted) == []
    inside = asked(digits, "score", form(*parts, ("options", b'{"white": 15}')))
    assert inside.body == told.body
    assert asked(digits, "score", form(*parts)).body != told.body  # 255 is white if nothing is said
    colours = [("grey", picture(np.dstack([levels] * 3), mode="RGB"), "x.png", "image/png"), *others]
    assert asked(digits, "score", form(*colours), white=15).body == told.body


def test_pixels_become_bits_where_the_elements_are_whole(digits):
    parts = [
        ("bits", picture(np.eye(4) * 255), "x.jpg", "image/png"),
        ("label", b"d3"),
        ("grey", b""),
        ("profile", b""),
    ]
    told = asked(digits, "impute", form(*parts), white=1)
    assert table_of(told)["bits"].to_pylist() == [np.eye(4, dtype=int).ravel().tolist()]


def bomb():
    """A PNG that claims to be enormous."""
    content = bytearray(picture(np.zeros((4, 4))))
    content[16:24] = (60_000).to_bytes(4, "big") * 2
    import zlib

    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    return bytes(content)


@pytest.mark.parametrize(
    ("parts", "status", "words"),
    [
        ([], 400, "one file"),
        ([("label", b"d3")], 400, "one file"),
        ([("grey", b"no image", "x.png", "image/png")], 400, "not a PNG or JPEG"),
        ([("grey", picture(np.zeros((4, 4)))[:-30], "x.png", "image/png")], 400, "not a PNG or JPEG"),
        ([("grey", picture(np.zeros((5, 5))), "x.png", "image/png")], 422, "16 elements"),
        ([("grey", bomb(), "x.png", "image/png")], 413, "at most 1048576 pixels"),
        ([("label", picture(np.zeros((4, 4))), "x.png", "image/png")], 400, "vector field"),
        ([("grey", picture(np.zeros((4, 4))), "x.png", "image/png"), ("colour", b"1")], 400, "no field"),
        ([("grey", picture(np.zeros((4, 4))), "x.png", "image/png"), ("profile", b"many")], 422, "a list of 8"),
        ([("grey", picture(np.zeros((4, 4))), "x.png", "image/png")], 422, "column is missing"),
        ([("grey", picture(np.zeros((4, 4))), "x.gif", "image/gif")], 415, "image/gif"),
        ([("f", b"{}", "x", TENSORS)], 415, "known are: .csv"),
        ([("f", b"{}", "x", FORM)], 415, "known are: .csv"),
        ([("f", b"a\n1\n", "x.csv", "text/csv"), ("label", b"d3")], 400, "no other values"),
        ([("label", b"d3"), ("label", b"d4"), ("f", b"{}", "x.json", "")], 400, "twice"),
        ([("options", b"[1]"), ("f", b"{}", "x.json", "")], 400, "JSON object"),
    ],
)
def test_forms_that_make_no_sense_are_refused(digits, parts, status, words):
    told = asked(digits, "score", form(*parts))
    assert told.fault is not None
    assert told.fault.status == status
    assert words in told.fault.message


def test_a_form_that_is_cut_off_is_refused(digits):
    part = ("grey", picture(np.zeros((4, 4))), "x.png", "image/png")
    assert "cut off" in asked(digits, "score", form(part, end=b"")).fault.message
    one = ask("digits", "score", form(part), FORM)
    assert "boundary" in answer(digits, one)[0].fault.message
    assert asked(digits, "score", form(part), white="-3").fault.kind == "bad_option"


# -------------------------------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize("query", ["score", "impute", "reconstruct", "embed"])
@pytest.mark.parametrize("name", ["flights", "digits", "weather", "visits"])
def test_json_says_what_arrow_says(zoo, name, query):
    kept = zoo[name]
    model = hosted(kept)
    body = written(kept.rows.slice(0, 30), STREAM)
    ways = (STREAM, JSON, COLUMNS)  # one after the other: a row's last digit may depend on its place in a batch
    arrow, by_row, by_column = (answer(model, ask(name, query, body, STREAM, gives))[0] for gives in ways)
    table = table_of(arrow)
    rows, columns = msgspec.json.decode(by_row.body)["rows"], msgspec.json.decode(by_column.body)["columns"]
    assert {name: [row[name] for row in rows] for name in columns} == columns
    if query in ("impute", "reconstruct"):  # what was written can be read again
        parsed = READERS[JSON](by_row.body, ask(name, "impute", b""), model).rows
        again = type(parsed).merged([parsed])
        for column in again.column_names:
            assert again[column].to_pylist() == table[column].cast(again[column].type).to_pylist()
    else:
        for column in table.column_names:
            assert pa.array(columns[column], table[column].type).to_pylist() == table[column].to_pylist()


def test_numbers_that_json_does_not_have_are_null(flights, zoo):
    """A model that was never calibrated has no p-values."""
    body = written(zoo["flights"].rows.slice(0, 2), STREAM)
    (told,) = answer(flights, ask("flights", "score", body, STREAM, JSON, samples=3))
    assert [row["p_value"] for row in msgspec.json.decode(told.body)["rows"]] == [None, None]


def test_answers_as_csv(flights, digits, zoo):
    table = zoo["flights"].rows.slice(0, 8)
    (told,) = answer(flights, ask("flights", "score", written(table, STREAM), STREAM, CSV))
    found = pa.csv.read_csv(io.BytesIO(told.body))
    assert differences(found, zoo["flights"].onnx.score(table)) == []
    assert told.headers["content-type"].startswith("text/csv")
    (lists,) = answer(digits, ask("digits", "embed", written(zoo["digits"].rows, STREAM), STREAM, CSV))
    assert lists.fault.status == 406


def test_parquet_reads_only_what_the_model_reads(flights, zoo):
    table = zoo["flights"].rows.slice(0, 5)
    wide = table.append_column("junk", pa.array([{"a": [1]}] * 5))
    sink = io.BytesIO()
    pq.write_table(wide, sink)
    (told,) = answer(flights, ask("flights", "score", sink.getvalue(), PARQUET))
    assert differences(table_of(told), zoo["flights"].onnx.score(table)) == []

"""A job answers every row once, as the model does, and goes on where it was."""

import importlib.util
import threading
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from tests.batch.folders import answers, files_of, prints
from tests.notorch.alike import differences
from tests.support import MODELS
from vaekit import batch
from vaekit.batch import job as job_module
from vaekit.batch import output
from vaekit.batch.asking import Answered
from vaekit.batch.output import Folder
from vaekit.bundle import Bundle
from vaekit.errors import BundleError, ConfigError, ContractError, QueryError
from vaekit.fields.writing import write

ASKED = {
    "score": {"attribution": True},
    "detect": {"alpha": 0.2, "attribution": True},
    "embed": {},
    "reconstruct": {},
    "denoise": {"samples": 8, "seed": 3},
    "impute": {"interval": 0.8, "samples": 8, "seed": 3},
}
SMALL = {"part_rows": 64, "batch_rows": 32}
CALLS = {"part_rows": 64, "batch_rows": 16, "threads": 1}  # one call is ahead of the one that is told of


@pytest.fixture
def flights(zoo, tmp_path):
    """A model, and 200 rows in a folder of files."""
    kept = zoo["flights"]
    return kept, files_of(kept.rows, tmp_path / "in", 90)


def stopping(after):
    """Arguments that end a job after so many calls."""
    stop, calls = threading.Event(), []

    def told(progress):
        calls.append(progress)
        if len(calls) == after:
            stop.set()

    return {"stop": stop, "told": told}


# ------------------------------------------------------------------------------------------------------ which answers


@pytest.mark.parametrize("query", ASKED)
@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_answers_are_those_of_the_model(query, backend, kept, tmp_path):
    source = files_of(kept.rows, tmp_path / "in", 90)
    done = batch.run(kept.bundle, query, source, tmp_path / "out", backend=backend, **SMALL, **ASKED[query])
    found = answers(tmp_path / "out")
    assert (done.state, done.rows, done.parts, done.backend) == ("done", 200, 4, backend)
    assert found["row"].to_pylist() == list(range(200))
    model = kept.onnx if backend == "onnx" else kept.torch
    expected = model.query(query, source, **ASKED[query])
    assert differences(plain(found.drop_columns("row")), plain(expected)) == []


def plain(table):
    """Dictionaries as their values, which is how Parquet keeps most of them."""
    for index, column in enumerate(table.schema):
        if pa.types.is_dictionary(column.type):
            table = table.set_column(index, column.name, table[column.name].cast(column.type.value_type))
    return table.cast(
        pa.schema([(f.name, pa.string() if f.type == pa.large_string() else f.type) for f in table.schema])
    )


@pytest.mark.parametrize("which", ["given", "held"])
def test_drawn_rows_are_those_of_the_model(which, kept, tmp_path):
    given = getattr(MODELS[kept.name], which)
    options = {"given": given, "seed": 4}
    batch.run(kept.bundle, "sample", 150, tmp_path / "out", part_rows=64, batch_rows=48, **options)
    found = answers(tmp_path / "out")
    assert found["row"].to_pylist() == list(range(150))
    assert differences(plain(found.drop_columns("row")), plain(kept.onnx.sample(150, **options))) == []


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".tsv", ".arrow", ".parquet"])
def test_every_format_gives_the_same_answers(suffix, zoo, tmp_path):
    kept, path = zoo["flights"], tmp_path / f"rows{suffix}"
    if suffix == ".tsv":
        kept.rows.to_pandas().to_csv(path, sep="\t", index=False)
    else:
        write(kept.rows, path)
    batch.run(kept.bundle, "impute", path, tmp_path / "out", **SMALL)
    found, expected = plain(answers(tmp_path / "out").drop_columns("row")), plain(kept.onnx.impute(kept.rows))
    assert differences(found, expected.cast(found.schema)) == []


def test_several_draws_stand_beside_the_number_of_their_row(flights, tmp_path):
    kept, source = flights
    batch.run(kept.bundle, "impute", source, tmp_path / "out", keep=["hour"], draws=3, seed=5, **SMALL)
    found, expected = answers(tmp_path / "out"), kept.onnx.impute(kept.rows, draws=3, seed=5)
    for draw in range(3):
        part = found.filter(pa.compute.equal(found["draw"], draw))
        assert part["row"].to_pylist() == list(range(200))
        whole = expected.filter(pa.compute.equal(expected["draw"], draw))
        assert differences(plain(part.drop_columns("row")), plain(whole)) == []


def test_columns_are_carried_along(flights, tmp_path):
    kept, source = flights
    batch.run(kept.bundle, "score", source, tmp_path / "some", keep=["carrier", "distance"], **SMALL)
    batch.run(kept.bundle, "score", source, tmp_path / "all", keep="all", **SMALL)
    some, every = answers(tmp_path / "some"), answers(tmp_path / "all")
    assert some.column_names == ["row", "carrier", "distance", "score", "p_value"]
    assert plain(some.select(["carrier", "distance"])) == plain(kept.rows.select(["carrier", "distance"]))
    assert every.column_names == ["row", *kept.rows.column_names, "score", "p_value"]


@pytest.mark.parametrize(
    ("rename", "keep", "message"),
    [
        ({}, ["colour"], "columns to keep are not in the input: colour"),
        ({"hour2": "score"}, ["score"], "two columns of the name 'score'"),
        ({"hour2": "row"}, ["row"], "two columns of the name 'row'"),
    ],
)
def test_columns_that_cannot_be_carried_along_are_named(rename, keep, message, zoo, tmp_path):
    kept = zoo["flights"]
    rows = kept.rows.append_column("hour2", kept.rows["hour"])
    rows = rows.rename_columns([rename.get(name, name) for name in rows.column_names])
    with pytest.raises(ConfigError, match=message):
        batch.run(kept.bundle, "score", rows, tmp_path / "out", keep=keep)
    assert not (tmp_path / "out").exists()


def test_scores_do_not_depend_on_the_size_of_calls_in_a_single_bit(flights, tmp_path):
    kept, source = flights
    found = []
    for rows in (8, 64):
        batch.run(kept.bundle, "score", source, tmp_path / str(rows), part_rows=64, batch_rows=rows, attribution=True)
        found.append({name: one for name, one in prints(tmp_path / str(rows)).items() if name.startswith("part")})
    assert found[0] == found[1]


@pytest.mark.parametrize("rows", [0, 1])
@pytest.mark.parametrize("form", ["parquet", "csv", "memory"])
def test_no_rows_and_one_row(rows, form, zoo, tmp_path):
    kept = zoo["flights"]
    table, path = kept.rows.slice(0, rows), tmp_path / f"rows.{form}"
    source = table if form == "memory" else write(table, path)
    done = batch.run(kept.bundle, "score", source, tmp_path / "out", keep=["origin"])
    found = answers(tmp_path / "out")
    assert (done.state, done.rows, done.parts) == ("done", rows, 1)
    assert found.num_rows == rows
    assert found.schema.names == ["row", "origin", "score", "p_value"]
    assert (tmp_path / "out" / "_SUCCESS").exists()
    assert batch.run(kept.bundle, "score", source, tmp_path / "out", keep=["origin"]).before == rows


def test_types_that_differ_between_files_are_promoted_and_absent_columns_are_missing(zoo, tmp_path):
    kept = zoo["flights"]
    folder = tmp_path / "in"
    folder.mkdir()
    whole = kept.rows.slice(0, 50)
    pq.write_table(whole, folder / "0.parquet")
    wide = kept.rows.slice(50, 50)
    at = wide.column_names.index("distance")
    pq.write_table(wide.set_column(at, "distance", wide["distance"].cast(pa.float64())), folder / "1.parquet")
    pq.write_table(kept.rows.slice(100, 50).drop_columns("air_time"), folder / "2.parquet")
    batch.run(kept.bundle, "score", folder, tmp_path / "out", **SMALL)
    rows = kept.rows.slice(0, 150)
    at = rows.column_names.index("air_time")
    gone = pa.chunked_array([rows["air_time"].slice(0, 100).combine_chunks(), pa.nulls(50, rows["air_time"].type)])
    expected = kept.onnx.score(rows.set_column(at, "air_time", gone))
    assert differences(answers(tmp_path / "out").drop_columns("row"), expected) == []


def test_a_file_of_other_types_is_named_and_what_was_done_stays(zoo, tmp_path):
    kept, source = zoo["flights"], tmp_path / "in"
    files_of(kept.rows, source, 90)
    odd = kept.rows.slice(0, 90)
    at = odd.column_names.index("dep_delay")
    pq.write_table(odd.set_column(at, "dep_delay", pa.array(["late"] * 90)), source / "1.parquet")
    with pytest.raises(
        ContractError, match=r"1\.parquet.*another type.*field 'dep_delay'.*expected double, got string"
    ):
        batch.run(kept.bundle, "score", source, tmp_path / "out", **SMALL)
    assert answers(tmp_path / "out")["row"].to_pylist() == list(range(64))


# ------------------------------------------------------------------------------------------------------- how it goes on


@pytest.mark.parametrize("query", ["score", "impute", "sample"])
def test_a_job_that_was_stopped_goes_on_to_the_same_bytes(query, flights, tmp_path):
    kept, source = flights
    source = 200 if query == "sample" else source
    options = {"given": MODELS["flights"].given} if query == "sample" else {}
    asked = (kept.bundle, query, source)
    for after, rows in ((1, 0), (3, 64), (5, 128)):
        done = batch.run(*asked, tmp_path / "out", **CALLS, **stopping(after), **options)
        assert (done.state, done.rows) == ("stopped", rows)
        assert not (tmp_path / "out" / "_SUCCESS").exists()
        assert not list((tmp_path / "out").glob(".*"))
    done = batch.run(*asked, tmp_path / "out", **CALLS, **options)
    assert (done.state, done.rows, done.before) == ("done", 200, 128)
    batch.run(*asked, tmp_path / "whole", **CALLS, **options)
    assert prints(tmp_path / "out") == prints(tmp_path / "whole")


def test_rows_that_are_done_are_not_read_again(flights, tmp_path, monkeypatch):
    kept, source = flights
    batch.run(kept.bundle, "score", source, tmp_path / "out", **CALLS, **stopping(7))  # two parts of 64
    read = []
    real = pq.ParquetFile.iter_batches

    def counted(self, *args, row_groups, **options):
        read.append(row_groups[0])
        return real(self, *args, row_groups=row_groups, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counted)
    done = batch.run(kept.bundle, "score", source, tmp_path / "out", **CALLS)
    assert done.before == 128
    assert read == [0, 1, 2, 0]  # rows 90 to 130, 130 to 170 and so on: row 128 lies in the first


def test_parts_that_are_gone_or_damaged_are_made_again(flights, tmp_path):
    kept, source = flights
    out = tmp_path / "out"
    batch.run(kept.bundle, "score", source, out, **SMALL)
    whole = prints(out)
    (out / "_SUCCESS").unlink()
    (out / "part-00001.parquet").unlink()
    (out / "part-00003.parquet").write_bytes((out / "part-00003.parquet").read_bytes()[:-40])
    (out / ".part-00002.parquet.x1").write_bytes(b"half")
    done = batch.run(kept.bundle, "score", source, out, **SMALL)
    assert (done.rows, done.before) == (200, 128)
    assert prints(out) == whole


def test_a_job_that_is_done_is_left_alone(flights, tmp_path):
    kept, source = flights
    batch.run(kept.bundle, "score", source, tmp_path / "out", **SMALL)
    before = prints(tmp_path / "out")
    calls = []
    done = batch.run(kept.bundle, "score", source, tmp_path / "out", told=calls.append, part_rows=64)
    assert (done.state, done.rows, done.before, calls) == ("done", 200, 200, [])
    assert prints(tmp_path / "out") == before


def change_input(kept, source):
    pq.write_table(kept.rows.slice(0, 90), source / "1.parquet")
    return {}


def change_bundle(kept, source):
    bundle = Bundle.load(kept.bundle)
    bundle.evaluation["more"] = 1.0
    return {"bundle": bundle.save(source.parent / "bundle")}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query": "embed"}, "query: score → embed"),
        ({"attribution": True}, "options.attribution: None → True"),
        ({"samples": 4}, "options.samples: 8 → 4"),
        ({"keep": ["hour"]}, r"keep: \[\] → \['hour'\]"),
        ({"part_rows": 32}, "part_rows: 64 → 32"),
        ({"batch_rows": 8}, "batch_rows: 16 → 8"),
        ({"backend": "torch"}, "backend: onnx → torch"),
        (change_bundle, "bundle: [0-9a-f]{12} → [0-9a-f]{12}"),
        (change_input, r"input\.bytes: \d+ → \d+"),
    ],
)
def test_a_half_done_job_is_not_gone_on_with_otherwise(change, message, flights, tmp_path):
    kept, source = flights
    asked = {"bundle": kept.bundle, "query": "score", "data": source, "out": tmp_path / "out", "samples": 8} | CALLS
    batch.run(**asked, **stopping(3))
    if callable(change):
        change = change(kept, source)
    if "query" in change:
        del asked["samples"]
        message = f"options.samples: 8 → None; {message}"
    before = prints(tmp_path / "out")
    with pytest.raises(ConfigError, match=message):
        batch.run(**asked | change)
    assert prints(tmp_path / "out") == before
    done = batch.run(**asked | change, overwrite=True)
    assert (done.state, done.before) == ("done", 0)
    assert sorted(prints(tmp_path / "out")) == sorted(
        {"_plan.json", "_SUCCESS", *(f"part-{i:05d}.parquet" for i in range(done.parts))}
    )


def test_the_size_of_calls_is_remembered(flights, tmp_path):
    kept, source = flights
    batch.run(kept.bundle, "score", source, tmp_path / "out", **CALLS, **stopping(3))
    assert batch.run(kept.bundle, "score", source, tmp_path / "out", part_rows=64).batch_rows == 16


def test_a_folder_with_other_things_is_not_touched(flights, tmp_path):
    kept, source = flights
    other = tmp_path / "other"
    other.mkdir()
    (other / "part-00000.parquet").write_bytes(b"mine")
    for overwrite in (False, True):
        with pytest.raises(ConfigError, match="holds other files, and no batch job"):
            batch.run(kept.bundle, "score", source, other, overwrite=overwrite)
    assert (other / "part-00000.parquet").read_bytes() == b"mine"
    with pytest.raises(ConfigError, match="is a file"):
        batch.run(kept.bundle, "score", source, other / "part-00000.parquet")


def test_two_jobs_do_not_write_to_one_folder(flights, tmp_path):
    kept, source = flights
    with Folder(tmp_path / "out").held(), pytest.raises(ConfigError, match="another process is writing"):
        batch.run(kept.bundle, "score", source, tmp_path / "out")
    assert batch.run(kept.bundle, "score", source, tmp_path / "out").state == "done"


def test_a_stream_that_is_read_once_can_be_gone_on_with(zoo, tmp_path):
    kept = zoo["flights"]

    def source():
        return iter([kept.rows.slice(start, 50) for start in range(0, 200, 50)])

    batch.run(kept.bundle, "score", source(), tmp_path / "out", **CALLS, **stopping(3))
    done = batch.run(kept.bundle, "score", source(), tmp_path / "out", **CALLS)
    assert done.before == 64
    assert differences(answers(tmp_path / "out").drop_columns("row"), kept.onnx.score(kept.rows)) == []


# ---------------------------------------------------------------------------------------------------------- what breaks


def test_a_truncated_file_is_named(flights, tmp_path):
    kept, source = flights
    broken = source / "2.parquet"
    broken.write_bytes(broken.read_bytes()[:-100])
    with pytest.raises(ContractError, match=r"cannot be read.*2\.parquet"):
        batch.run(kept.bundle, "score", source, tmp_path / "out", **SMALL)


def test_a_file_that_breaks_in_the_middle_is_named_and_what_was_done_stays(zoo, tmp_path):
    kept, source = zoo["flights"], tmp_path / "in"
    files_of(kept.rows, source, 100)
    broken = source / "1.parquet"
    content = bytearray(broken.read_bytes())
    start = pq.read_metadata(broken).row_group(1).column(0).data_page_offset
    content[start : start + 60] = b"\xff" * 60
    broken.write_bytes(content)
    with pytest.raises(ContractError, match=r"cannot be read"):
        batch.run(kept.bundle, "score", source, tmp_path / "out", **SMALL)
    found = answers(tmp_path / "out")
    assert found["row"].to_pylist() == list(range(128))
    assert differences(found.drop_columns("row"), kept.onnx.score(kept.rows.slice(0, 128))) == []
    assert not list((tmp_path / "out").glob(".*"))


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ({"query": "dream"}, QueryError, "unknown query 'dream'"),
        ({"query": "traverse"}, QueryError, "does not answer row by row"),
        ({"colour": "red"}, QueryError, "takes"),
        ({"threads": 0}, ConfigError, "threads must be at least 1"),
        ({"part_rows": 0}, ConfigError, "part_rows must be at least 1"),
        ({"batch_rows": 0}, ConfigError, "batch_rows must be at least 1"),
        ({"max_bad": 1.5}, ConfigError, "max_bad is a share"),
        ({"bundle": "nowhere"}, BundleError, "nowhere"),
        ({"data": "nowhere.parquet"}, ContractError, "does not exist"),
        ({"data": {"x": [1.0]}}, ContractError, "column is missing"),
        ({"query": "sample", "data": -1}, ConfigError, "whole number"),
        ({"query": "sample", "data": 5, "keep": ["x"]}, ConfigError, "no input of which columns could be kept"),
    ],
)
def test_wrong_use_is_refused_before_anything_is_written(asked, error, message, flights, tmp_path):
    kept, source = flights
    with pytest.raises(error, match=message):
        batch.run(**{"bundle": kept.bundle, "query": "score", "data": source, "out": tmp_path / "out"} | asked)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


# -------------------------------------------------------------------------------------------------------- how fast


def test_the_size_of_calls_is_measured_on_large_inputs(flights, tmp_path, monkeypatch):
    kept, source = flights
    monkeypatch.setattr(job_module, "SMALL", 100)
    sizes = []
    monkeypatch.setattr(job_module, "measured", lambda call, most: measured(call, most, sizes))
    done = batch.run(kept.bundle, "score", source, tmp_path / "out", part_rows=1024)
    assert done.batch_rows in sizes
    assert sizes[:2] == [256, 512]
    assert max(sizes) <= 1024


def measured(call, most, sizes):
    from vaekit.batch import pace

    for one in pace.measured(call, most):
        sizes.append(one.rows)
        yield one


def test_calls_go_side_by_side_and_answers_keep_their_order(flights, tmp_path):
    kept, source = flights
    done = batch.run(kept.bundle, "score", source, tmp_path / "out", threads=4, part_rows=50, batch_rows=8)
    found = answers(tmp_path / "out")
    assert done.threads == 4
    assert found["row"].to_pylist() == list(range(200))
    assert differences(found.drop_columns("row"), kept.onnx.score(kept.rows)) == []


def test_progress_is_told(flights, tmp_path):
    kept, source = flights
    told = []
    batch.run(kept.bundle, "score", source, tmp_path / "out", told=told.append, **SMALL)
    assert [one.rows for one in told] == [32, 64, 96, 128, 160, 192, 200]
    assert {one.total for one in told} == {200}
    assert np.all(np.diff([one.seconds for one in told]) >= 0)


def interrupted(_):
    raise KeyboardInterrupt


def test_who_is_killed_while_an_old_job_is_removed_leaves_a_job_that_goes_on(flights, tmp_path, monkeypatch):
    kept, source = flights
    batch.run(kept.bundle, "score", source, tmp_path / "out", **SMALL)
    whole = prints(tmp_path / "out")
    with monkeypatch.context() as killing:
        killing.setattr(Folder, "tidy", interrupted)
        with pytest.raises(KeyboardInterrupt):
            batch.run(kept.bundle, "score", source, tmp_path / "out", overwrite=True, **SMALL)
    assert prints(tmp_path / "out") != whole
    assert batch.run(kept.bundle, "score", source, tmp_path / "out", **SMALL).before < 200
    assert prints(tmp_path / "out") == whole


def test_row_groups_fit_the_rows_though_the_first_ones_are_in_quarantine(tmp_path, monkeypatch):
    monkeypatch.setattr(output, "GROUP_BYTES", 2**12)
    rows = pa.table({"row": pa.array(range(2000), pa.int64())})
    parts = [Answered(0, 5, rows.slice(0, 0)), Answered(5, 2000, rows)]
    Folder(tmp_path).write(0, parts, rows.schema)
    metadata = pq.read_metadata(tmp_path / "part-00000.parquet")
    assert [metadata.row_group(at).num_rows for at in range(metadata.num_row_groups)] == [512, 512, 512, 464]


def test_graphs_of_another_runtime_are_told(zoo, tmp_path, monkeypatch):
    edge = replace(zoo["flights"].onnx.bundle, kind="tflite", weights={}).save(tmp_path / "edge")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BundleError, match="the bundle holds LiteRT graphs"):
        batch.run(edge, "score", zoo["flights"].rows, tmp_path / "out")

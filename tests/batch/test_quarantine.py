"""Rows that break the contract are set aside with a reason, and change nothing for the others."""

import numpy as np
import pyarrow as pa
import pytest

from tests.batch.folders import answers, files_of, prints, quarantine
from tests.batch.test_run import ASKED, CALLS, SMALL, plain, stopping
from tests.notorch.alike import differences
from vaekit import batch
from vaekit.errors import ContractError
from vaekit.fields.refused import refused

BAD = {
    7: ("origin", "XYZ"),
    8: ("dep_delay", np.inf),
    70: ("carrier", "none"),
    131: ("hour", -np.inf),
    199: ("origin", ""),
}


def spoilt(table, bad=BAD):
    """The rows with some cells that no contract allows."""
    frame = table.to_pandas()
    for name in ("origin", "carrier"):
        frame[name] = frame[name].astype(object)
    for row, (name, value) in bad.items():
        frame.loc[row, name] = value
    return pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)


@pytest.mark.parametrize("query", ASKED)
def test_the_other_rows_get_the_answers_that_they_get_without(query, zoo, tmp_path):
    """Their noise belongs to their places among all rows, so impute and denoise must not close the gaps."""
    kept = zoo["flights"]
    source = files_of(spoilt(kept.rows), tmp_path / "in", 90)
    done = batch.run(kept.bundle, query, source, tmp_path / "out", **SMALL, **ASKED[query])
    good = [row for row in range(200) if row not in BAD]
    found = answers(tmp_path / "out")
    assert (done.state, done.rows, done.quarantined) == ("done", 200, len(BAD))
    assert found["row"].to_pylist() == good
    whole = kept.onnx.query(query, spoilt(kept.rows, dict.fromkeys(())), **ASKED[query])
    assert differences(plain(found.drop_columns("row")), plain(whole.take(pa.array(good)))) == []
    assert [one["row"] for one in quarantine(tmp_path / "out")] == sorted(BAD)


def test_each_draw_of_a_bad_row_is_left_out(zoo, tmp_path):
    kept = zoo["flights"]
    batch.run(kept.bundle, "impute", spoilt(kept.rows), tmp_path / "out", draws=2, **SMALL)
    found = answers(tmp_path / "out")
    for draw in range(2):
        rows = found.filter(pa.compute.equal(found["draw"], draw))["row"].to_pylist()
        assert rows == [row for row in range(200) if row not in BAD]


def test_a_row_is_written_down_with_its_reason_and_its_cells(zoo, tmp_path):
    kept = zoo["flights"]
    batch.run(kept.bundle, "score", spoilt(kept.rows), tmp_path / "out", **SMALL)
    first, second = quarantine(tmp_path / "out")[:2]
    assert first["field"] == "origin"
    assert first["kind"] == "category"
    assert first["problem"] == "value is not a known category"
    assert first["expected"] == "one of 'EWR', 'JFK', 'LGA'"
    assert first["got"] == "'XYZ'"
    assert set(first["cells"]) == set(kept.rows.column_names)
    assert first["cells"]["origin"] == "XYZ"
    assert second["cells"]["dep_delay"] == "inf"
    assert second["got"] == "inf"
    missing = next(row for row in range(200) if kept.rows["air_time"][row].as_py() is None)
    other = batch.run(kept.bundle, "score", spoilt(kept.rows, {missing: ("origin", "?!")}), tmp_path / "two", **SMALL)
    assert other.quarantined == 1
    assert quarantine(tmp_path / "two")[0]["cells"]["air_time"] is None


def test_cells_and_lines_of_text_that_are_no_values(zoo, tmp_path):
    kept, path = zoo["flights"], tmp_path / "rows.csv"
    kept.rows.to_pandas().to_csv(path, index=False)
    lines = path.read_text().splitlines()
    cells = lines[1 + 50].split(",")
    cells[0] = "soon"
    lines[1 + 50] = ",".join(cells)
    lines[1 + 90] = "1,2,3"
    lines[1 + 91] += ",7,8"
    cells = lines[1 + 150].split(",")
    cells[4] = "XYZ"
    lines[1 + 150] = ",".join(cells)
    path.write_text("\n".join(lines) + "\n")
    done = batch.run(kept.bundle, "impute", path, tmp_path / "out", keep="all", **SMALL)
    assert done.quarantined == 4
    cell, short, long, unknown = quarantine(tmp_path / "out")
    assert (cell["row"], cell["field"], cell["expected"], cell["got"]) == (50, "dep_delay", "double", "'soon'")
    assert cell["cells"]["dep_delay"] == "soon"
    assert (short["row"], short["problem"]) == (90, "line has another number of cells")
    assert (short["expected"], short["got"]) == ("8 cells", "'1,2,3'")
    assert (long["row"], long["got"]) == (91, repr(lines[1 + 91]))
    assert (unknown["row"], unknown["field"], unknown["kind"]) == (150, "origin", "category")
    good = [row for row in range(200) if row not in (50, 90, 91, 150)]
    found = answers(tmp_path / "out")
    assert found["row"].to_pylist() == good
    expected = plain(kept.onnx.impute(kept.rows).take(pa.array(good)))
    found = plain(found.drop_columns("row"))
    assert differences(found, expected.cast(found.schema)) == []


def test_all_rows_may_be_bad(zoo, tmp_path):
    kept = zoo["flights"]
    rows = spoilt(kept.rows, {row: ("origin", f"X{row}") for row in range(200)})
    done = batch.run(kept.bundle, "score", rows, tmp_path / "out", max_bad=1.0, **SMALL)
    assert (done.state, done.quarantined, answers(tmp_path / "out").num_rows) == ("done", 200, 0)
    assert [one["got"] for one in quarantine(tmp_path / "out")] == [f"'X{row}'" for row in range(200)]


@pytest.mark.parametrize(
    ("max_bad", "state", "parts"),
    [
        (0.025, "done", 4),
        (0.024, "too_many_bad_rows", 4),
        (0.012, "too_many_bad_rows", 2),
        (0.0, "too_many_bad_rows", 1),
    ],
)
def test_too_many_bad_rows_end_the_job(max_bad, state, parts, zoo, tmp_path):
    """Of 200 rows five are bad: two in the first part, then one in each; the part that has too many is written."""
    kept = zoo["flights"]
    asked = (kept.bundle, "score", spoilt(kept.rows), tmp_path / "out")
    done = batch.run(*asked, max_bad=max_bad, **CALLS)
    assert done.state == state
    assert done.parts == parts
    assert len(quarantine(tmp_path / "out")) == done.quarantined == parts + 1
    assert (tmp_path / "out" / "_SUCCESS").exists() == (state == "done")
    assert batch.run(*asked, max_bad=1.0, **CALLS).state == "done"
    assert len(quarantine(tmp_path / "out")) == len(BAD)


def test_a_stopped_job_has_no_row_in_quarantine_twice(zoo, tmp_path):
    kept = zoo["flights"]
    asked = (kept.bundle, "score", spoilt(kept.rows))
    for after in (1, 3, 5):
        assert batch.run(*asked, tmp_path / "out", **CALLS, **stopping(after)).state == "stopped"
    batch.run(*asked, tmp_path / "out", **CALLS)
    assert [one["row"] for one in quarantine(tmp_path / "out")] == sorted(BAD)
    batch.run(*asked, tmp_path / "whole", **CALLS)
    assert prints(tmp_path / "out") == prints(tmp_path / "whole")


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("bad", [set(), {0}, {99}, {3, 4, 5}, {0, 50, 99}, set(range(100))])
def test_the_rows_that_a_check_refuses_are_found(bad, named):
    """Whether it names the row, and whichever of several it names."""
    calls = []

    def check(part):
        inside = sorted(bad & set(range(part.start, part.stop)))
        calls.append(part)
        if inside:
            row = inside[len(inside) // 2] - part.start
            raise ContractError("bad", field="x", row=row if named else None)

    found = refused(100, check)
    assert list(found) == sorted(bad)
    assert [error.row for error in found.values()] == sorted(bad)
    assert len(calls) <= 1 + 16 * len(bad)

"""`vae batch`: what it writes, what it says and where, and its exit codes."""

import json
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.batch.folders import answers, quarantine
from tests.batch.test_run import ASKED
from tests.notorch.alike import differences
from tests.support import zoo
from vaekit.cli import main, progress

__all__ = ["zoo"]

NAMES = [*ASKED, "sample"]


@pytest.fixture
def vae(capfd):
    """Run the command in this process; returns exit code, stdout and stderr."""

    def run(*argv):
        with pytest.raises(SystemExit) as stop:
            main(["batch", *(str(item) for item in argv)])
        told = capfd.readouterr()
        return SimpleNamespace(code=stop.value.code or 0, out=told.out, err=told.err)

    return run


@pytest.fixture
def visits(zoo, tmp_path):
    """A bundle, its rows in a file, and where the output goes."""
    kept = zoo["visits"]
    pq.write_table(kept.rows, tmp_path / "rows.parquet")
    return SimpleNamespace(kept=kept, bundle=kept.bundle, rows=tmp_path / "rows.parquet", out=tmp_path / "out")


@pytest.mark.parametrize("name", NAMES)
def test_help_has_an_example_and_says_what_comes_next(vae, name):
    told = vae(name, "--help")
    assert told.code == 0
    assert f"vae batch {name} run" in told.out
    assert "Next:" in told.out
    for option in ("--out", "--part-rows", "--batch-rows", "--threads", "--overwrite", "--backend", "--json"):
        assert option in told.out
    assert ("--keep" in told.out) == ("--max-bad" in told.out) == (name != "sample")


def test_help_of_all_teaches(vae):
    told = vae("--help")
    assert "vae batch score run flights/ --out scores/" in told.out
    for word in ("part-00000.parquet", "_quarantine", "goes on", "Exit codes", *NAMES):
        assert word in told.out


@pytest.mark.parametrize(
    ("name", "flags", "options"),
    [
        ("score", ["--attribution", "--samples", 4, "--seed", 2], {"attribution": True, "samples": 4, "seed": 2}),
        ("detect", ["--alpha", 0.2, "--attribution"], {"alpha": 0.2, "attribution": True}),
        ("embed", [], {}),
        ("reconstruct", [], {}),
        ("denoise", ["--samples", 4, "--seed", 2], {"samples": 4, "seed": 2}),
        ("impute", ["--interval", 0.5, "--samples", 4, "--seed", 2], {"interval": 0.5, "samples": 4, "seed": 2}),
    ],
)
def test_every_option_reaches_the_query(vae, visits, name, flags, options):
    told = vae(name, visits.bundle, visits.rows, "--out", visits.out, *flags, "--json")
    summary = json.loads(told.out)
    assert (told.code, summary["state"], summary["rows"], summary["quarantined"]) == (0, "done", 200, 0)
    assert summary["options"].items() >= options.items()
    assert (summary["query"], summary["out"]) == (name, str(visits.out))
    expected = visits.kept.onnx.query(name, visits.kept.rows, **options)
    assert differences(answers(visits.out).drop_columns("row"), expected) == []


def test_options_of_the_job_do_what_they_say(vae, visits):
    flags = ["--keep", "calls, mobile", "--part-rows", 70, "--batch-rows", 35, "--threads", 1, "--backend", "torch"]
    summary = json.loads(vae("score", visits.bundle, visits.rows, "--out", visits.out, *flags, "--json").out)
    facts = {"keep": ["calls", "mobile"], "part_rows": 70, "batch_rows": 35, "threads": 1, "backend": "torch"}
    assert summary.items() >= facts.items()
    assert summary["parts"] == 3
    assert answers(visits.out).column_names == ["row", "calls", "mobile", "score", "p_value"]
    every = vae("score", visits.bundle, visits.rows, "--out", visits.out, "--keep", "all", "--overwrite")
    assert "200 rows ->" in every.out
    assert answers(visits.out).column_names == ["row", *visits.kept.rows.column_names, "score", "p_value"]


def test_drawn_rows(vae, visits):
    flags = ["--rows", 150, "--given", "members=3", "--temperature", 0.5, "--seed", 2, "--part-rows", 100]
    told = vae("sample", visits.bundle, "--out", visits.out, *flags)
    assert told.code == 0
    assert "150 rows ->" in told.out
    expected = visits.kept.onnx.sample(150, given={"members": 3}, temperature=0.5, seed=2)
    assert differences(answers(visits.out).drop_columns("row"), expected) == []


def test_a_sweep_says_what_rows_cost(vae, visits, monkeypatch):
    from vaekit.batch import cost

    monkeypatch.setattr(cost, "SIZES", (256, 512))
    monkeypatch.setattr(
        cost.costs, "__kwdefaults__", cost.costs.__kwdefaults__ | {"sizes": (256, 512), "seconds": 0.01}
    )
    asked = ["sample", visits.bundle, "--sweep", "--price-per-hour", 3.6, "--given", "members=3"]
    told = vae(*asked)
    assert told.code == 0
    lines = told.out.splitlines()
    for word in ("rows a call", "rows/s", "s per million", "per million", "peak MB"):
        assert word in lines[0]
    assert [line.split()[0] for line in lines[1:3]] == ["256", "512"]
    assert sum(line.rstrip().endswith("best") for line in lines) == 1
    found = json.loads(vae(*asked, "--json").out)
    assert found["best"] in (256, 512)
    one = found["costs"][0]
    assert one["price_per_million"] == pytest.approx(one["seconds_per_million"] / 1000)


def test_progress_goes_to_stderr_in_plain_lines_where_there_is_no_terminal(vae, visits, monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0.0)
    told = vae("score", visits.bundle, visits.rows, "--out", visits.out, "--batch-rows", 50, "--part-rows", 100)
    lines = [line for line in told.err.splitlines() if line.startswith("score: ")]
    assert [line.split(" rows")[0] for line in lines] == [f"score: {rows} of 200" for rows in (50, 100, 150, 200)]
    assert all("rows/s" in line and "s left" in line for line in lines)
    assert "score: 200 rows ->" in told.out
    assert "of 200" not in told.out


def test_a_terminal_gets_a_bar(monkeypatch):
    """On a pseudo-terminal, where rich draws."""
    import os
    import pty

    monkeypatch.setenv("COLUMNS", "160")
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        monkeypatch.setattr(progress, "SOON", 0.0)
        with progress.Advance("score", 200) as advance:
            advance.at(50, quarantined=3)
            advance.at(150, quarantined=3)
        drawn = os.read(leader, 100_000).decode()
        while "150 of 200" not in drawn:
            drawn += os.read(leader, 100_000).decode()
    os.close(leader)
    assert "score" in drawn
    assert "3 in quarantine" in drawn
    assert "━" in drawn


def test_bad_rows_are_told_and_too_many_are_exit_code_1(vae, visits):
    calls = visits.kept.rows["calls"].to_pandas()
    calls[[3, 77]] = -5
    rows = visits.kept.rows
    spoilt = rows.set_column(rows.column_names.index("calls"), "calls", pa.array(calls, rows["calls"].type))
    pq.write_table(spoilt, visits.rows)
    told = vae("score", visits.bundle, visits.rows, "--out", visits.out)
    assert told.code == 0
    assert f"2 in quarantine ({visits.out / '_quarantine'})" in told.out
    assert [one["row"] for one in quarantine(visits.out)] == [3, 77]
    assert np.setdiff1d(np.arange(200), answers(visits.out)["row"].to_numpy()).tolist() == [3, 77]
    told = vae("score", visits.bundle, visits.rows, "--out", visits.out, "--overwrite", "--max-bad", 0.009)
    assert told.code == 1
    assert "2 in quarantine" in told.err
    assert "more than --max-bad 0.009 allows" in told.err
    assert not (visits.out / "_SUCCESS").exists()


def test_a_job_that_is_done_says_so(vae, visits):
    asked = ("score", visits.bundle, visits.rows, "--out", visits.out)
    assert "rows/s" in vae(*asked).out
    assert "was done before" in vae(*asked).out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["score", "{bundle}", "{rows}", "--out", "{out}", "--keep", "x"], "columns to keep are not in the input: x"),
        (["score", "{bundle}", "{rows}"], "Missing option '--out'"),
        (["detect", "{bundle}", "{rows}", "--out", "{out}", "--alpha", "1e-9"], "smallest attainable"),
        (["sample", "{bundle}"], "give --out OUT for the rows, or --sweep"),
        (["sample", "{bundle}", "--sweep", "--out", "{out}"], "give --out OUT for the rows, or --sweep"),
        (["sample", "{bundle}", "--out", "{out}", "--price-per-hour", "1"], "give --out OUT for the rows, or --sweep"),
        (["sample", "{bundle}", "--sweep", "--batch-rows", "5"], "leave out --batch-rows"),
        (["sample", "{bundle}", "--out", "{out}"], "condition fields must be given: members"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(vae, visits, words, message):
    told = vae(*(word.format(**vars(visits)) for word in words))
    assert told.code == 2
    assert message in " ".join(told.err.split())
    assert told.out == ""
    assert not visits.out.exists() or not list(visits.out.iterdir())


def test_another_job_in_the_folder_is_named(vae, visits):
    vae("score", visits.bundle, visits.rows, "--out", visits.out)
    told = vae("score", visits.bundle, visits.rows, "--out", visits.out, "--seed", 3)
    assert told.code == 2
    assert "options.seed: 0 → 3" in told.err
    assert "--overwrite" in told.err

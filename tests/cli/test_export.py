"""`vae export`: what it writes, what it says, and what it refuses; and commands that are imported when they run."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import vaekit as vk
from vaekit.cli import main
from vaekit.cli.app import COMMANDS
from vaekit.cli.lazy import SETTINGS, Home, group

OLD = Path(__file__).parent.parent / "bundle" / "format1"


def told(capsys, *line):
    """Exit code and what was printed."""
    try:
        main([str(word) for word in line])
        code = 0
    except SystemExit as done:
        code = done.code or 0
    out, err = capsys.readouterr()
    return code, out, err


def test_a_generator_is_written_and_asked(capsys, tmp_path):
    line = ("export", OLD / "bundle", "--graphs", "decode, prior", "--no-weights", "--out", tmp_path / "generator")
    code, out, _ = told(capsys, *line)
    assert code == 0
    assert "export: onnx, graphs decode, prior -> " in out
    before, after = (row.split() for row in out.splitlines()[1:3])
    assert (before[0], before[-1], after[0], after[-1]) == ("before", "score", "after", "sample")
    assert int(after[1].replace(",", "")) < int(before[1].replace(",", ""))
    code, out, _ = told(capsys, "sample", tmp_path / "generator", "--rows", "3", "--seed", "3")
    assert (code, "sample: 3 rows" in out) == (0, True)
    code, out, err = told(capsys, "score", tmp_path / "generator", OLD / "rows.csv")
    assert (code, out) == (2, "")
    assert "query 'score' cannot be answered: this bundle has no graph 'score'; it holds: decode, prior" in err


def test_for_programs_it_prints_one_document(capsys, tmp_path):
    code, out, _ = told(capsys, "export", OLD / "bundle", "--format", "float16", "--json", "--out", tmp_path / "half")
    found = json.loads(out)
    assert code == 0
    assert found["proof"]["form"] == "float16"
    assert found["proof"]["rows"] == "drawn"
    assert found["after"]["bytes"] < found["before"]["bytes"]
    assert vk.load(tmp_path / "half").bundle.proof.graphs == pytest.approx(found["proof"]["graphs"])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (("--format", "int8"), "int8 takes the ranges of activations from real rows: give DATA"),
        (("--format", "tiny"), "unknown form 'tiny'"),
        (("--graphs", "decoder"), "there is no graph decoder to export"),
    ],
)
def test_what_cannot_be_made_exits_2_with_one_line(capsys, tmp_path, monkeypatch, line, message):
    monkeypatch.setattr("vaekit.api.exporting.with_graphs", lambda bundle, *_, **__: bundle)
    code, out, err = told(capsys, "export", OLD / "bundle", *line, "--out", tmp_path / "new")
    assert (code, out) == (2, "")
    assert message in err
    assert not (tmp_path / "new").exists()


def test_a_bundle_is_not_written_over_itself(capsys):
    code, _, err = told(capsys, "export", OLD / "bundle", "--out", OLD / "bundle")
    assert code == 2
    assert "is the bundle itself; write to another folder" in err


# ---------------------------------------------------------------------------------------------------------- lazy groups


def test_every_command_is_where_the_table_says():
    from importlib import import_module

    for name, home in COMMANDS.items():
        found = getattr(import_module(home.module), name)
        assert callable(found), name
        assert isinstance(found, typer.Typer) or found.__doc__, name


def test_a_group_imports_only_the_command_that_runs(tmp_path, monkeypatch):
    (tmp_path / "good_one.py").write_text('def good():\n    """Do good."""\n    print("done")\n')
    (tmp_path / "bad_one.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    homes = {"good": Home("good_one", "Panel"), "bad": Home("bad_one", "Panel")}
    app = typer.Typer(cls=group(homes), **SETTINGS)
    app.callback()(lambda: None)
    runner = CliRunner()
    done = runner.invoke(app, ["good"])
    assert (done.exit_code, done.output) == (0, "done\n")
    assert isinstance(runner.invoke(app, ["bad"]).exception, RuntimeError)
    assert "Did you mean 'good'" in runner.invoke(app, ["goo"]).output

"""The command line on real rows: every command, its files and JSON, its exit codes and its errors."""

import json
import resource
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.notorch.alike import differences
from vaekit.cli import main

COMMANDS = [
    "inspect",
    "fit",
    "report",
    "evaluate",
    "doctor",
    "score",
    "detect",
    "embed",
    "reconstruct",
    "denoise",
    "impute",
    "sample",
]
COMMANDS += ["interpolate", "traverse", "edit", "batch", "export", "load", "serve", "sign", "verify", "keys"]


@pytest.fixture
def vae(capfd):
    """Run the command in this process; returns exit code, stdout and stderr."""

    def run(*argv):
        with pytest.raises(SystemExit) as stop:
            main([str(item) for item in argv])
        told = capfd.readouterr()
        return SimpleNamespace(code=stop.value.code or 0, out=told.out, err=told.err)

    return run


def command(*argv, **options):
    """Run the command in a process of its own."""
    line = [sys.executable, "-m", "vaekit.cli", *(str(item) for item in argv)]
    return subprocess.run(line, capture_output=True, text=True, timeout=300, check=False, **options)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Breast-cancer rows as CSV and Parquet, the same with holes, and a run that the command itself fitted."""
    from sklearn.datasets import load_breast_cancer

    folder = tmp_path_factory.mktemp("cli")
    data = load_breast_cancer(as_frame=True)
    frame = data.data[["mean radius", "mean texture", "mean smoothness", "worst area", "worst concavity"]].copy()
    frame.columns = [name.replace(" ", "_") for name in frame.columns]
    frame["diagnosis"] = np.where(data.target == 0, "malignant", "benign")
    frame.to_csv(folder / "rows.csv", index=False)
    frame.to_parquet(folder / "rows.parquet", index=False)
    holes = frame.copy()
    mask = np.random.default_rng(0).random((len(holes), 5)) < 0.2
    holes[holes.columns[:5]] = holes[holes.columns[:5]].mask(mask)
    holes.to_parquet(folder / "holes.parquet", index=False)
    line = ["fit", folder / "rows.csv", "--out", folder / "run", "--role", "diagnosis=condition"]
    done = command(*line, "--epochs", 30, "--max-seconds", 60, "--json")
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(
        folder=folder,
        csv=folder / "rows.csv",
        parquet=folder / "rows.parquet",
        holes=folder / "holes.parquet",
        run=folder / "run",
        fitted=done,
        frame=frame,
    )


# ------------------------------------------------------------------------------------------------------------- the help


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_has_an_example_and_says_what_comes_next(vae, name):
    told = vae(name, "--help")
    assert told.code == 0
    assert f"vae {name} " in told.out.split("Usage:")[1].partition("\n")[2]
    assert "Next:" in told.out


def test_help_lists_every_command(vae):
    told = vae("--help")
    assert told.code == 0
    for name in COMMANDS:
        assert f" {name} " in told.out


def test_no_arguments_shows_the_help(vae):
    assert "Usage: vae" in "".join(vars(vae()).get(stream) or "" for stream in ("out", "err"))


def test_help_is_quick():
    def once():
        start = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert command("--help").returncode == 0
        stop = resource.getrusage(resource.RUSAGE_CHILDREN)
        return stop.ru_utime + stop.ru_stime - start.ru_utime - start.ru_stime

    assert min(once() for _ in range(3)) < 0.5  # seconds of processor: the machine may be busy


def test_version(vae):
    import vaekit

    assert vae("--version").out.strip() == f"vaekit {vaekit.__version__}"


# ----------------------------------------------------------------------------------------------------- inspect and fit


def test_inspect_tells_the_contract_and_saves_it(vae, work, tmp_path):
    from vaekit.fields import Contract

    target = tmp_path / "contract.toml"
    told = vae(
        "inspect", work.csv, "--role", "diagnosis=condition", "--likelihood", "worst_area=student_t", "--out", target
    )
    assert told.code == 0, told.err
    for name in work.frame.columns:
        assert name in told.out
    saved = Contract.load(target)
    assert saved["diagnosis"].role == "condition"
    assert saved["worst_area"].likelihood == "student_t"
    assert saved.hash == json.loads(vae("inspect", work.csv, "--contract", target, "--json").out)["hash"]


def test_inspect_names_the_line_that_corrects_each_warning(vae, tmp_path):
    import re
    import shlex

    from vaekit.fields import Contract

    rng = np.random.default_rng(0)
    lines = [
        f'{i},{-999 if i % 9 == 0 else rng.normal():.2f},{i % 40},"{i % 50 + 10},125",{rng.normal():.3f}'
        for i in range(200)
    ]
    path = tmp_path / "rows.csv"
    path.write_text("\n".join(["no,depth,patient,amount,x", *lines]))
    told = vae("inspect", path)
    assert told.code == 0, told.err
    marked = [line.split()[1] for line in told.out.splitlines() if line.startswith(("! ", "- ")) and "----" not in line]
    assert marked == ["no", "depth", "patient", "amount"]
    contract = Contract.infer(path)
    lines = re.findall(r"^  contract\.replace\((.*)\)    (--.*)$", told.out, re.MULTILINE)
    assert len(lines) == 4
    for python, flags in lines:
        changed = eval(f"contract.replace({python})").fit(path)
        by_flag = json.loads(vae("inspect", path, *shlex.split(flags), "--json").out)
        assert Contract.from_json(json.dumps(by_flag["contract"])).fit(path) == changed
        assert changed != contract
        changed.save(tmp_path / "edited.toml")  # and the file that one would have edited says the same
        assert (
            json.loads(vae("inspect", path, "--contract", tmp_path / "edited.toml", "--json").out)["hash"]
            == changed.hash
        )


def test_any_option_of_a_field_is_a_flag(vae, work):
    told = json.loads(vae("inspect", work.csv, "--field", "mean_radius=clip:false", "--json").out)
    assert not next(field for field in told["contract"]["fields"] if field["name"] == "mean_radius")["clip"]
    assert vae("inspect", work.csv, "--field", "mean_radius=clip").code == 2
    assert "has no option 'colour'" in vae("inspect", work.csv, "--field", "mean_radius=colour:red").err


def test_inspect_json_is_the_contract(vae, work):
    from vaekit.fields import Contract

    told = json.loads(vae("inspect", work.parquet, "--json").out)
    assert told["rows"] == len(work.frame)
    assert Contract.from_json(json.dumps(told["contract"])).hash == told["hash"]


def test_kind_of_a_field_can_be_set(vae, work):
    told = json.loads(vae("inspect", work.csv, "--kind", "mean_radius=category", "--json").out)
    kinds = {field["name"]: field["kind"] for field in told["contract"]["fields"]}
    assert kinds["mean_radius"] == "category"


def test_fit_writes_a_run_and_prints_json_alone_on_stdout(work):
    told = json.loads(work.fitted.stdout)
    assert told["rows"] == len(work.frame)
    assert told["bundle"] == str(work.run / "bundle")
    assert (work.run / "bundle" / "manifest.json").is_file()
    assert (work.run / "contract.json").is_file()
    records = [json.loads(line) for line in (work.run / "metrics.jsonl").read_text().splitlines()]
    assert records[-1]["epoch"] > records[0]["epoch"]
    assert told["evaluation"] == json.loads((work.run / "bundle" / "evaluation.json").read_text())
    assert told["evaluation"]["iwae_64"] > -told["evaluation"]["marginal_nats"]  # it learnt how columns hang together


def test_fit_keeps_the_role_it_was_given(work):
    from vaekit.fields import Contract

    assert Contract.load(work.run / "contract.json")["diagnosis"].role == "condition"


def test_fit_shows_progress_on_stderr(work):
    assert "epoch" in work.fitted.stderr


def test_a_quiet_fit_with_a_setting_for_people(work, tmp_path):
    line = ["fit", work.csv, "--out", tmp_path / "run", "--set", "latent=3", "--epochs", 1, "--no-progress"]
    done = command(*line)
    assert (done.returncode, done.stderr) == (0, "")
    assert str(tmp_path / "run" / "bundle") in done.stdout
    assert "held-out rows" in done.stdout
    assert "next: vae score" in done.stdout
    shown = json.loads(command("embed", tmp_path / "run", work.csv, "--json").stdout)
    assert {len(row["embedding"]) for row in shown["data"]} == {3}


# ---------------------------------------------------------------------------------------------------------- the queries


def test_score_writes_what_python_answers(vae, work, tmp_path):
    import vaekit

    told = vae(
        "score", work.run, work.csv, "--attribution", "--seed", 3, "--samples", 4, "--out", tmp_path / "s.parquet"
    )
    assert told.code == 0, told.err
    written = pq.read_table(tmp_path / "s.parquet")
    expected = vaekit.load(work.run / "bundle").score(work.csv, attribution=True, seed=3, samples=4)
    assert written.equals(expected)
    parts = [name for name in written.column_names if name.startswith("score.")]
    assert len(parts) == 6  # five model fields and the latent remainder
    total = np.sum([written[name].to_numpy() for name in parts], axis=0)
    np.testing.assert_allclose(total, written["score"].to_numpy(), rtol=1e-9)


@pytest.mark.parametrize("suffix", [".csv", ".arrow", ".parquet"])
def test_every_format_holds_the_same_answer(vae, work, tmp_path, suffix):
    from vaekit.fields.tables import to_arrow

    told = vae("score", work.run, work.parquet, "--out", tmp_path / f"s{suffix}")
    assert told.code == 0, told.err
    shown = json.loads(vae("score", work.run, work.csv, "--json").out)
    written = to_arrow(tmp_path / f"s{suffix}")["score"].to_numpy()
    np.testing.assert_allclose(written, [row["score"] for row in shown["data"]], rtol=1e-9)
    assert shown["mean_score"] == pytest.approx(written.mean())


def test_backends_agree(vae, work):
    torch, onnx = (
        json.loads(vae("score", work.run, work.csv, "--backend", name, "--json").out)["data"]
        for name in ("torch", "onnx")
    )
    np.testing.assert_allclose([r["score"] for r in torch], [r["score"] for r in onnx], rtol=1e-4, atol=1e-4)


def test_seed_and_samples_change_the_score(vae, work):
    def scores(*options):
        return [row["score"] for row in json.loads(vae("score", work.run, work.csv, "--json", *options).out)["data"]]

    assert scores() == scores("--seed", 0)
    assert scores() != scores("--seed", 1)
    assert scores() != scores("--samples", 1)


def test_detect_flags_what_its_p_values_say(vae, work):
    told = vae("detect", work.run, work.csv, "--alpha", 0.1, "--json")
    assert told.code == 0, told.err
    shown = json.loads(told.out)
    flagged = [row["p_value"] <= 0.1 for row in shown["data"]]
    assert [row["anomaly"] for row in shown["data"]] == flagged
    assert shown["anomalies"] == sum(flagged)
    assert 0 < sum(flagged) < 0.3 * len(flagged)


def test_detect_preview_starts_with_the_strangest_row(vae, work):
    answer = json.loads(vae("detect", work.run, work.csv, "--alpha", 0.1, "--json").out)["data"]
    strangest = int(np.argmax([row["anomaly_score"] for row in answer]))
    told = vae("detect", work.run, work.csv, "--alpha", 0.1, "--attribution")
    assert told.code == 0, told.err
    assert told.out.splitlines()[1].split()[0] == str(strangest)
    assert "strangest fields" in told.out


def test_an_alpha_that_cannot_be_promised_is_an_error_that_names_the_smallest(vae, work):
    told = vae("detect", work.run, work.csv, "--alpha", 1e-6)
    assert (told.code, told.out) == (2, "")
    assert told.err.startswith("error: ")
    assert "smallest attainable" in told.err


def test_embed_gives_one_vector_per_row(vae, work, tmp_path):
    import vaekit

    assert vae("embed", work.run, work.csv, "--out", tmp_path / "e.parquet").code == 0
    written = pq.read_table(tmp_path / "e.parquet")
    assert written.equals(vaekit.load(work.run / "bundle").embed(work.csv))
    shown = json.loads(vae("embed", work.run, work.csv, "--json").out)["data"]
    np.testing.assert_allclose([r["embedding"] for r in shown], written["embedding"].to_pylist(), rtol=1e-6)


def test_reconstruct_follows_the_rows(vae, work, tmp_path):
    assert vae("reconstruct", work.run, work.csv, "--out", tmp_path / "r.parquet").code == 0
    rebuilt = pq.read_table(tmp_path / "r.parquet").to_pandas()
    for name in ("mean_radius", "worst_area"):
        assert np.corrcoef(rebuilt[name], work.frame[name])[0, 1] > 0.7


def test_denoise_averages_and_fills(vae, work, tmp_path):
    import vaekit

    assert vae("denoise", work.run, work.holes, "--samples", 8, "--out", tmp_path / "d.parquet").code == 0
    written = pq.read_table(tmp_path / "d.parquet")
    assert written.equals(vaekit.load(work.run / "bundle").denoise(work.holes, samples=8))
    assert sum(written[name].null_count for name in written.column_names) == 0


def test_paths_are_those_of_the_queries(vae, work, tmp_path):
    import vaekit

    model, few = vaekit.load(work.run / "bundle"), pq.read_table(work.parquet).slice(0, 3)
    pq.write_table(few, tmp_path / "a.parquet")
    pq.write_table(few.take([2, 1, 0]), tmp_path / "b.parquet")
    ends = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    told = vae("interpolate", work.run, *ends, "--steps", 4, "--path", "spherical", "--out", tmp_path / "i.parquet")
    assert told.code == 0, told.err
    assert pq.read_table(tmp_path / "i.parquet").equals(model.interpolate(*ends, steps=4, path="spherical"))
    told = vae("traverse", work.run, 1, "--at", ends[0], "--steps", 3, "--reach", 2, "--out", tmp_path / "t.parquet")
    assert told.code == 0, told.err
    assert pq.read_table(tmp_path / "t.parquet").equals(model.traverse(1, at=ends[0], steps=3, reach=2.0))
    assert vae("traverse", work.run, 99).code == 2


def test_edit_writes_what_python_answers_and_loads_the_model_once(vae, work, tmp_path, monkeypatch):
    import vaekit

    model, rows, loaded = vaekit.load(work.run), work.frame.iloc[:4], []
    rows.to_csv(tmp_path / "rows.csv", index=False)
    work.frame.assign(size=work.frame["mean_radius"] > 14).to_csv(tmp_path / "labelled.csv", index=False)
    monkeypatch.setattr("vaekit.api.model.load", lambda path, **options: loaded.append(path) or model)
    for examples, asked in (((), "diagnosis=benign"), (("--examples", tmp_path / "labelled.csv"), "size=true")):
        line = ["edit", work.run, tmp_path / "rows.csv", *examples, "--set", asked, "--out", tmp_path / "e.parquet"]
        told = vae(*line)
        assert told.code == 0, told.err
        assert len(loaded) == 1
        loaded.clear()
        name, _, text = asked.partition("=")
        labelled = examples and model.contract.table(examples[1])
        expected = model.edit(tmp_path / "rows.csv", labelled or None, set={name: text == "true" or text})
        assert pq.read_table(tmp_path / "e.parquet").equals(expected)


def test_impute_fills_holes_and_keeps_the_rest(vae, work, tmp_path):
    told = vae("impute", work.run, work.holes, "--out", tmp_path / "full.parquet", "--json")
    assert told.code == 0, told.err
    before, after = pq.read_table(work.holes), pq.read_table(tmp_path / "full.parquet")
    shown = json.loads(told.out)
    assert shown["missing"] == sum(before[name].null_count for name in before.column_names) > 0
    assert shown["still_missing"] == 0
    filled = after.to_pandas()
    for name in before.column_names[:5]:
        there = before[name].is_valid().to_numpy()
        assert filled[name].notna().all()
        np.testing.assert_array_equal(filled[name][there], work.frame[name][there])
        guess, truth = filled[name][~there], work.frame[name][~there]
        assert np.mean((guess - truth) ** 2) < 1.2 * np.mean((work.frame[name].mean() - truth) ** 2)


def test_impute_draws_differ_and_intervals_hold_the_guess(vae, work):
    draws = json.loads(vae("impute", work.run, work.holes, "--draws", 3, "--json").out)["data"]
    assert {row["draw"] for row in draws} == {0, 1, 2} or {row["draw"] for row in draws} == {1, 2, 3}
    holes = pq.read_table(work.holes)["mean_radius"].is_null().to_numpy()
    tables = np.array([row["mean_radius"] for row in draws]).reshape(3, -1)
    assert np.all(tables[0, ~holes] == tables[1, ~holes])
    assert np.mean(tables[0, holes] != tables[1, holes]) > 0.9
    shown = json.loads(vae("impute", work.run, work.holes, "--interval", 0.9, "--json").out)["data"]
    rows = [row for row, hole in zip(shown, holes, strict=True) if hole]
    assert all(row["mean_radius.low"] <= row["mean_radius"] <= row["mean_radius.high"] for row in rows)


def test_sample_honours_given_seed_and_rows(vae, work, tmp_path):
    def drawn(*options):
        told = vae("sample", work.run, "--rows", 50, "--given", "diagnosis=malignant", "--json", *options)
        assert told.code == 0, told.err
        return json.loads(told.out)["data"]

    first = drawn()
    assert len(first) == 50
    assert {row["diagnosis"] for row in first} == {"malignant"}
    assert drawn("--seed", 0) == first != drawn("--seed", 1)
    target = tmp_path / "new.csv"
    assert vae("sample", work.run, "-n", 7, "--given", "diagnosis=benign", "--out", target).code == 0
    assert len(target.read_text().splitlines()) == 8


def test_given_condition_moves_the_rows(vae, work):
    means = {}
    for name in ("malignant", "benign"):
        told = vae("sample", work.run, "--rows", 300, "--given", f"diagnosis={name}", "--json")
        means[name] = np.mean([row["mean_radius"] for row in json.loads(told.out)["data"]])
    assert means["malignant"] > means["benign"] + 1.0


def test_given_number_is_read_in_the_type_of_its_column(vae, work):
    told = vae("sample", work.run, "--rows", 4, "--given", "diagnosis=benign", "--given", "mean_radius=12.5", "--json")
    assert told.code == 0, told.err
    assert {row["mean_radius"] for row in json.loads(told.out)["data"]} == {12.5}


def test_temperature_narrows_the_rows(vae, work):
    def spread(temperature):
        line = ["sample", work.run, "--rows", 400, "--given", "diagnosis=benign", "--json"]
        told = vae(*line, "--temperature", temperature)
        return np.std([row["mean_radius"] for row in json.loads(told.out)["data"]])

    assert spread(0.1) < spread(1.0)


@pytest.mark.parametrize("query", ["score", "embed", "reconstruct", "impute"])
def test_without_out_a_preview_is_printed(vae, work, query):
    told = vae(query, work.run, work.csv)
    assert told.code == 0, told.err
    assert f"{query}: {len(work.frame)} rows" in told.out
    assert 10 < len(told.out.splitlines()) < 16


@pytest.mark.parametrize("rows", [0, 1, 2])
@pytest.mark.parametrize("query", ["score", "detect", "embed", "reconstruct", "impute"])
def test_few_rows_or_none(vae, work, tmp_path, query, rows):
    pq.write_table(pq.read_table(work.parquet).slice(0, rows), tmp_path / "few.parquet")
    alpha = ["--alpha", 0.5] if query == "detect" else []
    told = vae(query, work.run, tmp_path / "few.parquet", "--json", *alpha)
    assert told.code == 0, told.err
    assert len(json.loads(told.out)["data"]) == rows
    assert vae(query, work.run, tmp_path / "few.parquet", *alpha).code == 0


def test_a_run_and_its_bundle_are_the_same_to_ask(vae, work):
    run, bundle = (json.loads(vae("embed", path, work.csv, "--json").out) for path in (work.run, work.run / "bundle"))
    assert run["data"] == bundle["data"]


# ------------------------------------------------------------------------------------------------------- wrong use: 2


def wrong(told, *words):
    """One line of error on stderr, nothing on stdout, exit code 2."""
    assert told.code == 2, told
    assert told.out == ""
    assert told.err.startswith("error: ")
    assert told.err.count("\n") == 1
    for word in words:
        assert word in told.err


def test_a_missing_column_is_named(vae, work, tmp_path):
    pq.write_table(pq.read_table(work.parquet).drop_columns(["worst_area"]), tmp_path / "short.parquet")
    wrong(vae("score", work.run, tmp_path / "short.parquet"), "worst_area")


def test_a_column_of_the_wrong_type_is_named(vae, work, tmp_path):
    table = pq.read_table(work.parquet)
    table = table.set_column(0, "mean_radius", pa.array(["large"] * table.num_rows))
    pq.write_table(table, tmp_path / "text.parquet")
    wrong(vae("score", work.run, tmp_path / "text.parquet"), "mean_radius")


def test_an_unknown_category_names_row_and_field(vae, work, tmp_path):
    frame = work.frame.copy()
    frame.loc[4, "diagnosis"] = "unheard of"
    frame.to_parquet(tmp_path / "odd.parquet", index=False)
    wrong(vae("score", work.run, tmp_path / "odd.parquet"), "diagnosis", "4", "unheard of")


def test_a_folder_that_is_no_bundle(vae, work, tmp_path):
    wrong(vae("score", tmp_path, work.csv), "bundle")


def test_a_damaged_bundle(vae, work, tmp_path):
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(work.run / "bundle", broken)
    weights = broken / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    wrong(vae("score", broken, work.csv), "weights.safetensors")


def test_a_file_that_is_no_table(vae, work, tmp_path):
    (tmp_path / "noise.parquet").write_bytes(b"this is not parquet")
    wrong(vae("score", work.run, tmp_path / "noise.parquet"), "noise.parquet")
    (tmp_path / "rows.xyz").write_text("a,b\n1,2\n")
    wrong(vae("inspect", tmp_path / "rows.xyz"), "rows.xyz")


def test_an_output_that_cannot_be_written_is_refused_before_the_work(vae, work, tmp_path):
    wrong(vae("score", work.run, work.csv, "--out", tmp_path / "s.xyz"), "s.xyz", ".parquet")
    wrong(vae("score", work.run, work.csv, "--out", tmp_path / "nowhere" / "s.csv"), "nowhere")


def test_an_output_that_fails_to_be_written_is_an_error(vae, work, tmp_path, monkeypatch):
    import vaekit.fields.writing

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(vaekit.fields.writing, "write_batches", full)
    wrong(vae("embed", work.run, work.csv, "--out", tmp_path / "e.csv"), "e.csv", "No space left")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--role", "diagnosis"], "NAME=VALUE"),
        (["--role", "diagnosis=boss"], "boss"),
        (["--role", "nobody=ignore"], "nobody"),
        (["--role", "diagnosis=ignore", "--role", "diagnosis=model"], "twice"),
        (["--kind", "diagnosis=number"], "diagnosis"),
        (["--likelihood", "mean_radius=poisson"], "poisson"),
    ],
)
def test_a_contract_that_cannot_be(vae, work, options, word):
    wrong(vae("inspect", work.csv, *options), word)


def test_given_that_cannot_be(vae, work):
    wrong(vae("sample", work.run, "--given", "nobody=1"), "nobody")
    wrong(vae("sample", work.run, "--given", "diagnosis=benign", "--given", "mean_radius=wide"), "mean_radius", "wide")
    wrong(vae("sample", work.run), "diagnosis")


def test_settings_that_cannot_be(vae, work, tmp_path):
    wrong(vae("fit", work.csv, "--out", tmp_path / "a", "--preset", "gigantic"), "gigantic")
    wrong(vae("fit", work.csv, "--out", tmp_path / "b", "--device", "abacus"), "abacus")
    (tmp_path / "vae.toml").write_text("leanring_rate = 1\n")
    wrong(vae("fit", work.csv, "--out", tmp_path / "c", "--config", tmp_path / "vae.toml"), "leanring_rate")
    wrong(vae("fit", work.csv, "--out", tmp_path / "d", "--set", "leanring_rate=1"), "leanring_rate")
    wrong(vae("fit", work.csv, "--out", tmp_path / "e", "--set", "epochs=2", "--epochs", 3), "--epochs")
    wrong(vae("fit", work.csv, "--out", tmp_path / "f", "--epochs", 0), "epochs")


@pytest.mark.parametrize(
    "line",
    [
        ["score"],
        ["scroe", "run", "rows.csv"],
        ["score", "--colour", "blue"],
        ["score", "nowhere", "nothing.csv"],
        ["sample", ".", "--rows", "many"],
        ["fit", "nothing.csv", "--out", "run"],
    ],
)
def test_wrong_words_exit_2_and_say_so_on_stderr(vae, line):
    told = vae(*line)
    assert (told.code, told.out) == (2, "")
    assert "Usage: vae" in told.err


def test_a_defect_keeps_its_traceback(vae, work, monkeypatch):
    import vaekit.api.model

    def broken(*_, **__):
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(vaekit.api.model, "load", broken)
    with pytest.raises(ZeroDivisionError, match="a defect"):
        main(["score", str(work.run), str(work.csv)])


def test_interrupted_fit_exits_130_and_says_how_to_go_on(vae, work, tmp_path, monkeypatch):
    import vaekit.api.fitting

    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(vaekit.api.fitting, "fit", stopped)
    told = vae("fit", work.csv, "--out", tmp_path / "run")
    assert told.code == 130
    assert "--resume" in told.err
    assert "Traceback" not in told.err


def test_interrupt_elsewhere_exits_130(vae, work, monkeypatch):
    import vaekit.api.model

    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(vaekit.api.model, "load", stopped)
    told = vae("score", work.run, work.csv)
    assert (told.code, told.out) == (130, "")


# -------------------------------------------------------------------------------------------- more rows than fit memory


@pytest.fixture
def batched(monkeypatch, work, tmp_path):
    """The rows as a folder of files, read sixty rows at a time."""
    import vaekit.fields.batches

    monkeypatch.setattr(vaekit.fields.batches, "ROWS", 60)
    table = pq.read_table(work.holes)
    (tmp_path / "parts").mkdir()
    for index, start in enumerate(range(0, table.num_rows, 150)):
        pq.write_table(table.slice(start, 150), tmp_path / "parts" / f"{index}.parquet")
    return tmp_path / "parts"


@pytest.mark.parametrize(
    ("query", "options"),
    [
        ("score", ["--attribution"]),
        ("detect", ["--alpha", "0.1"]),
        ("embed", []),
        ("reconstruct", []),
        ("impute", ["--interval", "0.8"]),
    ],
)
def test_a_folder_in_batches_gives_the_file_that_its_rows_give_at_once(vae, work, batched, query, options, monkeypatch):
    import vaekit.fields.batches

    outs = [batched.parent / "batches.parquet", batched.parent / "whole.parquet"]
    told = [json.loads(vae(query, work.run, batched, "--out", outs[0], "--json", *options).out)]
    monkeypatch.setattr(vaekit.fields.batches, "ROWS", 2**16)
    told.append(json.loads(vae(query, work.run, work.holes, "--out", outs[1], "--json", *options).out))
    assert pq.ParquetFile(outs[0]).num_row_groups == 10
    assert differences(pq.read_table(outs[0]), pq.read_table(outs[1])) == []
    for one in told:
        del one["seconds"], one["out"]
    assert told[0].pop("mean_score", 0.0) == pytest.approx(told[1].pop("mean_score", 0.0), rel=1e-6)
    assert told[0] == told[1]


def test_a_long_pass_says_on_stderr_how_far_it_is(vae, work, batched, monkeypatch):
    import vaekit.cli.progress

    monkeypatch.setattr(vaekit.cli.progress, "EVERY", 0.0)
    told = vae("embed", work.run, batched, "--out", batched.parent / "e.parquet")
    lines = told.err.splitlines()
    assert len(lines) == 10
    assert lines[4].startswith("embed: 300 of 569 rows, ")
    assert told.out.startswith("embed: 569 rows, 1 columns -> ")


def test_a_late_row_that_does_not_fit_is_named_and_leaves_no_file(vae, work, batched):
    last = batched / "9.parquet"
    table = pq.read_table(work.holes).slice(0, 5)
    diagnosis = pa.array(["benign", "benign", "unheard of", "benign", "benign"])
    pq.write_table(table.set_column(table.schema.get_field_index("diagnosis"), "diagnosis", diagnosis), last)
    wrong(vae("score", work.run, batched, "--out", batched.parent / "s.parquet"), "diagnosis", "row 571", "unheard of")
    assert [path.name for path in batched.parent.iterdir()] == ["parts"]


def test_a_fit_on_a_sample_says_so(vae, work, tmp_path, monkeypatch):
    monkeypatch.setattr("vaekit.api.exporting.with_graphs", lambda bundle, *_, **__: bundle)  # nobody asks this model
    told = vae("fit", work.parquet, "--out", tmp_path / "r", "--max-rows", 200, "--epochs", 1)
    assert told.code == 0, told.err
    assert "training on 200 of 569 rows, a uniform sample" in told.err
    assert told.out.startswith("fit: 200 rows -> ")
    record = json.loads((tmp_path / "r" / "run.json").read_text())
    assert (record["data"]["rows"], record["data"]["sampled_from"]) == (200, 569)
    assert sum(record["rows"][part] for part in ("train", "valid", "calibration")) == 200

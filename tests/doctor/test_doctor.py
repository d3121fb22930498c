"""The doctor: each disease in a real run that has it, healthy runs without an alarm, and a treatment that heals."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import vaekit as vk
from tests.doctor.sick import CASES, Case, Fitted, clusters, factors
from vaekit.api.treating import diagnose, treat
from vaekit.cli import main
from vaekit.doctor import Diagnosis, Evidence, Finding, Patient, Treatment, examine, known_diseases
from vaekit.doctor.page import page
from vaekit.errors import ConfigError
from vaekit.training import load_config

HEALTHY = {"factors": Case(), "clusters": Case(clusters)}


@pytest.fixture(scope="module")
def patients(tmp_path_factory):
    """Patients by case; each run is trained once, whatever rows the doctor is shown."""
    kept: list[tuple[Case, Fitted]] = []

    def of(case: Case) -> Patient:
        home = replace(case, shown=None)
        run = next((run for one, run in kept if one == home), None)
        if run is None:
            run = home.fitted(tmp_path_factory.mktemp("run"))
            kept.append((home, run))
        return case.met(run)

    return of


def test_every_disease_has_a_run_that_has_it():
    assert known_diseases().keys() == CASES.keys()


@pytest.mark.parametrize("disease", CASES)
def test_a_run_that_has_a_disease_is_named_with_numbers_and_a_treatment(patients, disease):
    found = known_diseases()[disease].examine(patients(CASES[disease]))
    assert found.disease == disease
    assert found.ill, found.evidence
    assert all(math.isfinite(one.value) and one.what for one in found.evidence)
    assert "\n" not in found.sentence
    assert found.treatment.words
    assert found.treatment.retrains or disease == "train/serve mismatch"
    config = load_config(None).override(**{k: v for k, v in found.treatment.options.items() if v is not None})
    assert config.training  # options that a fit has


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_run_gives_no_alarm(patients, name):
    diagnosis = examine(patients(HEALTHY[name]))
    assert [(one.disease, one.evidence) for one in diagnosis.ill] == []
    assert len(diagnosis.findings) >= 11


def test_what_cannot_be_looked_for_is_said(patients):
    diagnosis = examine(patients(CASES["out of memory"]))
    assert diagnosis.skipped["overfitting"] == "the table of the fit, or the history of a run"
    assert diagnosis.skipped.keys() | {one.disease for one in diagnosis.findings} == known_diseases().keys()


def test_independent_columns_are_no_collapse(patients):
    rng = np.random.default_rng(0)
    table = pa.table({f"x{i}": rng.normal(size=700) for i in range(4)})
    found = known_diseases()["posterior collapse"].examine(patients(Case(lambda: table)))
    assert found.evidence[0].ill
    assert not found.ill
    assert "look independent" in found.unless


def test_all_deciding_numbers_have_to_lie_on_the_side_of_the_disease():
    low, high = Evidence("a", 1.0, 2.0), Evidence("b", 3.0, 2.0)
    treatment = Treatment("rest", {"beta": 1.0, "warmup": 0.1})
    assert not Finding("x", (low, high), "", treatment).ill
    beside = Evidence("a", 1.0, 2.0, deciding=False)
    first = Finding("x", (high, beside), "", treatment)
    assert first.ill
    assert not Finding("x", (high,), "", treatment, unless="it is meant so").ill
    second = Finding("y", (high,), "", Treatment("move", {"beta": 2.0, "mask": 0.1}, {"f": {"likelihood": "mixture"}}))
    both = Diagnosis((first, second), {}).treatment()
    assert both.options == {"beta": 1.0, "warmup": 0.1, "mask": 0.1}  # the first one has the say
    assert both.fields == {"f": {"likelihood": "mixture"}}


def test_the_page_shows_every_finding_with_its_picture(patients):
    diagnosis = examine(patients(CASES["posterior collapse"]))
    after = Diagnosis(diagnosis.findings[:2], {})
    text = page(diagnosis, "a <run>", after)
    assert text.count("<section>") == len(diagnosis.findings) + 3
    assert "posterior collapse: ill" in text
    assert "a &lt;run&gt;" in text
    pictures = [one for one in (*diagnosis.findings, *after.findings) if one.picture is not None and one.picture.x]
    assert text.count("<svg") == len(pictures) >= 7
    assert "http://" not in text.replace("http://www.w3.org", "")


@pytest.fixture(scope="module")
def collapsed(tmp_path_factory):
    """A run on disk with a collapsed model, and its rows in a file."""
    folder = tmp_path_factory.mktemp("collapsed")
    run = Case(partial(factors, 500), {"epochs": 10, "beta": 40.0, "warmup": 0.0}, kept=True).fitted(folder / "run")
    pq.write_table(run.rows, folder / "rows.parquet")
    run.model.bundle.save(folder / "run" / "bundle")
    return folder


def test_the_command_tells_treats_and_shows_before_and_after(collapsed, capfd, monkeypatch):
    # without graphs, whose export takes longer than all the rest
    monkeypatch.setattr(vk.Model, "save", lambda self, path: self.bundle.save(path))
    rows = collapsed / "rows.parquet"

    def run(*argv):
        with pytest.raises(SystemExit) as stop:
            main([str(one) for one in argv])
        return stop.value.code or 0, capfd.readouterr().out

    code, told = run("doctor", collapsed / "run", rows)
    assert code == 1
    assert "ill  posterior collapse" in told
    assert "nats per row that the code tells" in told
    assert "treatment: let the weight of the KL rise slowly" in told
    code, told = run("doctor", collapsed / "run", "--json")
    found = json.loads(told)
    assert code == 1
    assert "posterior collapse" in found["ill"]
    assert "overfitting" in {one["disease"] for one in found["findings"]} | found["not_looked_for"].keys()
    page_file = collapsed / "page.html"
    code, told = run(
        "doctor", collapsed / "run", rows, "--fix", "--out", collapsed / "mended", "--page", page_file, "--json",
        "--no-progress",
    )  # fmt: skip
    found = json.loads(told)
    before, after = (
        {
            e["what"]: e["value"]
            for one in part["findings"]
            if one["disease"] == "posterior collapse"
            for e in one["evidence"]
        }
        for part in (found, found["after"])
    )
    what = "nats per row that the code tells"
    assert before[what] < 0.1 < 0.5 < after[what]
    assert "posterior collapse" not in found["after"]["ill"]
    assert code == (1 if found["after"]["ill"] else 0)
    assert "After treatment" in page_file.read_text()
    assert vk.load(collapsed / "mended").bundle.run["config"]["training"]["beta"] == 1.0
    assert run("doctor", collapsed / "run", "--fix")[0] == 2


def test_a_treatment_imports_no_module_that_only_the_run_names(tmp_path, monkeypatch):
    """A run folder from elsewhere names code; to train again would run it."""
    (tmp_path / "trap_parts.py").write_text("raise SystemExit('this code was run')")
    monkeypatch.syspath_prepend(str(tmp_path))
    record = {"config": {"training": {"terms": {"trap_parts:Pull": {"pull": 1.0}}, "epochs": 1}}}
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    ill = Finding("overfitting", (Evidence("x", 1.0, 0.0, "above"),), "", Treatment("", {"epochs": 2}))
    rows, sick = factors(60, 0), Diagnosis([ill], {})
    with pytest.raises(ConfigError, match="has parts from trap_parts"):
        treat(tmp_path / "run", rows, sick, tmp_path / "out", progress=False)
    with pytest.raises(SystemExit, match="this code was run"):
        treat(tmp_path / "run", rows, sick, tmp_path / "out", progress=False, modules=["trap_parts"])


def test_a_run_that_failed_is_examined_by_what_it_left(tmp_path):
    CASES["out of memory"].fitted(tmp_path / "run")
    written = json.loads((tmp_path / "run" / "failure.json").read_text())
    assert written["kind"] == "memory"
    assert written["message"].startswith("out of memory: ")
    diagnosis = diagnose(tmp_path / "run")
    assert [one.disease for one in diagnosis.ill] == ["out of memory"]
    with pytest.raises(ConfigError, match="neither a run nor a bundle"):
        diagnose(tmp_path)
    healthy = Diagnosis((), {})
    with pytest.raises(ConfigError, match="nothing that was found can be mended"):
        treat(tmp_path / "run", factors(), healthy, tmp_path / "new")


def test_training_longer_counts_from_what_was_trained_and_not_from_the_plan():
    record = {"config": {"training": {"epochs": 10_000, "max_seconds": 0.2}}}
    history = [{"stage": "vae", "epoch": 2}, {"stage": "vae", "epoch": 5}, {"stage": "prior", "epoch": 0}]
    assert Patient(record=record, history=history).epochs == 6
    assert Patient(record=record).epochs == 10_000

"""The doctor: each disease in a real run that has it, healthy runs without an alarm, and a treatment that heals."""

from __future__ import annotations

import json
import math

import numpy as np
import pyarrow.parquet as pq
import pytest

import vaekit as vk
from tests.doctor.sick import BASE, CASES, Case, clusters, factors, three_causes
from vaekit.api.fitting import assemble
from vaekit.api.treating import diagnose, treat
from vaekit.cli import main
from vaekit.doctor import Diagnosis, Evidence, Finding, Treatment, known_diseases
from vaekit.doctor.page import page
from vaekit.errors import ConfigError
from vaekit.training import load_config, train

HEALTHY = {"factors": Case(), "clusters": Case(clusters), "three causes": Case(three_causes)}


@pytest.fixture(scope="module")
def diagnoses(tmp_path_factory):
    """Diagnoses by case, each run trained once."""
    found: dict[int, Diagnosis] = {}

    def of(case: Case) -> Diagnosis:
        key = next((index for index, one in enumerate(CASES.values()) if one == case), -1)
        if key not in found:
            found[key] = case.diagnosis(tmp_path_factory.mktemp("run"))
        return found[key]

    return of


def test_every_disease_has_a_run_that_has_it():
    assert known_diseases().keys() == CASES.keys()


@pytest.mark.parametrize("disease", CASES)
def test_a_run_that_has_a_disease_is_named_with_numbers_and_a_treatment(diagnoses, disease):
    diagnosis = diagnoses(CASES[disease])
    (found,) = [one for one in diagnosis.findings if one.disease == disease]
    assert found.ill, found.evidence
    assert all(math.isfinite(one.value) and one.what for one in found.evidence)
    assert "\n" not in found.sentence
    assert found.treatment.words
    assert found.treatment.retrains or disease == "train/serve mismatch"
    config = load_config(None).override(**{k: v for k, v in found.treatment.options.items() if v is not None})
    assert config.training  # options that a fit has


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_run_gives_no_alarm(tmp_path, name):
    diagnosis = HEALTHY[name].diagnosis(tmp_path)
    assert [(one.disease, one.evidence) for one in diagnosis.ill] == []
    assert len(diagnosis.findings) >= 11


def test_what_cannot_be_looked_for_is_said(diagnoses):
    diagnosis = diagnoses(CASES["out of memory"])
    assert diagnosis.skipped["overfitting"] == "the table of the fit, or the history of a run"
    assert diagnosis.skipped.keys() | {one.disease for one in diagnosis.findings} == known_diseases().keys()


def test_independent_columns_are_no_collapse(tmp_path):
    import pyarrow as pa

    rng = np.random.default_rng(0)
    case = Case(lambda: pa.table({f"x{i}": rng.normal(size=700) for i in range(4)}))
    diagnosis = case.diagnosis(tmp_path)
    (found,) = [one for one in diagnosis.findings if one.disease == "posterior collapse"]
    assert found.evidence[0].ill
    assert not found.ill
    assert "look independent" in found.unless
    assert "posterior collapse" not in [one.disease for one in diagnosis.ill]


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


def test_the_page_shows_every_finding_with_its_picture(diagnoses):
    diagnosis = diagnoses(CASES["posterior collapse"])
    text = page(diagnosis, "a <run>", diagnosis)
    assert text.count("<section>") == 2 * len(diagnosis.findings) + 1
    assert "posterior collapse: ill" in text
    assert "a &lt;run&gt;" in text
    pictures = [one for one in diagnosis.findings if one.picture is not None and one.picture.x]
    assert text.count("<svg") == 2 * len(pictures) >= 10
    assert "http://" not in text.replace("http://www.w3.org", "")


@pytest.fixture(scope="module")
def collapsed(tmp_path_factory):
    """A run on disk with a collapsed model, and its rows in a file."""
    folder = tmp_path_factory.mktemp("collapsed")
    table = factors(500)
    pq.write_table(table, folder / "rows.parquet")
    config = load_config(None).override(**{**BASE, "epochs": 12, "beta": 40.0, "warmup": 0.0})
    contract = vk.Contract.infer(table)
    trained = train(table, contract, config, out=folder / "run", progress=False)
    assemble(trained, table, 0).bundle.save(folder / "run" / "bundle")  # without graphs: they take time
    return folder


def test_the_command_tells_treats_and_shows_before_and_after(collapsed, capfd):
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


def test_a_run_that_failed_is_examined_by_what_it_left(tmp_path):
    CASES["out of memory"].patient(tmp_path / "run")
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

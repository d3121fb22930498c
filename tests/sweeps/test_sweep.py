"""Sweeps: trials are pruned, killed and begun again; the best one is kept, with a page that says how it was found."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_wine

import vaekit as vk
from vaekit.bundle.manifest import read_manifest
from vaekit.errors import ConfigError, TrainingError
from vaekit.fields.tables import to_arrow
from vaekit.sweeps.locks import Lock, alive
from vaekit.sweeps.plan import load_plan
from vaekit.sweeps.study import Ledger, spent

BASE = {
    "model": {"width": 16, "depth": 1},
    "training": {"epochs": 2, "batch_size": 32, "choose": False, "warmup": 0.0, "patience": 60},
}
SPACE = {
    "model": {"latent": {"low": 1, "high": 4}, "prior": ["standard", {"name": "mixture", "components": [2, 4]}]},
    "training": {"learning_rate": [1e-2, 1e-7]},
}
PLAN = {"space": SPACE, "base": BASE, "seed": 3}


@pytest.fixture(scope="module")
def wine() -> pa.Table:
    return to_arrow(load_wine(as_frame=True).frame.iloc[:, [0, 1, 4, 12]])


@pytest.fixture(scope="module")
def swept(wine, tmp_path_factory):
    out = tmp_path_factory.mktemp("sweep") / "out"
    return vk.sweep(wine, {**PLAN, "trials": 9, "graphs": False}, out, progress=False)


def test_the_winner_is_the_trial_with_the_fewest_nats_and_is_kept(swept, wine):
    complete = [one for one in swept.trials if one["state"] == "complete"]
    assert len(swept.trials) == 9
    assert swept.winner["values"]["nats"] == min(one["values"]["nats"] for one in complete)
    assert swept.winner["params"]["training.learning_rate"] == 1e-2
    kept = tomllib.loads((swept.out / "best.toml").read_text())
    assert kept == swept.config
    assert kept["model"]["latent"] == swept.winner["params"]["model.latent"]
    model = swept.best
    assert np.isfinite(model.score(wine)["score"].to_numpy()).all()
    record = model.bundle.run
    assert record["config"]["model"]["latent"] == kept["model"]["latent"]
    run = json.loads((swept.out / "sweep.json").read_text())["run"]
    assert record["parent"] == {"kind": "sweep", "run": run, "trial": swept.winner["number"]}
    assert read_manifest(swept.out / "bundle").lineage["parent"].startswith(f"sweep {run}")


def test_nats_are_a_bound_on_the_early_stopping_rows(swept, wine):
    from vaekit.training.splits import split

    record = swept.best.bundle.run["config"]
    splits = split(wine, swept.best.contract, record["training"]["valid"], record["training"]["calibration"], 0)
    rows = wine.take(pa.array(splits.valid))
    scores = vk.load(swept.out / "bundle").score(rows, samples=64)["score"].to_numpy()
    assert abs(scores.mean() - swept.winner["values"]["nats"]) < 0.3  # other draws of noise


def test_trials_that_lag_behind_are_ended_early_and_cleanly(swept):
    pruned = [one for one in swept.trials if one["state"] == "pruned"]
    assert any(one["params"]["training.learning_rate"] == 1e-7 for one in pruned)
    for one in pruned:
        assert 5 <= len(one["curve"]) < 10
        folder = swept.out / one["run"]
        assert one["reason"] == f"pruned after {len(one['curve'])} validations"
        assert len((folder / "metrics.jsonl").read_text().splitlines()) == len(one["curve"])
        assert not (folder / "failure.json").exists()
        assert not (folder / "bundle").exists()


def test_the_page_shows_trials_importances_and_winner_and_asks_for_nothing(swept):
    page = (swept.out / "report.html").read_text()
    assert {"model.latent", "model.prior"} <= swept.importances["nats"].keys()
    assert sum(swept.importances["nats"].values()) == pytest.approx(1.0)
    for text in (
        "What matters",
        "training.learning_rate",
        f"Trial {swept.winner['number']} has the least nats",
        "pruned",
    ):
        assert text in page
    assert page.count("<svg") >= 5
    assert re.findall(r'(?:src|href)="(?!data:|#)[^"]*|url\((?!#)|@import', page) == []


def test_a_sweep_that_goes_on_chooses_as_if_it_had_never_ended(wine, swept, tmp_path, unexported):
    plan = PLAN
    vk.sweep(wine, plan, tmp_path / "out", trials=1, progress=False)
    again = vk.sweep(wine, plan, tmp_path / "out", trials=3, progress=False)
    assert [one["params"] for one in again.trials] == [one["params"] for one in swept.trials[:3]]
    assert [one["values"] for one in again.trials] == [one["values"] for one in swept.trials[:3]]
    with pytest.raises(ConfigError, match=r"begun otherwise: plan.base.model.width: 16 → 8"):
        vk.sweep(wine, {**plan, "base": {**BASE, "model": {"width": 8, "depth": 1}}}, tmp_path / "out", progress=False)
    with pytest.raises(ConfigError, match="begun otherwise: data"):
        vk.sweep(wine.slice(1), plan, tmp_path / "out", progress=False)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("x")
    with pytest.raises(ConfigError, match="something else"):
        vk.sweep(wine, plan, tmp_path / "other", progress=False)


def test_a_killed_sweep_goes_on_with_two_workers_and_loses_no_trial(wine, tmp_path):
    rows, plan, out = tmp_path / "wine.parquet", tmp_path / "sweep.toml", tmp_path / "out"
    pq.write_table(wine, rows)
    plan.write_text(
        'trials = 3\npruner = "none"\ngraphs = false\n[base.model]\nwidth = 16\n[base.training]\nepochs = 15\n'
        "batch_size = 32\nchoose = false\npatience = 60\n[space.model]\nlatent = { low = 1, high = 4 }\n"
    )
    line = [sys.executable, "-m", "vaekit.cli", "sweep", str(plan), str(rows), "--out", str(out)]
    process = subprocess.Popen(line, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    metrics = out / "trials" / "0001" / "metrics.jsonl"
    limit = time.monotonic() + 120
    while not (metrics.exists() and metrics.stat().st_size > 2_000):
        assert process.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    vk.sweep(rows, plan, out, workers=2, progress=False)
    found = json.loads((out / "result.json").read_text())
    killed = [one for one in found["trials"] if one["state"] == "killed"]
    complete = [one for one in found["trials"] if one["state"] == "complete"]
    assert [one["number"] for one in killed] == [1]
    again = next(one for one in complete if one["after"] == 1)
    assert again["params"] == killed[0]["params"]
    assert again["run"] == killed[0]["run"]
    assert len(json.loads((out / again["run"] / "run.json").read_text())["sessions"]) == 2  # it was gone on with
    assert len(complete) == 3
    assert found["winner"]["values"]["nats"] == min(one["values"]["nats"] for one in complete)


@pytest.fixture
def unexported(monkeypatch):
    """Bundles without graphs, whose export takes longer than these fits."""
    monkeypatch.setattr("vaekit.api.model.Model.save", lambda self, path: self.bundle.save(path))


def test_several_objectives_give_a_front(wine, tmp_path, unexported):
    plan = {"space": {"model": {"width": [8, 256]}}, "base": BASE, "objectives": ["nats", "size"], "trials": 2}
    found = vk.sweep(wine, plan, tmp_path / "out", sampler="random", seed=1, progress=False)
    values = {one["number"]: (one["values"]["nats"], one["values"]["size"]) for one in found.trials}
    beaten = [n for n, v in values.items() if any(w[0] <= v[0] and w[1] <= v[1] and w != v for w in values.values())]
    assert {one["number"] for one in found.front} == set(values) - set(beaten)
    assert found.winner["values"]["nats"] == min(nats for nats, _ in values.values())
    size = sum(
        path.stat().st_size for path in (found.out / found.winner["run"] / "bundle").rglob("*") if path.is_file()
    )
    assert found.winner["values"]["size"] == size
    assert "on the front" in (found.out / "report.html").read_text()


def test_trials_that_fail_are_told_with_their_reason(tmp_path):
    rows = pa.table({"x": np.arange(9.0)})  # fewer than a fit takes
    with pytest.raises(TrainingError, match="no trial of the sweep came to its end.*at least 10 rows"):
        vk.sweep(rows, {"space": {"training": {"beta": [0.5, 1.0]}}, "trials": 2}, tmp_path / "out", progress=False)


@pytest.mark.parametrize("nats", [RuntimeError("no convergence"), float("nan")])
def test_a_trial_that_breaks_leaves_the_others_alone(wine, tmp_path, monkeypatch, unexported, nats):
    made = []

    def broken(model, rows):
        made.append(1)
        if len(made) > 1:
            return 1.0
        if isinstance(nats, Exception):
            raise nats
        return nats

    monkeypatch.setattr("vaekit.sweeps.trial._nats", broken)
    plan = {"space": {"training": {"beta": [0.5, 1.0]}}, "base": BASE, "trials": 2, "graphs": False}
    found = vk.sweep(wine, plan, tmp_path / "out", progress=False)
    assert [one["state"] for one in found.trials] == ["failed", "complete"]
    assert found.trials[0]["reason"].startswith(
        "RuntimeError: no convergence" if isinstance(nats, Exception) else "ValueError"
    )
    assert found.winner["number"] == 1


def test_a_trial_of_a_dead_worker_is_begun_again_twice_at_most(tmp_path):
    plan = load_plan({"space": {"training": {"beta": {"low": 0.5, "high": 2.0}}}, "trials": 1})
    numbers = []
    for worker in "abcd":
        ledger = Ledger(tmp_path, plan, worker)
        if (asked := ledger.ask()) is not None:
            numbers.append((asked[0].number, asked[1]["training"]["beta"]))
        ledger.close()  # as if it had died
    assert [number for number, _ in numbers] == [0, 1, 2]
    assert len({beta for _, beta in numbers}) == 1
    assert sum(map(spent, ledger.study.get_trials())) == 1


@pytest.mark.parametrize(("reason", "counts"), [("complete", 0), ("pruned after 3 validations", 0), ("OSError: x", 1)])
def test_a_trial_whose_worker_died_while_its_end_was_told_counts_once(tmp_path, reason, counts):
    plan = load_plan({"space": {"training": {"beta": {"low": 0.5, "high": 2.0}}}, "trials": 2})
    one = Ledger(tmp_path, plan, "one")
    one.ask()[0].set_user_attr("reason", reason)
    one.close()
    other = Ledger(tmp_path, plan, "other")
    other.ask()
    assert sum(map(spent, other.study.get_trials())) == counts


def test_a_living_worker_keeps_its_trial(tmp_path):
    plan = load_plan({"space": {"training": {"beta": {"low": 0.5, "high": 2.0}}}, "trials": 3})
    one, other = Ledger(tmp_path, plan, "one"), Ledger(tmp_path, plan, "other")
    numbers = [ledger.ask()[0].number for ledger in (one, other, one)]
    assert numbers == [0, 1, 2]
    assert other.ask() is None  # as many as were asked for are running
    assert [trial.state.name for trial in one.study.get_trials()] == ["RUNNING"] * 3


def test_a_worker_that_ends_takes_its_own_lock_along_only(swept, tmp_path):
    assert not list((swept.out / "workers").glob("*.lock"))
    plan = load_plan({"space": {"training": {"beta": {"low": 0.5, "high": 2.0}}}})
    one, other = Ledger(tmp_path, plan, "one"), Ledger(tmp_path, plan, "other")
    one.ask()
    other.close()
    assert [path.name for path in (tmp_path / "workers").iterdir()] == ["one.lock"]
    assert alive(tmp_path / "workers" / "one.lock")


def test_half_a_line_of_the_journal_is_cut_off(tmp_path):
    plan = load_plan({"space": {"training": {"beta": {"low": 0.5, "high": 2.0}}}, "trials": 3})
    ledger = Ledger(tmp_path, plan, "one")
    trial, _ = ledger.ask()
    ledger.tell(trial, [1.0], "COMPLETE")
    with (tmp_path / "journal.log").open("a") as file:
        file.write('{"op_code": 4, "worker')
    with pytest.warns(UserWarning, match="last line is not whole"):
        again = Ledger(tmp_path, plan, "two")
    assert [one.value for one in again.study.get_trials()] == [1.0]
    assert again.ask()[0].number == 1


def test_trials_can_be_kept_in_a_database(tmp_path, monkeypatch):
    monkeypatch.setenv("VAEKIT_SWEEP_STORAGE", f"sqlite:///{tmp_path}/trials.db")
    plan = load_plan({"space": {"training": {"beta": [0.5, 2.0]}}})
    assert Ledger(tmp_path, plan, "one").ask()[0].number == 0
    assert Ledger(tmp_path, plan, "two").ask()[0].number == 1
    assert not (tmp_path / "journal.log").exists()
    monkeypatch.setenv("VAEKIT_SWEEP_STORAGE", "nosuch://user:s3cret@host/db")
    with pytest.raises(ConfigError, match="storage of the sweep cannot be opened") as caught:
        Ledger(tmp_path, plan, "three")
    assert "s3cret" not in str(caught.value)


def test_a_lock_ends_with_its_process(tmp_path):
    path = tmp_path / "lock"
    assert not alive(path)
    code = (
        f"from pathlib import Path; import time; from vaekit.sweeps.locks import Lock; lock = Lock(Path({str(path)!r}))"
    )
    line = [sys.executable, "-c", f"{code}; lock.acquire(); print('held', flush=True); time.sleep(60)"]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    assert alive(path)
    process.kill()
    process.wait()
    assert not alive(path)
    lock = Lock(path)
    lock.acquire()
    assert alive(path)
    lock.release()


@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_pruners_end_the_worse_trials(tmp_path, pruner):
    plan = load_plan({"space": {"training": {"beta": {"low": 0.5, "high": 2.0}}}, "trials": 24, "pruner": pruner})
    ledger, ended = Ledger(tmp_path, plan, "one"), {}
    while (asked := ledger.ask()) is not None:
        trial, _ = asked
        nats = 1.0 + trial.number % 4
        for step in range(1, 61):
            trial.report(nats + 1.0 / step, step)
            if trial.should_prune():
                break
        pruned = step < 60
        ledger.tell(trial, None if pruned else [nats], "PRUNED" if pruned else "COMPLETE")
        ended.setdefault(nats, []).append(step)
    assert 60 in ended[1.0]  # the best come to their end
    assert np.mean(ended[4.0]) < 0.8 * np.mean(ended[1.0])

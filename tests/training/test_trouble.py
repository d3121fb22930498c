"""Training in trouble: numbers that are not finite, and too little memory."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
import torch

from vaekit.errors import NotFiniteError, TrainingError
from vaekit.fields import Contract
from vaekit.training import Config, train
from vaekit.training.step import Step

OPTIONS = {"epochs": 3, "width": 8, "depth": 1, "latent": 2, "batch_size": 32, "choose": False, "compile": False}


@pytest.fixture(scope="module")
def table() -> pa.Table:
    x = np.random.default_rng(0).normal(size=300)
    return pa.table({"x": x, "y": x**2})


def run(table, out=None, **options):
    config = Config().override(**(OPTIONS | options))
    return train(table, Contract.infer(table), config, out=out, progress=False)


def poisoned(monkeypatch, until: float):
    """Weights that become NaN in step 8, as long as the rate is above some value."""
    original = Step.__call__

    def step(self, rows, at):
        group = self.phases["model"].optimizer.param_groups[0]
        if at.step == 8 and group["peak"] > until:
            with torch.no_grad():
                group["params"][0].view(-1)[0] = float("nan")
        return original(self, rows, at)

    monkeypatch.setattr(Step, "__call__", step)


def test_a_run_goes_on_from_its_checkpoint_with_half_the_rate_if_asked_to(table, tmp_path, monkeypatch, capsys):
    whole = {one["step"]: one["learning_rate"] for one in run(table).history if one["step"] > 9}
    poisoned(monkeypatch, until=0.3 * 4e-3)
    with pytest.raises(NotFiniteError, match="step 8"):
        run(table, tmp_path / "stopped")
    trained = run(table, tmp_path / "run", on_nan="restart")
    assert [one["slowed"] for one in trained.record["restarts"]] == [1, 2]
    assert "step 8" in trained.record["restarts"][0]["why"]
    assert "1/4 of the learning rate" in capsys.readouterr().err
    rates = {one["step"]: one["learning_rate"] for one in trained.history}
    assert [rates[step] for step in whole] == pytest.approx([rate / 4 for rate in whole.values()])
    assert all(torch.isfinite(value).all() for value in trained.vae.state_dict().values())
    steps = [json.loads(line)["step"] for line in (tmp_path / "run" / "metrics.jsonl").open()]
    assert steps == sorted(set(steps))
    config = Config().override(**(OPTIONS | {"on_nan": "restart"}))
    again = train(table, Contract.infer(table), config, out=tmp_path / "run", resume=True, progress=False)
    assert again.record["restarts"] == trained.record["restarts"]


def test_processes_that_start_again_without_a_folder_begin_anew(table, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert run(table, epochs=1).history


def test_a_run_that_stays_broken_ends(table, tmp_path, monkeypatch):
    poisoned(monkeypatch, until=0.0)
    with pytest.raises(NotFiniteError, match="step 8"):
        run(table, tmp_path, on_nan="restart")
    assert json.loads((tmp_path / "failure.json").read_text())["kind"] == "not finite"


def test_batches_that_memory_does_not_hold_are_halved_and_learn_the_same(table, tmp_path, monkeypatch):
    halved, original = run(table, micro_batch=8), Step.terms

    def scarce(self, drawn):
        if len(drawn) > 10:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return original(self, drawn)

    monkeypatch.setattr(Step, "terms", scarce)
    with pytest.warns(UserWarning, match="micro-batches of 8 rows"):
        found = run(table, tmp_path)
    assert found.history[-1]["valid"]["elbo"] == halved.history[-1]["valid"]["elbo"]
    with pytest.raises(TrainingError, match="out of memory"):  # rows that are tied together cannot be taken apart
        run(table, terms={"mmd": {}})

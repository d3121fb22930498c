"""Two processes that train one model together, over Gloo."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

from tests.training.lives import pair, prints, wait_for, whole

OPTIONS = {"batch_size": 21, "patience": 99}


def both(folder, resume=False, **options):
    processes = pair(folder, resume, **options)
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


MODES = {"averaged": ({"ema": 0.9, "micro_batch": 4}, 2e-3), "codebooks": ({"recipe": "vq-vae"}, 0.1)}


@pytest.mark.parametrize(("mode", "near"), MODES.values(), ids=MODES)
def test_two_processes_train_as_one_does_with_the_same_batch(tmp_path, mode, near):
    """Batches of 21 rows are cut unevenly, the last one of an epoch too; hidden cells and noise are those of one.

    Codes that nobody uses start again at rows of each process, so codebooks are alike rather than the same.
    """
    options = OPTIONS | mode
    alone = {name: value for name, value in options.items() if name != "micro_batch"}
    whole(tmp_path / "one", **alone)
    assert both(tmp_path / "two", **options) == [0, 0]
    one, two = ([json.loads(line) for line in (tmp_path / name / "metrics.jsonl").open()] for name in ("one", "two"))
    assert len(one) == len(two)
    for a, b in zip(one, two, strict=True):
        assert (a["step"], a["stage"]) == (b["step"], b["stage"])
        assert b["train"]["loss"] == pytest.approx(a["train"]["loss"], rel=near)
        assert b["valid"]["elbo"] == pytest.approx(a["valid"]["elbo"], rel=near)
    if near < 0.01:
        first, second = (load_file(tmp_path / name / "checkpoints" / "last.safetensors") for name in ("one", "two"))
        assert first.keys() == second.keys()
        assert max(np.abs(first[name] - second[name]).max() for name in first if name.startswith("model.")) < 0.02


def test_a_process_that_dies_ends_the_other_and_both_go_on_to_the_same_bits(tmp_path):
    assert both(tmp_path / "whole", **OPTIONS) == [0, 0]
    leader, other = pair(tmp_path / "run", **OPTIONS)
    wait_for(tmp_path / "run", 5, leader)
    other.kill()
    leader.join(20)
    assert other.exitcode == -signal.SIGKILL
    assert leader.exitcode not in (None, 0)  # it does not go on alone, and does not wait for ever
    assert both(tmp_path / "run", resume=True, **OPTIONS) == [0, 0]
    assert prints(tmp_path / "run") == prints(tmp_path / "whole")


def test_an_observer_of_the_first_stops_all(tmp_path):
    assert both(tmp_path, **OPTIONS, stop=2) == [4, 4]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2
    assert (tmp_path / "checkpoints" / "last.safetensors").exists()


def test_a_signal_to_one_stops_all_with_a_checkpoint(tmp_path):
    leader, other = pair(tmp_path, **OPTIONS, epochs=200)
    wait_for(tmp_path, 2, leader)
    other.terminate()
    for process in (leader, other):
        process.join(20)
    assert [leader.exitcode, other.exitcode] == [143, 143]
    assert (tmp_path / "checkpoints" / "last.safetensors").exists()


def test_the_command_line_starts_processes_that_join(tmp_path, monkeypatch):
    """A runner in place of torchrun tells what it was asked to run."""
    from vaekit.cli import processes

    monkeypatch.setattr(processes.sys, "executable", "/bin/echo")
    assert processes.launch(2, ["fit", "rows.csv", "--processes", "2", "--out", str(tmp_path)]) == 0
    monkeypatch.setenv("RANK", "1")
    assert not processes.alone()


def test_manifests_fit_the_schemas_of_kubernetes_and_kubeflow():
    kubernetes = pytest.importorskip("kubernetes_validate")
    models = pytest.importorskip("kubeflow_trainer_api.models")
    folder = Path(__file__).parents[2] / "deploy" / "train"
    for document in yaml.safe_load_all((folder / "job.yaml").read_text()):
        kubernetes.validate(document, kubernetes.latest_version(), strict=True)
        if document["kind"] == "Job":
            asked = document["spec"]["template"]["spec"]["containers"][0]
            assert f"--nnodes={document['spec']['completions']}" in asked["command"]
            assert "--resume" in asked["args"]
    job = yaml.safe_load((folder / "trainjob.yaml").read_text())
    assert models.TrainerV1alpha1TrainJob.from_dict(job).to_dict() == job  # what the schema does not know would be lost
    job["spec"]["trainer"]["nodes"] = 3
    assert models.TrainerV1alpha1TrainJob.from_dict(job).to_dict() != job

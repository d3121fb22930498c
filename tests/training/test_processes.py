"""Two processes that train one model together, over Gloo."""

from __future__ import annotations

import json
import signal

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.training.lives import pair, prints, wait_for, whole

OPTIONS = {"batch_size": 21, "patience": 99}


def both(folder, resume=False, **options):
    processes = pair(folder, resume, **options)
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


@pytest.mark.parametrize("mode", [{"ema": 0.9, "micro_batch": 4}, {"recipe": "sigma-vae"}], ids=["averaged", "moving scale"])
def test_two_processes_train_as_one_does_with_the_same_batch(tmp_path, mode):
    """Batches of 21 rows are cut unevenly, the last one of an epoch too; hidden cells and noise are those of one."""
    options = OPTIONS | mode
    alone = {name: value for name, value in options.items() if name != "micro_batch"}
    whole(tmp_path / "one", **alone)
    assert both(tmp_path / "two", **options) == [0, 0]
    one, two = ([json.loads(line) for line in (tmp_path / name / "metrics.jsonl").open()] for name in ("one", "two"))
    assert len(one) == len(two)
    for a, b in zip(one, two, strict=True):
        assert (a["step"], a["stage"]) == (b["step"], b["stage"])
        assert b["train"]["loss"] == pytest.approx(a["train"]["loss"], rel=2e-3)
        assert b["valid"]["elbo"] == pytest.approx(a["valid"]["elbo"], rel=2e-3)
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


def test_a_signal_to_one_stops_all_with_a_checkpoint(tmp_path):
    leader, other = pair(tmp_path, **OPTIONS, epochs=200)
    wait_for(tmp_path, 2, leader)
    other.terminate()
    for process in (leader, other):
        process.join(20)
    assert [leader.exitcode, other.exitcode] == [143, 143]
    assert (tmp_path / "checkpoints" / "last.safetensors").exists()

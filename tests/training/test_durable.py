"""Runs that are killed, stopped, or out of space, in processes of their own, go on as if nothing had been."""

from __future__ import annotations

import os
import random
import signal

import pytest
import torch

from tests.training.lives import prints, start, wait_for, whole
from vaekit.errors import ConfigError
from vaekit.training import TrainConfig
from vaekit.training.step import Figures

MODES = {
    "averaged half precision": {"ema": 0.9, "precision": "bfloat16"},
    "critic": {"recipe": "factor-vae"},
    "stages and codebooks": {"recipe": "vq-vae"},
}


@pytest.fixture(scope="module")
def left_alone(tmp_path_factory):
    """Runs of each mode that nobody killed."""
    folder = tmp_path_factory.mktemp("whole")
    processes = [start(folder / name, **options) for name, options in MODES.items()]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    return folder


@pytest.mark.parametrize("mode", MODES)
def test_a_run_killed_at_any_moment_goes_on_to_the_same_bits(left_alone, tmp_path, mode):
    """With a checkpoint after each step most kills fall into the writing of one."""
    dice, options = random.Random(mode), {**MODES[mode], "checkpoint_seconds": 1e-9}
    for number in range(2):
        process = start(tmp_path / "run", resume=number > 0, **options)
        wait_for(tmp_path / "run", 1 + 8 * number + dice.randrange(6), process)
        process.join(dice.random() * 0.03)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    whole(tmp_path / "run", resume=True, **options)
    assert prints(tmp_path / "run") == prints(left_alone / mode)
    assert not list((tmp_path / "run" / "checkpoints").glob(".*"))  # nothing half written is left


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 1)])
def test_a_signal_ends_a_run_with_a_checkpoint(left_alone, tmp_path, sent, code):
    mode = "averaged half precision"
    process = start(tmp_path / "run", **MODES[mode], checkpoint_seconds=1e9)
    wait_for(tmp_path / "run", 3, process)
    os.kill(process.pid, sent)
    process.join()
    assert process.exitcode == code  # KeyboardInterrupt is an exit code of the command line alone
    lines = len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    whole(tmp_path / "run", resume=True, **MODES[mode])
    assert prints(tmp_path / "run") == prints(left_alone / mode)
    assert 3 <= lines < len(prints(tmp_path / "run")["metrics"])


def test_a_full_disk_is_an_error_that_leaves_the_run_as_it_was(tmp_path):
    """A file that may grow no further fails to be written as on a full disk."""
    options = {"width": 96}  # checkpoints that are larger than all other files
    whole(tmp_path / "whole", **options)
    size = (tmp_path / "whole" / "checkpoints" / "best.safetensors").stat().st_size
    process = start(tmp_path / "run", **options, largest=size - 1)
    process.join()
    assert process.exitcode == 3
    said = (tmp_path / "run" / "said").read_text()
    assert "checkpoints/best.safetensors cannot be written (File too large)" in said
    assert "--resume" in said
    assert not list((tmp_path / "run" / "checkpoints").glob(".*"))
    whole(tmp_path / "run", resume=True, **options)
    assert prints(tmp_path / "run") == prints(tmp_path / "whole")


def test_old_checkpoints_are_dropped_and_any_that_is_kept_can_be_gone_back_to(tmp_path):
    options = {"keep": 3, "patience": 99}
    whole(tmp_path, **options)
    found, folder = prints(tmp_path), tmp_path / "checkpoints"
    older = sorted(folder.glob("step-*"))
    assert len(older) == 3
    assert older[-1].samefile(folder / "last.safetensors")
    os.replace(older[0], folder / "last.safetensors")
    whole(tmp_path, resume=True, **options)
    assert prints(tmp_path) == found
    with pytest.raises(ConfigError, match="keep must be at least 1"):
        TrainConfig(keep=0)


def test_figures_go_on_by_name_whatever_order_a_checkpoint_gives_them():
    step = ("loss", "kl"), torch.tensor([3.0, 1.0]), 2
    found = Figures()
    found.add(*step)
    again = Figures.restored(dict(sorted(found.sum().items())), found.rows, torch.device("cpu"))
    again.add(*step)
    assert again.values() == {"kl": 1.0, "loss": 3.0}

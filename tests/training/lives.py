"""A run in a process of its own, which can be killed; the process is forked from a server that has loaded torch."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import socket
import sys
import time
from pathlib import Path
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.training.lives", "vaekit.training", "sklearn.datasets", "torch._dynamo"])

os.fsync = lambda file: None  # as in the tests themselves, for the processes that are forked
OPTIONS = {"epochs": 5, "width": 16, "depth": 1, "latent": 2, "batch_size": 16, "threads": 1, "compile": False}


def start(
    folder: Path,
    resume: bool = False,
    largest: int | None = None,
    together: dict[str, str] | None = None,
    stop: int | None = None,
    **options: Any,
) -> Any:
    """Begin a run on the wine data, or go on with it.

    Args:
        folder: Its folder.
        resume: Go on.
        largest: The size of a file that may be written.
        together: What tells it of other processes that train the same model.
        stop: The number of the validation at which an observer ends the run.
        options: Settings.
    """
    process = CONTEXT.Process(target=_live, args=(folder, resume, largest, together or {}, stop, OPTIONS | options))
    process.start()
    return process


def whole(folder: Path, resume: bool = False, **options: Any) -> None:
    """A run to its end."""
    process = start(folder, resume, **options)
    process.join()
    assert process.exitcode == 0


def pair(folder: Path, resume: bool = False, **options: Any) -> list[Any]:
    """Two processes that train one model."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [start(folder, resume, None, common | {"RANK": str(rank)}, **options) for rank in range(2)]


def prints(folder: Path) -> dict[str, Any]:
    """What has to be the same: all tensors and positions of both checkpoints, and all metrics but for times."""
    from safetensors import safe_open

    found: dict[str, Any] = {}
    for name in ("last", "best"):
        with safe_open(folder / "checkpoints" / f"{name}.safetensors", framework="np") as file:
            found |= {f"{name} {key}": file.get_tensor(key).tobytes() for key in file.keys()}  # noqa: SIM118
            position = json.loads(file.metadata()["position"])
            found[f"{name} position"] = {
                key: value for key, value in position.items() if key not in ("seconds", "began")
            }
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    found["metrics"] = [{key: value for key, value in line.items() if key != "seconds"} for line in lines]
    return found


def wait_for(folder: Path, lines: int, process: Any) -> None:
    """Until so many validations were done."""
    metrics = folder / "metrics.jsonl"
    while process.exitcode is None and (not metrics.exists() or metrics.read_bytes().count(b"\n") < lines):
        time.sleep(0.002)


def _live(
    folder: Path, resume: bool, largest: int | None, together: dict[str, str], stop: int | None, options: dict[str, Any]
) -> None:
    from sklearn.datasets import load_wine

    from vaekit.errors import TrainingError
    from vaekit.fields import Contract
    from vaekit.fields.tables import to_arrow
    from vaekit.training import load_config, train
    from vaekit.training.observers import Observer, Stopped

    class Ends(Observer):
        seen = 0

        def validated(self, metrics: Any) -> None:
            self.seen += 1
            if self.seen == stop:
                raise Stopped("enough")

    os.environ.update(together)
    recipe = options.pop("recipe", None)
    table = to_arrow(load_wine(as_frame=True).frame.iloc[:, [0, 1, 4, 12]])
    if largest is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    try:
        config = load_config(None, recipe).override(**options)
        train(table, Contract.infer(table), config, out=folder, resume=resume, progress=False, observers=[Ends()])
    except Stopped:
        sys.exit(4)
    except TrainingError as error:
        (folder / "said").write_text(str(error))
        sys.exit(3)

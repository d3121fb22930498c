"""A fit from rows to a trained model: splits, contract on training rows, stages, metrics, record."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import torch

from vaekit.errors import ConfigError, NotFiniteError, TrainingError, differing
from vaekit.fields.batches import Source
from vaekit.fields.contract import Contract
from vaekit.fields.sources import open_source
from vaekit.memory import peak_memory
from vaekit.nn.build import ModelConfig, build
from vaekit.nn.vae import VAE
from vaekit.training import checkpoint
from vaekit.training.balance import ROWS as BALANCE_ROWS
from vaekit.training.balance import balanced, field_weights, size_weights
from vaekit.training.batches import Resident
from vaekit.training.choose import choose
from vaekit.training.config import Config, TrainConfig
from vaekit.training.failing import failures
from vaekit.training.floor import floor_seconds
from vaekit.training.gathering import LEAST_ROWS, Gathered, gather, stopping_rows
from vaekit.training.lineage import identified
from vaekit.training.loop import Loop
from vaekit.training.losses import require_commitment
from vaekit.training.metrics_log import MetricsLog
from vaekit.training.observers import Begun, Observer, Stopped, watched
from vaekit.training.pace import Pace, choose_pace, threads
from vaekit.training.progress import Progress
from vaekit.training.ranks import Ranks, joined, local_device
from vaekit.training.recipes import recipe
from vaekit.training.record import environment
from vaekit.training.saving import Saver, write_run
from vaekit.training.signals import Stopping
from vaekit.training.spent import Spent
from vaekit.training.splits import Splits
from vaekit.training.stages import Stage, default_stages

__all__ = ["LEAST_ROWS", "Trained", "train"]

_RESTARTS = 3
_HOUSEKEEPING = ("threads", "on_nan", "keep", "checkpoint_seconds")  # a resumed run may have others
_BUDGET = ("epochs", "max_seconds")  # changes no step


@dataclass(frozen=True)
class Trained:
    """What a fit gives: the model with its best weights, the contract fitted on training rows, and the record.

    The splits number `rows`: all of them, or of rows that stream those for early stopping and calibration and a sample
    of those for training. Of several processes the first one `leads`, and writes what is written.
    """

    vae: VAE
    contract: Contract
    splits: Splits
    rows: pa.Table
    model: ModelConfig
    history: list[dict[str, Any]]
    record: dict[str, Any]
    leads: bool = True


def train(
    data: pa.Table | Source,
    contract: Contract,
    config: Config,
    *,
    out: Path | None = None,
    resume: bool = False,
    allow_drift: bool = False,
    progress: bool = True,
    inferred: bool = False,
    total: int | None = None,
    stages: Callable[[TrainConfig, int], list[Stage]] = default_stages,
    observers: Sequence[Observer] = (),
    parent: Mapping[str, Any] | None = None,
) -> Trained:
    """Train a VAE on rows.

    Args:
        data: All rows; those that are not in memory stream from where they are, encoded once and kept on disk.
        contract: Fields with kinds and roles; transforms are fitted here, on training rows only.
        config: The configuration.
        out: Run folder for checkpoints and metrics.
        resume: Go on from the checkpoint in `out`; the run begins if there is none yet.
        allow_drift: Go on although settings or data are others than those that the run was begun with, and say which.
        progress: Show progress on standard error.
        inferred: Nobody has looked at the contract: likelihoods are chosen by pilot fits unless ``choose`` says no.
        total: Rows that the table is a sample of, if it is one; for the record.
        stages: Makes the stages from the sized configuration and the steps per epoch.
        observers: Told when training begins, at each validation, and when it ends; of several processes by the first.
        parent: The run that this one comes from, for the record.

    Returns:
        The trained model.

    Raises:
        Stopped: If an observer ended the run, which can be gone on with.
        TrainingError: If there are too few rows, or training cannot go on.
        ContractError: If the rows do not fit the contract, or it models nothing.
        ConfigError: If options contradict each other.
    """
    if resume and out is None:
        raise ConfigError("resume needs out=, the folder of the run to go on with")
    device = choose_device(local_device(config.device))
    ranks = joined(device)
    if out is not None:  # without it nothing was kept
        resume = resume or int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
    if not ranks.leads:
        progress = False
    gathered = gather(open_source(data), contract, config.training, config.rows_seed)
    # what defines values (levels) comes from all rows, what is estimated (transforms) from training rows only
    if config.recipe is not None:
        contract = recipe(config.recipe).prepare(contract)
    contract, count = gathered.fit(contract).require_usable(), gathered.sizes["train"]
    training = config.training.sized(count)
    record = {
        "config": msgspec.to_builtins(config) | {"training": msgspec.to_builtins(training)},
        "data": gathered.record | ({} if total in (None, gathered.record["rows"]) else {"sampled_from": total}),
        "environment": environment(),
        "rows": gathered.sizes | {"split": gathered.splits.by} | ({"streamed": True} if gathered.streams else {}),
    }
    record = ranks.agree(identified(record, parent, out if resume else None) if ranks.leads else None)
    model = config.architecture(count, sum(spec.width for spec in contract.blocks()))
    require_commitment(model, training)
    with Progress(progress) as shown:
        if out is not None:
            resume = ranks.agree(_begun(out, resume, shown.note) if ranks.leads else None)
            out = out if ranks.leads else None
        if training.choose or (training.choose is None and inferred):
            with threads(training.threads):
                contract, record["choice"] = _chosen(
                    gathered, contract, model, training, config.seed, device, shown.note, resume, out, ranks
                )
        seen = gathered.encoded(contract, device)
        stopping = stopping_rows(gathered)
        unseen = Resident(contract.encode(stopping), device)
        with failures(out, record):
            vae = build(contract.blocks(), model, config.seed).to(device)
        fingerprint = {"contract": contract.hash, "data": record["data"]["sha256"], "model": msgspec.to_builtins(model)}
        meant = {name: value for name, value in msgspec.to_builtins(training).items() if name not in _HOUSEKEEPING}
        fingerprint |= {"training": meant, "seed": config.seed}
        if config.split_seed is not None:
            fingerprint["split_seed"] = config.split_seed
        saver = None
        if out is not None:
            saver = Saver(out / "checkpoints", fingerprint, training.keep, training.checkpoint_seconds)
        training = _left(training, record.get("choice"))
        steps = -(-count // (training.batch_size or 1))
        made = _stages(stages, training, steps, contract, gathered)
        loop = Loop(
            vae,
            seen,
            unseen,
            training,
            config.seed,
            saver,
            stopping=Stopping(enabled=out is not None or ranks.count > 1),
            ranks=ranks,
        )
        with failures(out, record):
            pace = _pace(loop, made, steps, model, contract, shown.note, out if resume else None)
            pace = msgspec.convert(ranks.agree(msgspec.to_builtins(pace)), Pace)
        record["pace"] = msgspec.to_builtins(pace)
        loop.config = training = _shortened(pace.choice.applied(training), pace.seconds)
        if out is not None and saver is not None:
            _prepare(out, contract, record, saver, resume, shown.warn if allow_drift else None)
        log = MetricsLog(out / "metrics.jsonl" if out else None, _lines(saver) if resume else 0)

        def validated(metrics: dict[str, Any]) -> None:
            log.add(metrics)
            shown.validated(metrics)
            try:
                tell(metrics)
            except Stopped as stopped:
                loop.stopping.ask(stopped)

        loop.on_validation, loop.on_step = validated, shown.step
        told = observers if ranks.leads else ()
        begun = Begun(vae, contract, stopping, record, out, tuple(log.history))
        with threads(training.threads), failures(out, record), watched(told, begun) as tell, loop.stopping:
            began = time.monotonic()
            _persevere(loop, lambda: _stages(stages, training, steps, contract, gathered), resume, record, shown.warn)
            spent = _spent(loop, made[0], shown.rows, time.monotonic() - began, log.history, config.price_per_hour)
        record["spent"] = msgspec.to_builtins(spent)
        shown.note(f"trained: {spent}")
        if out is not None:
            _write_record(out, record)
    return Trained(vae.to("cpu"), contract, gathered.splits, gathered.rows, model, log.history, record, ranks.leads)


def _stages(
    stages: Callable[[TrainConfig, int], list[Stage]],
    training: TrainConfig,
    steps: int,
    contract: Contract,
    gathered: Gathered,
) -> list[Stage]:
    made = stages(training, steps)
    if training.balance == "entropy":
        some = contract.encode(gathered.some().slice(0, BALANCE_ROWS))
        made = balanced(made, field_weights(contract.blocks(), some), steps)
    elif training.balance == "size":
        made = balanced(made, size_weights(contract.blocks()), steps)
    return made


def _persevere(
    loop: Loop,
    made: Callable[[], list[Stage]],
    resume: bool,
    record: dict[str, Any],
    warn: Callable[[str], None],
) -> None:
    """Run to the end; if asked to, go on from the last checkpoint at half the rate after NaN or infinity."""
    tries = _RESTARTS if loop.config.on_nan == "restart" and loop.ranks.agree(loop.saver is not None) else 0
    while True:
        try:
            loop.run(made(), resume=resume)
            return
        except NotFiniteError as error:
            if loop.slowed >= tries:
                raise
            loop.slowed, resume = loop.slowed + 1, True
            record.setdefault("restarts", []).append({"slowed": loop.slowed, "why": str(error)})
            warn(f"{error}. Going on from the last checkpoint at 1/{2**loop.slowed} of the learning rate")


def _chosen(
    rows: Gathered,
    contract: Contract,
    model: ModelConfig,
    training: TrainConfig,
    seed: int,
    device: torch.device,
    say: Callable[[str], None],
    resume: bool,
    out: Path | None,
    ranks: Ranks,
) -> tuple[Contract, dict[str, Any] | None]:
    """The contract with chosen likelihoods, and how they were chosen; a resumed run keeps what it had chosen."""
    told = None
    if ranks.leads:
        found, record = _chosen_here(rows, contract, model, training, seed, device, say, out if resume else None)
        told = [found.to_json(), record]
    if ranks.count == 1:
        return found, record
    text, record = ranks.agree(told)
    return Contract.from_json(text), record


def _chosen_here(
    rows: Gathered,
    contract: Contract,
    model: ModelConfig,
    training: TrainConfig,
    seed: int,
    device: torch.device,
    say: Callable[[str], None],
    resumed: Path | None,
) -> tuple[Contract, dict[str, Any] | None]:
    if resumed is not None:
        stored = _stored(resumed, "choice")
        return (rows.refit(Contract.load(resumed / "contract.json")) if stored else contract), stored
    choice = choose(rows.some(), contract, model, training, seed=seed, device=device, say=say)
    return (contract, None) if choice is None else (rows.refit(choice.contract), choice.record)


def _stored(out: Path, part: str) -> dict[str, Any] | None:
    """A part of the record of the run in a folder."""
    path = out / "run.json"
    try:
        found: dict[str, Any] | None = json.loads(path.read_bytes()).get(part)
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path}: not a readable record ({error}); start afresh without resume") from error
    return found


def _left(training: TrainConfig, choice: dict[str, Any] | None) -> TrainConfig:
    """The configuration with the time that is left after choosing likelihoods."""
    return training if choice is None else _shortened(training, choice["seconds"])


def _shortened(training: TrainConfig, seconds: float) -> TrainConfig:
    if training.max_seconds is None:
        return training
    return msgspec.structs.replace(training, max_seconds=max(training.max_seconds - seconds, 1e-3))


def _pace(
    loop: Loop,
    made: list[Stage],
    steps: int,
    model: ModelConfig,
    contract: Contract,
    say: Callable[[str], None],
    resumed: Path | None,
) -> Pace:
    """How steps are computed; a resumed run goes on as it began."""
    if resumed is not None and (stored := _stored(resumed, "pace")) is not None:
        return msgspec.convert(stored, Pace)
    training = msgspec.to_builtins(loop.config)
    shapes = {
        "model": msgspec.to_builtins(model),
        "blocks": msgspec.to_builtins(contract.blocks()),
        "training": {name: training[name] for name in sorted(training.keys() - {*_HOUSEKEEPING, *_BUDGET})},
    }
    return choose_pace(loop, made, sum(stage.epochs for stage in made) * steps, shapes, say)


def _spent(
    loop: Loop, stage: Stage, rows: int, seconds: float, history: list[dict[str, Any]], price_per_hour: float | None
) -> Spent:
    """What the run cost; rows are those of all processes, device-seconds those of all that was resumed."""
    device, held = loop.train.device, history[-1]["seconds"] if history else seconds
    batch = loop.config.batch_size or len(loop.train)
    memory = peak_memory()  # before the floor is measured, which takes some of its own
    held_there = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    floor = floor_seconds(loop, stage, seconds) * rows / batch / loop.ranks.count  # a share of each batch
    return Spent(
        rows_per_second=round(rows / max(seconds, 1e-9), 1),
        floor_share=round(floor / max(seconds, 1e-9), 4),
        peak_memory=round(memory, 1),
        device_memory=None if held_there is None else round(held_there / 2**20, 1),
        device_seconds=held,
        price_per_hour=price_per_hour,
        price=None if price_per_hour is None else round(price_per_hour * held / 3600.0, 6),
    )


def choose_device(name: str) -> torch.device:
    """The device of a name; ``auto`` takes a GPU if there is one.

    Raises:
        ConfigError: If there is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.zeros(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {name!r} is not available here: {error}") from error


def _begun(out: Path, resume: bool, say: Callable[[str], None]) -> bool:
    """Whether there is a checkpoint to go on from.

    Raises:
        ConfigError: If there is one, but nobody asked to go on from it.
    """
    found = (out / "checkpoints" / "last.safetensors").exists()
    if found and not resume:
        raise ConfigError(f"{out} already holds a run; resume it (resume=True, --resume), or choose another folder")
    if resume and not found:
        say(f"no checkpoint in {out} yet: the run starts from the beginning")
    return found


def _prepare(
    out: Path,
    contract: Contract,
    record: dict[str, Any],
    saver: Saver,
    resume: bool,
    warn: Callable[[str], None] | None,
) -> None:
    """Write what describes the run into its folder, once a resumed run is known to be the one that was begun."""
    if resume and (drift := differing(checkpoint.read(saver.last).fingerprint, saver.fingerprint)):
        if warn is None:
            raise ConfigError(
                f"cannot resume, the run was started with other settings: {drift}. Put them back, or take over what "
                "was learned so far with allow_drift=True (--allow-drift)"
            )
        record["drift"] = drift
        warn(f"going on with weights, optimizer and position of a run that was started otherwise: {drift}")
    write_run(out / "contract.json", contract.to_json().encode())
    (out / "failure.json").unlink(missing_ok=True)
    _write_record(out, record)


def _write_record(out: Path, record: dict[str, Any]) -> None:
    write_run(out / "run.json", msgspec.json.format(msgspec.json.encode(record), indent=1))


def _lines(saver: Saver | None) -> int:
    """Validations before the last checkpoint."""
    return checkpoint.read(saver.last).position.lines if saver else 0

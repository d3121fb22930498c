"""The pace of a run: precision, threads and compilation, chosen before the first step by measuring them on its rows."""

from __future__ import annotations

import copy
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import torch

from vaekit.errors import ConfigError, NotFiniteError
from vaekit.files import sha256, write_file
from vaekit.training.checkpoint import Position
from vaekit.training.config import TrainConfig
from vaekit.training.ranks import Ranks
from vaekit.training.step import Drawn, Step
from vaekit.training.store import cache_folder

if TYPE_CHECKING:
    from vaekit.training.loop import Loop
    from vaekit.training.stages import Stage

__all__ = ["Choice", "Pace", "choose_pace", "threads"]

_FEWEST = 1000  # steps below which nothing is measured
_LONG = 60.0  # seconds of training from which measuring pays
_VERY_LONG = 400.0  # seconds from which compiling pays, which takes up to a minute
_ROUND, _ROUNDS, _MOST = 0.1, 5, 15.0  # seconds of a candidate's turn, turns, seconds of all of them
_BATCHES = 8  # that are taken in turn
_HOPELESS = 3.0  # what is so many times slower than the fastest at first sight takes no turns
_GAIN = 1.03  # a candidate has to be this much faster than the plain step
_SHORT = "the run is too short for measuring to pay"
_SAME = 1e-3  # largest relative change of the loss that half precision may make


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """How steps are computed; for the same choice, results are the same to the bit.

    Args:
        precision: ``float32`` or ``bfloat16``.
        threads: Processor threads; None leaves them to PyTorch.
        compile: Whether the step is compiled.

    Example:
        >>> str(Choice(precision="bfloat16", threads=1))
        'bfloat16, 1 thread'
    """

    precision: str = "float32"
    threads: int | None = None
    compile: bool = False

    def __str__(self) -> str:
        number = "" if self.threads is None else f", {self.threads} thread{'s' if self.threads > 1 else ''}"
        return f"{self.precision}{number}{', compiled' if self.compile else ''}"

    def applied(self, config: TrainConfig) -> TrainConfig:
        """The configuration with everything decided."""
        return msgspec.structs.replace(
            config, precision=self.precision, threads=self.threads or "auto", compile=self.compile
        )


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """A choice, and how it was made.

    Args:
        choice: The choice.
        why: How it was made.
        measured: Rows per second of what was compared.
        seconds: Seconds that it took.
    """

    choice: Choice
    why: str = "as asked"
    measured: dict[str, float] = {}
    seconds: float = 0.0


def choose_pace(
    loop: Loop, stages: list[Stage], steps: int, shapes: Mapping[str, Any], say: Callable[[str], None] = lambda _: None
) -> Pace:
    """Choose what the configuration leaves to ``auto``.

    What was chosen once is remembered for the same machine, model and training, so that the same run finds it again.

    Args:
        loop: The run; nothing of it is changed.
        stages: Its stages; the first is measured.
        steps: Steps of the whole run.
        shapes: What the speed depends on: blocks, model, ...
        say: Told when measuring begins.

    Returns:
        The pace.
    """
    config = loop.config
    asked = {name: getattr(config, name) for name in ("precision", "threads", "compile")}
    plain = Choice(
        precision="float32" if config.precision == "auto" else config.precision,
        threads=None if config.threads == "auto" else config.threads,
        compile=config.compile is True,
    )
    if "auto" not in asked.values():
        return Pace(choice=plain)
    if steps < _FEWEST or (config.max_seconds or _LONG) < _LONG:
        return Pace(choice=plain, why=_SHORT)
    began = time.perf_counter()
    long = (config.max_seconds or _VERY_LONG) >= _VERY_LONG
    key = _key(loop, {**shapes, **asked, "length": steps.bit_length(), "long": long})
    trial = _Trial(loop, stages[0])
    try:
        if (found := _read(key)) is not None and trial.same(plain, found.choice):
            found = _compiled_throughout(found, plain, loop, stages)
            return msgspec.structs.replace(found, seconds=_since(began))
        planned = min(steps * trial.seconds(plain, 3), config.max_seconds or float("inf"))
        if planned < _LONG:
            return Pace(choice=plain, why=_SHORT)
        say(f"choosing threads, precision and compilation for a run of about {planned:.0f} s")
        best, measured = trial.race(_open(plain, config, loop.train.device))
        why = "measured"
        if config.compile == "auto" and planned >= _VERY_LONG and "critic" not in trial.step(plain).phases:
            try:
                best, more = trial.race([best, msgspec.structs.replace(best, compile=True)])
                measured |= more
            except ConfigError as error:
                why = f"measured; {error}"
        best = _compiled_throughout(Pace(choice=best), plain, loop, stages[1:]).choice
    except NotFiniteError as error:
        return Pace(choice=plain, why=f"not measured: {error}", seconds=_since(began))
    rounded = {name: float(round(rate)) for name, rate in measured.items()}
    pace = Pace(choice=best, why=why, measured=rounded, seconds=_since(began))
    with suppress(OSError, RuntimeError):  # what cannot be kept is measured again
        write_file(_place(key), msgspec.json.format(msgspec.json.encode(pace), indent=1))
    return pace


def _compiled_throughout(pace: Pace, plain: Choice, loop: Loop, stages: list[Stage]) -> Pace:
    """The same, but not compiled where nobody asked for that and some of these stages cannot be."""
    if not pace.choice.compile or plain.compile:
        return pace
    try:
        for stage in stages:
            _Trial(loop, stage).seconds(pace.choice, 1)
    except ConfigError as error:
        warnings.warn(f"the steps are not compiled: {error}", stacklevel=2)
        choice = msgspec.structs.replace(pace.choice, compile=False)
        return msgspec.structs.replace(pace, choice=choice, why=f"{pace.why}; {error}")
    return pace


def _since(began: float) -> float:
    return round(time.perf_counter() - began, 3)


@contextmanager
def threads(count: int | Literal["auto"] | None) -> Iterator[None]:
    """Use so many processor threads for a while; without a number PyTorch's choice."""
    before = torch.get_num_threads()
    torch.set_num_threads(count if isinstance(count, int) else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Trial:
    """A copy of a run, whose steps are timed."""

    def __init__(self, loop: Loop, stage: Stage) -> None:
        self.stage = stage
        self.loop = replace(loop, vae=copy.deepcopy(loop.vae), saver=None, ranks=Ranks())
        self.batch = min(loop.config.batch_size or len(loop.train), len(loop.train))
        self.total = stage.epochs * -(-len(loop.train) // self.batch)
        self.steps: dict[Choice, Step] = {}
        self.done = 0

    def step(self, choice: Choice) -> Step:
        """The step of a choice; all of them move the same weights, and critics of their own."""
        if choice not in self.steps:
            self.loop.config = choice.applied(self.loop.config)
            own = replace(self.stage, objective=copy.deepcopy(self.stage.objective))
            self.steps[choice] = self.loop.ready(own)
        return self.steps[choice]

    def seconds(self, choice: Choice, count: int) -> float:
        """Seconds of a step at the rate of a first one, mean over so many, after one to warm up."""
        train, began = self.loop.train, 0.0
        rng = torch.Generator(device=train.device).manual_seed(0)
        whole = [train.draw(self.batch, rng) for _ in range(_BATCHES)]
        with threads(choice.threads):
            step = self.step(choice)
            for index in range(count + 1):
                if index == 1:
                    step.check()
                    began = time.perf_counter()
                optimizers = {name: phase.optimizer for name, phase in step.phases.items()}
                self.loop.set_rates(step.stage, optimizers, 0, self.total, 0.0)
                step(train.take(whole[self.done % len(whole)]), Position(step=self.done))
                self.done += 1
            step.check()
        return (time.perf_counter() - began) / count

    def race(self, choices: list[Choice]) -> tuple[Choice, dict[str, float]]:
        """The fastest choice, the first unless another is clearly faster; and rows per second of all of them."""
        first = {choice: self.seconds(choice, 2) for choice in choices}
        hopeless = _HOPELESS * min(first.values())  # such as more threads than there are free cores
        choices = [choice for choice in choices if choice is choices[0] or first[choice] < hopeless]
        counts = {choice: max(1, round(_ROUND / first[choice])) for choice in choices}
        taken: dict[Choice, list[float]] = {choice: [] for choice in choices}
        began = time.perf_counter()
        for index in range(_ROUNDS):
            if index and time.perf_counter() - began > _MOST:
                break
            turn = index % len(choices)
            for choice in choices[turn:] + choices[:turn]:
                taken[choice].append(self.seconds(choice, counts[choice]))
        median = {choice: statistics.median(values) for choice, values in taken.items()}
        fastest = min((choice for choice in choices if self.same(choices[0], choice)), key=median.__getitem__)
        chosen = fastest if median[choices[0]] > _GAIN * median[fastest] else choices[0]
        return chosen, {str(choice): self.batch / seconds for choice, seconds in median.items()}

    def same(self, plain: Choice, choice: Choice) -> bool:
        """Whether the loss of some rows is the same in half precision, to one in a thousand."""
        if choice.precision == plain.precision:
            return True
        rows = self.loop.train.take(slice(0, 4096))
        losses = [self._loss(self.step(one), rows) for one in (plain, choice)]
        return abs(losses[0] - losses[1]) <= _SAME * abs(losses[0])

    @torch.no_grad()
    def _loss(self, step: Step, rows: dict[str, Any]) -> float:
        """The loss of some rows, all terms at the weight that schedules end with."""
        self.loop.set_rates(step.stage, {}, self.total, self.total, 1.0)
        drawn: Drawn = step.draw(rows, torch.Generator(device=step.device).manual_seed(0))
        return float(torch.stack(list(step.terms(drawn)[1].values())).sum(0).mean())


def _open(plain: Choice, config: TrainConfig, device: torch.device) -> list[Choice]:
    """The plain choice first, and all others that are left open, not compiled."""
    numbers = [plain.threads]
    if config.threads == "auto" and device.type == "cpu":
        powers = {1 << power for power in range(_cores().bit_length())} | {_cores()}
        numbers += sorted(powers - {torch.get_num_threads()})
    kinds = ["float32", "bfloat16"] if config.precision == "auto" else [plain.precision]
    return [msgspec.structs.replace(plain, precision=kind, threads=count) for kind in kinds for count in numbers]


def _key(loop: Loop, shapes: Mapping[str, Any]) -> str:
    """What stands for this machine and these shapes."""
    device = loop.train.device
    machine = [_processor(), _cores(), torch.get_num_threads(), device.type, str(torch.__version__)]
    machine += [torch.cuda.get_device_name(device)] if device.type == "cuda" else []
    return sha256(msgspec.json.encode([machine, shapes], order="sorted"))[:32]


def _place(key: str) -> Path:
    """Where the choice of a key is kept."""
    return cache_folder().with_name("pace") / f"{key}.json"


def _cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = {line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "flags", "Features"))}
    return " ".join(sorted(names))


def _read(key: str) -> Pace | None:
    """A choice that was kept; None if there is none that can be read."""
    try:
        found = msgspec.json.decode(_place(key).read_bytes(), type=Pace)
    except (OSError, RuntimeError, msgspec.DecodeError):
        return None
    return msgspec.structs.replace(found, why=f"{found.why} by an earlier run")

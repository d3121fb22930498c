"""What trackers are told of a run, and when; and how busy the machine was, which RUN/usage.jsonl keeps in any case."""

from __future__ import annotations

import base64
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import msgspec

from vaekit.arrays import generator
from vaekit.bundle import Architecture
from vaekit.bundle.lineage import lineage
from vaekit.errors import ConfigError
from vaekit.files import write_file
from vaekit.tracking import End, Lane, Look, Run, make_trackers
from vaekit.tracking.base import Outcome
from vaekit.tracking.flat import dotted, scalars
from vaekit.tracking.usage import Usage
from vaekit.training.metrics_log import MetricsLog
from vaekit.training.observers import Begun, Observer, Stopped

if TYPE_CHECKING:
    from vaekit.training import Config

__all__ = ["Tracking", "asked_trackers"]

_EVERY = 6  # validations between two looks
_CODES, _SAMPLED = 256, 16  # rows


def asked_trackers(settings: Config, names: str | Sequence[str] | None) -> list[Lane]:
    """The trackers that a fit asks for, by name or in its configuration.

    Args:
        settings: The configuration, with options of trackers.
        names: Which of them, or others with their defaults; all of the configuration if not given.

    Raises:
        ConfigError: If one is unknown, has no such option, or is not installed.
    """
    if names is None:
        asked = settings.track
    else:
        listed = names.split(",") if isinstance(names, str) else names
        asked = {name.strip(): settings.track.get(name.strip(), {}) for name in listed}
    return make_trackers(asked)


class Tracking(Observer):
    """Tells trackers of a run; a context that tells them how it ended, whatever happened.

    Args:
        lanes: The trackers.
        seed: Seed of every choice of rows.
    """

    def __init__(self, lanes: Sequence[Lane], seed: int) -> None:
        self._lanes, self._seed = lanes, seed
        self._usage, self._log = Usage(), MetricsLog(None)
        self._run: Begun | None = None
        self._figures: dict[str, float] | None = None
        self._error: BaseException | None = None
        self._seen = self._before = 0
        self._looks = True
        self._last: Mapping[str, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._error = error
        if self._run is not None and self._lanes:
            self._close(self._run)

    def begun(self, run: Begun) -> None:
        """Start every tracker."""
        self._run = run
        for line in run.history:
            self._count(line)
        if run.out is not None:
            self._log = MetricsLog(run.out / "usage.jsonl", len(run.history))
        told = Run(
            id=run.record["run"],
            folder=run.out,
            settings=dotted(run.record["config"]),
            facts=lineage(run.record) | {"contract": run.contract.hash, "data": run.record["data"]["sha256"]},
            contract=run.contract.to_json(),
            begun=self._step(),
        )
        for lane in self._lanes:
            lane.start(told)

    def validated(self, metrics: Mapping[str, Any]) -> None:
        """Tell them the figures, and now and then what the model looks like."""
        assert self._run is not None
        busy = self._usage.since() | self._rate(metrics)
        self._count(metrics)
        step = self._step()
        self._log.add({"step": step, **{name: round(value, 4) for name, value in busy.items()}})
        if not self._lanes:
            return
        values = scalars(metrics) | {f"usage/{name}": value for name, value in busy.items()}
        for lane in self._lanes:
            lane.scalars(step, values)
        if self._looks and self._seen % _EVERY == 1:
            self._look(step)

    def finished(self, evaluation: Mapping[str, Any]) -> None:
        """The fit has come to its end, and its bundle is written."""
        self._figures = scalars(evaluation)

    def _count(self, metrics: Mapping[str, Any]) -> None:
        """Steps of a stage begin at zero; those of the run go on."""
        if self._last and self._last["stage"] != metrics["stage"]:
            self._before += self._last["step"]
        self._last, self._seen = metrics, self._seen + 1

    def _step(self) -> int:
        return self._before + (self._last["step"] if self._last else 0)

    def _rate(self, metrics: Mapping[str, Any]) -> dict[str, float]:
        """Training rows per second since the last validation, validation included."""
        assert self._run is not None
        batch = self._run.record["config"]["training"]["batch_size"]
        same = bool(self._last) and self._last["stage"] == metrics["stage"]
        steps = metrics["step"] - (self._last["step"] if same else 0)
        seconds = metrics["seconds"] - (self._last["seconds"] if self._last else 0.0)
        return {"rows_per_second": steps * batch / seconds} if seconds > 0 else {}

    def _look(self, step: int) -> None:
        """A look at the model on rows that the seed chooses, the same ones each time."""
        assert self._run is not None
        from vaekit.training.looking import untouched

        run = self._run
        order = generator(self._seed, "tracked rows").permutation(run.rows.num_rows)
        some = run.rows.take(order[:_CODES])
        shows = any(lane.sees_rows for lane in self._lanes)
        try:
            with untouched(run.vae):
                found = _look(run, some, self._seed, shows)
        except Exception as error:  # pictures are no reason to end a run
            self._looks = False
            warnings.warn(f"trackers get no pictures of this run: {type(error).__name__}: {error}", stacklevel=2)
            return
        for lane in self._lanes:
            lane.look(step, found)

    def _close(self, run: Begun) -> None:
        """Tell all of the end, side by side, and write down how it went."""
        folder = run.out if run.out is not None else Path("/nonexistent")
        bundle, report = folder / "bundle", folder / "report.html"
        done = self._figures is not None
        end = End(
            self._outcome(),
            self._figures or {},
            bundle if done and bundle.exists() else None,
            report if done and report.exists() else None,
            [path for name in ("run.json", "metrics.jsonl", "usage.jsonl") if (path := folder / name).exists()],
        )
        with ThreadPoolExecutor(len(self._lanes)) as pool:
            closed = pool.map(lambda lane: (lane.tracker.name, lane.close(end)), self._lanes)
            told = dict(closed)
        if isinstance(run.record, dict):
            run.record["tracking"] = told
        if run.out is not None:
            with suppress(OSError):  # a full disk, of which the error of the run tells
                write_file(run.out / "run.json", msgspec.json.format(msgspec.json.encode(run.record), indent=1))
        for name, one in told.items():
            if one["state"] != "ok":
                warnings.warn(
                    f"tracker {name!r} {one['state']}: {one['dropped']} calls were lost ({one['error']}); the run is "
                    "not affected, and its figures are in metrics.jsonl",
                    stacklevel=4,
                )

    def _outcome(self) -> Outcome:
        if self._error is None:
            return "finished"
        if isinstance(self._error, Stopped):
            return "pruned"
        return "failed" if isinstance(self._error, Exception) else "interrupted"


def _look(run: Begun, some: Any, seed: int, shows: bool) -> Look:
    from vaekit.arrays import Block
    from vaekit.queries.sample import sample
    from vaekit.report.images import galleries
    from vaekit.runtime import Engine
    from vaekit.runtime.torch_backend import TorchBackend
    from vaekit.training.batches import Resident
    from vaekit.training.looking import posteriors

    device = next(run.vae.parameters()).device
    blocks: Mapping[str, Block] = Resident(run.contract.encode(some), device).take(slice(None))
    means, scales = posteriors(run.vae, blocks, seed)
    if not shows:
        return Look(means, scales)
    pictures, sampled = {}, {}
    latent = run.vae.latent
    architecture = Architecture(
        blocks=run.contract.blocks(),
        config={},
        noise=dict(latent.noise),
        groups=dict(latent.groups),
        prior_noise=dict(latent.prior_noise),
    )
    engine = Engine(run.contract, architecture, TorchBackend(run.vae), {})
    for one in galleries(engine, some, (), seed):
        for name, strip in (("reconstructed", one.pairs), ("drawn", one.drawn)):
            pictures[f"{one.field}/{name}"] = base64.b64decode(strip.address.partition(",")[2])
    try:
        drawn = sample(engine, _SAMPLED, seed=seed)
    except ConfigError:  # conditions have to be given
        return Look(means, scales, pictures, {}, _labels(run, some))
    sampled = {name: drawn[name].to_pylist() for name in drawn.column_names if run.contract[name].kind != "image"}
    return Look(means, scales, pictures, sampled, _labels(run, some))


def _labels(run: Begun, some: Any) -> list[str]:
    """What the points of the map are called: the value of the first category."""
    name = next((field.name for field in run.contract.fields if field.kind == "category"), None)
    return [] if name is None else [str(value) for value in some[name].to_pylist()]

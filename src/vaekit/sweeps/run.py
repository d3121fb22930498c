"""`sweep`: a plan and rows in, the best model and a page about the search out."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaekit.errors import ConfigError, TrainingError
from vaekit.fields.contract import Contract
from vaekit.fields.sources import open_source
from vaekit.sweeps.plan import Plan, load_plan
from vaekit.sweeps.result import Sweep, conclude
from vaekit.sweeps.space import check
from vaekit.sweeps.store import open_folder
from vaekit.sweeps.study import Ledger, killed, spent

if TYPE_CHECKING:
    from vaekit.sweeps.trial import Task

__all__ = ["sweep"]

_DEATHS = 3  # times that each worker may die before the sweep is given up
_LOOK = 0.5  # seconds


def sweep(
    table: Any,
    plan: str | Path | Mapping[str, Any] | Plan,
    out: str | Path,
    *,
    contract: Contract | str | Path | None = None,
    max_rows: int | None = None,
    progress: bool = True,
    **changes: Any,
) -> Sweep:
    """Fit with many settings, and keep the model that answers best.

    A trial is a fit. All trials see the same rows in the same splits, are judged on the early-stopping rows, and end
    early where they lag behind. What lies in `out` goes on where it was stopped or killed: trials of dead workers are
    begun again from their last checkpoint. Several processes, also of several calls with the same folder, may work on
    one sweep.

    Args:
        table: Rows, in any form that `vaekit.fit` takes.
        plan: The plan: a TOML file, a mapping, or a `Plan`.
        out: Folder of the sweep: trials, ``bundle`` (the winner), ``best.toml`` (its settings), ``report.html``.
        contract: The contract, or a file that holds it; each fit infers its own if not given.
        max_rows: Most rows to fit to, as a uniform sample; needed where not all fit into memory.
        progress: Say on standard error how each trial ended.
        changes: Settings of the plan by name, which go before it: ``trials``, ``workers``, ...

    Returns:
        What was found.

    Raises:
        ConfigError: If the plan holds what no configuration has, or the folder another sweep.
        TrainingError: If no trial came to its end.
    """
    try:
        from vaekit.training import load_config
    except ModuleNotFoundError as error:
        raise ConfigError(f"a sweep needs {error.name}, which is not installed; install vaekit[train]") from error
    from vaekit.api.resident import resident

    asked, folder = load_plan(plan, **changes), Path(out)
    check(asked.space, asked.base)
    if isinstance(contract, str | Path):
        contract = Contract.load(contract)
    source = open_source(table) if contract is None else contract.source(table)
    rows = resident(source, max_rows, load_config(dict(asked.base)).rows_seed)[0].table
    if rows is None:
        raise ConfigError("the trials of a sweep need their rows in memory, and these do not fit; set max_rows")
    task = open_folder(folder, asked, rows, contract)
    until = time.time() + asked.max_seconds if asked.max_seconds else float("inf")
    ledger = Ledger(folder, asked)
    told = _Told(ledger, progress)
    if asked.workers == 1:
        from vaekit.sweeps.worker import work

        work(folder, task, until, lambda number: told.look())
    else:
        _processes(folder, task, until, told)
    told.look()
    return conclude(folder, asked, ledger.study, task)


def _processes(folder: Path, task: Task, until: float, told: _Told) -> None:
    """Run workers until all have ended by themselves; one that dies is started again, a few times."""
    cores = max(1, (os.cpu_count() or 1) // task.plan.workers)
    environment = {"OMP_NUM_THREADS": str(cores), **os.environ}
    line = [sys.executable, "-m", "vaekit.sweeps.worker", str(folder), str(until), str(os.getpid())]
    running: dict[int, subprocess.Popen[bytes]] = {}
    deaths = 0

    def start(number: int) -> None:
        with (folder / "workers" / f"{number}.log").open("ab") as log:
            running[number] = subprocess.Popen(line, stdout=log, stderr=log, env=environment)

    try:
        for number in range(task.plan.workers):
            start(number)
        while running:
            time.sleep(_LOOK)
            told.look()
            for number, process in [*running.items()]:
                if process.poll() is None:
                    continue
                del running[number]
                if process.returncode:
                    deaths += 1
                    if deaths > _DEATHS * task.plan.workers:
                        raise TrainingError(f"workers of the sweep die again and again; see {folder / 'workers'}/*.log")
                    start(number)
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait()


class _Told:
    """Says how each trial ended, once."""

    def __init__(self, ledger: Ledger, enabled: bool) -> None:
        self.ledger, self.enabled = ledger, enabled
        self.seen = {one.number for one in self._ended()}
        self.began, self.before = time.monotonic(), sum(map(spent, self._ended()))

    def _ended(self) -> list[Any]:
        return [one for one in self.ledger.study.get_trials(deepcopy=False) if one.state.is_finished()]

    def look(self) -> None:
        """Say what is new."""
        if not self.enabled:
            return
        ended = self._ended()
        done, most = sum(map(spent, ended)), self.ledger.plan.trials
        left = (time.monotonic() - self.began) / max(done - self.before, 1) * (most - done)
        for one in ended:
            if one.number in self.seen:
                continue
            self.seen.add(one.number)
            values = [
                f"{name} {value:.4g}"
                for name, value in zip(self.ledger.plan.objectives, one.values or (), strict=False)
            ]
            why = "its worker died; it is begun again" if killed(one) else one.user_attrs.get("reason", "")
            how = ", ".join(values) or why
            print(
                f"trial {one.number}: {how}  ({done} of {most}, about {left:,.0f} s left)", file=sys.stderr, flush=True
            )

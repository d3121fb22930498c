"""The study of a sweep in Optuna: where trials are kept, who runs which, and what becomes of those of a dead worker."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaekit.errors import ConfigError
from vaekit.sweeps.locks import Lock, alive, held
from vaekit.sweeps.plan import Plan
from vaekit.sweeps.space import settings

if TYPE_CHECKING:
    import optuna

__all__ = ["Ledger", "killed", "spent"]

_RETRIES = 2  # times that a trial whose worker died is begun again


class Ledger:
    """The trials of a sweep, shared by all its workers.

    Args:
        out: Folder of the sweep.
        plan: The plan.
        worker: Name of this worker; a lock of that name is held as long as it lives.

    Raises:
        ConfigError: If Optuna, or what its storage needs, is not installed, or the storage cannot be opened.
    """

    def __init__(self, out: Path, plan: Plan, worker: str = "") -> None:
        try:
            import optuna
        except ModuleNotFoundError as error:
            raise ConfigError(f"a sweep needs {error.name}, which is not installed; install vaekit[sweep]") from error

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.out, self.plan, self.worker = out, plan, worker
        (out / "workers").mkdir(parents=True, exist_ok=True)
        if worker:
            self._life = Lock(out / "workers" / f"{worker}.lock")
            self._life.acquire()
        with self._turn():
            self.study = optuna.create_study(
                storage=_storage(out, plan),
                study_name=plan.name,
                directions=["minimize"] * len(plan.objectives),
                pruner=_pruner(plan),
                load_if_exists=True,
            )

    def ask(self) -> tuple[optuna.Trial, dict[str, Any]] | None:
        """The next trial with its settings; None if there are enough.

        The sampler is seeded by the number of trials so far, so a sweep that goes on chooses as if it had never ended.
        """
        with self._turn():
            self._reclaim()
            trials = self.study.get_trials(deepcopy=False)
            if sum(spent(one) or one.state.name == "RUNNING" for one in trials) >= self.plan.trials:
                return None
            self.study.sampler = _sampler(self.plan, len(trials))
            trial = self.study.ask()
            trial.set_user_attr("worker", self.worker)
            if "folder" not in trial.user_attrs:
                trial.set_user_attr("folder", f"trials/{trial.number:04d}")
            return trial, settings(trial, self.plan.space, self.plan.base)

    def tell(self, trial: optuna.Trial, values: list[float] | None, state: str, reason: str = "") -> None:
        """How a trial ended: ``COMPLETE`` with its objectives, ``PRUNED`` or ``FAIL``."""
        from optuna.trial import TrialState

        trial.set_user_attr("reason", reason or state.lower())
        self.study.tell(trial, values, TrialState[state])

    def close(self) -> None:
        """This worker runs no trial any more."""
        self._life.remove()

    def _turn(self) -> Any:
        return held(self.out / ".turn.lock")

    def _reclaim(self) -> None:
        """Trials whose worker is dead have failed, and are begun again in the same folder, where their run goes on."""
        from optuna.trial import TrialState

        for one in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            worker = one.user_attrs.get("worker", "")
            if worker and (worker == self.worker or alive(self.out / "workers" / f"{worker}.lock")):
                continue
            again = one.user_attrs.get("again", 0)
            if again < _RETRIES and one.params:
                attributes = {"folder": one.user_attrs.get("folder", ""), "again": again + 1, "after": one.number}
                self.study.enqueue_trial(one.params, {k: v for k, v in attributes.items() if v != ""})
            self.study.tell(one.number, state=TrialState.FAIL)


def spent(trial: Any) -> bool:
    """Whether a trial counts: it ended by itself, or its worker died once too often.

    One that was running in a worker that died is begun again under another number.
    """
    if killed(trial):
        return bool(trial.user_attrs.get("again", 0) >= _RETRIES)
    return trial.state.name in ("COMPLETE", "PRUNED", "FAIL")


def killed(trial: Any) -> bool:
    """Whether the worker of a trial died: it failed without a reason, or while another end was being told."""
    reason: str = trial.user_attrs.get("reason", "pruned")
    return trial.state.name == "FAIL" and reason.startswith(("complete", "pruned"))


def _storage(out: Path, plan: Plan) -> Any:
    address = os.environ.get("VAEKIT_SWEEP_STORAGE") or plan.storage
    if address == "journal":
        from optuna.storages.journal import JournalFileBackend, JournalStorage

        journal = out / "journal.log"
        lock: Any = Lock(out / ".journal.lock")
        _mend(journal, lock)
        return JournalStorage(JournalFileBackend(str(journal), lock_obj=lock))
    from optuna.storages import RDBStorage

    try:
        return RDBStorage(address)
    except Exception as error:  # whatever the driver raises
        told = str(error).splitlines()[0].replace(address, "the database")
        raise ConfigError(f"storage of the sweep cannot be opened: {type(error).__name__}: {told}") from error


def _mend(journal: Path, lock: Lock) -> None:
    """Cut off a last line that was being written when a worker was killed."""
    lock.acquire()
    try:
        content = journal.read_bytes() if journal.exists() else b""
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            warnings.warn(f"{journal}: its last line is not whole, and is dropped", stacklevel=2)
            os.truncate(journal, whole)
    finally:
        lock.release()


def _sampler(plan: Plan, number: int) -> Any:
    from optuna.samplers import RandomSampler, TPESampler

    seed = (plan.seed * 1_000_003 + number) % 2**31
    return RandomSampler(seed) if plan.sampler == "random" else TPESampler(seed=seed, n_startup_trials=8)


def _pruner(plan: Plan) -> Any:
    from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner

    if plan.prunes == "median":
        return MedianPruner(n_startup_trials=3, n_warmup_steps=5)
    # 60 validations of the first stage; the later ones are longer than any trial that deserves to be ended
    return HyperbandPruner(min_resource=5, max_resource=60) if plan.prunes == "hyperband" else NopPruner()

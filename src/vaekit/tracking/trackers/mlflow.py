"""MLflow: parameters, metrics, lineage as tags, files, and a model that answers; on a server or in a SQLite file."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from vaekit.tracking.base import End, Look, Run, Tracker

__all__ = ["MLflow"]

_BATCH = {"params": 100, "metrics": 1_000}  # what one request may hold
_LONGEST = 5_000  # characters of a value
_STATUS = {"finished": "FINISHED", "pruned": "KILLED", "interrupted": "KILLED", "failed": "FAILED"}
# unless the user says otherwise: a server that does not answer is found out soon, and MLflow's makers are told nothing
_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
_CODE = """from mlflow.models import set_model

from vaekit.api.pyfunc import pyfunc_model

set_model(pyfunc_model())
"""


class MLflow(Tracker):
    """A run of MLflow per run; one that is resumed goes on with its own.

    The server, or the SQLite file, is that of ``MLFLOW_TRACKING_URI``; credentials are MLflow's, from the environment.

    Args:
        experiment: Name of the experiment; made if it is not there.
        model: Whether the bundle is kept as a model that ``mlflow.pyfunc.load_model`` loads.
    """

    name = "mlflow"
    needs = "mlflow"

    def __init__(self, *, experiment: str = "vaekit", model: bool = True) -> None:
        self._experiment, self._model = experiment, model
        self._uri = os.environ.get("MLFLOW_TRACKING_URI", "")
        self._client: Any = None
        self._run = ""

    @property
    def hosted(self) -> bool:
        """Whether the server is, or may be, another machine."""
        parts = urlsplit(self._uri)
        local = parts.hostname in ("localhost", "127.0.0.1", "::1")
        return not (local or parts.scheme in ("file", "sqlite") or not self._uri)

    @property
    def address(self) -> str:
        """The server without credentials, and the run."""
        parts = urlsplit(self._uri)
        where = f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}"
        return f"{where if parts.hostname else parts.scheme or 'mlflow'} run {self._run}"

    def start(self, run: Run) -> None:
        """Find or make experiment and run; tell settings and lineage."""
        for name, value in _DEFAULTS.items():
            os.environ.setdefault(name, value)
        import mlflow
        from mlflow.entities import Param

        self._uri = self._uri or mlflow.get_tracking_uri()
        self._client = mlflow.MlflowClient(self._uri)
        experiment = self._client.get_experiment_by_name(self._experiment)
        number = experiment.experiment_id if experiment else self._made()
        found = self._client.search_runs([number], f"tags.`vaekit.run` = '{run.id}'", max_results=1)
        if found:
            self._run = found[0].info.run_id
            self._client.update_run(self._run, "RUNNING")
            return
        tags = {f"vaekit.{name}": str(value)[:_LONGEST] for name, value in run.facts.items()}
        tags |= {"vaekit.run": run.id, "mlflow.source.type": "LOCAL"}
        if commit := run.facts.get("commit"):
            tags["mlflow.source.git.commit"] = commit
        self._run = self._client.create_run(number, tags=tags, run_name=run.id).info.run_id
        params = [Param(_name(key), str(value)[:_LONGEST]) for key, value in run.settings.items()]
        for start in range(0, len(params), _BATCH["params"]):
            self._client.log_batch(self._run, params=params[start : start + _BATCH["params"]])
        self._client.log_text(self._run, run.contract, "contract.json")

    def _made(self) -> str:
        """A new experiment; files of one in a SQLite file lie beside it, not where the process happens to run."""
        where = None
        if self._uri.startswith("sqlite:"):
            where = (Path(self._uri.partition("sqlite:///")[2]).resolve().parent / "mlartifacts").as_uri()
        return str(self._client.create_experiment(self._experiment, artifact_location=where))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """One point of each metric."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(_name(name), value, now, step) for name, value in values.items()]
        for start in range(0, len(metrics), _BATCH["metrics"]):
            self._client.log_batch(self._run, metrics=metrics[start : start + _BATCH["metrics"]])

    def look(self, step: int, look: Look) -> None:
        """Pictures and drawn rows as files."""
        with tempfile.TemporaryDirectory() as folder:
            for name, png in look.pictures.items():
                (Path(folder) / f"{_name(name).replace('/', '-')}.png").write_bytes(png)
            if look.pictures:
                self._client.log_artifacts(self._run, folder, f"looks/{step:08d}")
        if look.sampled:
            columns = {str(name): list(values) for name, values in look.sampled.items()}
            self._client.log_dict(self._run, columns, f"looks/{step:08d}/sampled.json")

    def finish(self, end: End) -> None:
        """Held-out figures, files, the model, and how it ended."""
        try:
            for name, value in end.figures.items():
                self._client.log_metric(self._run, _name(f"held_out/{name}"), value)
            for file in (*end.files, *((end.report,) if end.report else ())):
                self._client.log_artifact(self._run, str(file))
            if end.bundle is not None and self._model:
                with tempfile.TemporaryDirectory() as folder:
                    _save_model(end.bundle, Path(folder) / "model")
                    self._client.log_artifacts(self._run, str(Path(folder) / "model"), "model")
            elif end.bundle is not None:
                self._client.log_artifacts(self._run, str(end.bundle), "bundle")
            self._client.set_tag(self._run, "vaekit.outcome", end.outcome)
        finally:
            self._client.set_terminated(self._run, _STATUS[end.outcome])


def _save_model(bundle: Path, folder: Path) -> None:
    """The bundle as a model of MLflow: made from code, without a pickle."""
    import mlflow.pyfunc

    from vaekit.version import __version__

    code = folder.with_suffix(".py")
    code.write_text(_CODE)
    mlflow.pyfunc.save_model(
        str(folder),
        python_model=str(code),
        artifacts={"bundle": str(bundle)},
        pip_requirements=[f"vaekit=={__version__}"],
    )


def _name(name: str) -> str:
    """A name with the characters that MLflow takes.

    Example:
        >>> _name("valid/nats/price (€)")
        'valid/nats/price _E2_82_AC_'
    """
    clean = re.sub(r"[()\[\]]", "", name)
    return re.sub(
        r"[^\w\-./ ]", lambda m: "".join(f"_{byte:02X}" for byte in m[0].encode()) + "_", clean, flags=re.ASCII
    )


TRACKER = MLflow

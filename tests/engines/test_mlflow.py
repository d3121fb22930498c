"""A run in MLflow: on a real server, in a SQLite file, and on a server that never answers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import mlflow
import numpy as np
import pytest

import vaekit as vk
from vaekit.tracking import End, Look, Run, make_trackers

FIXTURES = Path(os.environ["VAEKIT_FIXTURES"])
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8cfc000000301010018dd8db0"
    "0000000049454e44ae426082"
)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    line = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1", "--port", str(port)]
    line += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "files")]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(line, stdout=log, stderr=log, env=environment, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{address}/health", timeout=1)
                break
            except OSError:
                assert process.poll() is None, (folder / "log").read_text()
                time.sleep(0.5)
        yield address
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


@pytest.fixture(scope="module")
def bundle():
    return FIXTURES / "visits" / "bundle"


def told(run="run-1", begun=0, folder=None, **options):
    """One run told to a tracker, and how the tracker did."""
    (lane,) = make_trackers({"mlflow": options})
    settings = {f"training.option_{index}": index for index in range(150)}  # more than one request takes
    lane.start(Run(run, folder, settings, {"commit": "f00", "data": "ab12"}, '{"fields": []}', begun))
    for step in (begun + 10, begun + 20):
        lane.scalars(
            step, {"valid/elbo": -1.0 / step, "valid/nats/price (EUR)": 2.0, "valid/kl_per_dimension/z/0": 0.5}
        )
    look = Look({"z": np.zeros((2, 2))}, {"z": np.ones((2, 2))}, {"digit/drawn": PNG}, {"a": [1.5], "b": ["x"]})
    lane.look(begun + 20, look)
    return lane


def test_a_run_on_a_server_has_parameters_metrics_files_and_a_model(server, bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    report = tmp_path / "report.html"
    report.write_text("page")
    done = told(experiment="flights").close(End("finished", {"iwae_64": -3.5}, bundle, report))
    assert (done["state"], done["dropped"], done["error"]) == ("ok", 0, None)
    client = mlflow.MlflowClient(server)
    experiment = client.get_experiment_by_name("flights")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert len(run.data.params) == 150
    assert run.data.params["training.option_7"] == "7"
    history = client.get_metric_history(run.info.run_id, "valid/elbo")
    assert [(one.step, one.value) for one in history] == [(10, -0.1), (20, -0.05)]
    assert run.data.metrics["held_out/iwae_64"] == -3.5
    assert run.data.tags["vaekit.data"] == "ab12"
    assert run.data.tags["mlflow.source.git.commit"] == "f00"
    files = {one.path for one in client.list_artifacts(run.info.run_id)}
    assert files == {"contract.json", "looks", "model", "report.html"}  # a server here may see rows
    looks = {one.path for one in client.list_artifacts(run.info.run_id, "looks/00000020")}
    assert looks == {"looks/00000020/digit-drawn.png", "looks/00000020/sampled.json"}

    mlflow.set_tracking_uri(server)
    loaded = mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/model")
    model = vk.load(bundle)
    frame = model.sample(7, given=dict.fromkeys(model.contract.names("condition")), seed=1).to_pandas()
    np.testing.assert_allclose(loaded.predict(frame)["score"], model.score(frame)["score"].to_numpy())
    asked = loaded.predict(frame, params={"query": "embed"})
    assert len(asked) == 7
    kept = Path(mlflow.artifacts.download_artifacts(f"runs:/{run.info.run_id}/model"))
    assert not [path for path in kept.rglob("*") if path.suffix in (".pkl", ".pickle")]


def test_a_run_that_is_resumed_goes_on_with_its_own(server, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    assert told("run-2", experiment="resumed").close(End("interrupted"))["state"] == "ok"
    assert told("run-2", begun=20, experiment="resumed").close(End("finished"))["state"] == "ok"
    client = mlflow.MlflowClient(server)
    (run,) = client.search_runs([client.get_experiment_by_name("resumed").experiment_id])
    assert run.info.status == "FINISHED"
    assert [one.step for one in client.get_metric_history(run.info.run_id, "valid/elbo")] == [10, 20, 30, 40]


def test_a_sqlite_file_needs_no_server(tmp_path, monkeypatch, bundle):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/runs.db")
    monkeypatch.chdir(tmp_path)
    done = told(model=False).close(End("pruned", {}, bundle))
    assert (done["state"], done["error"]) == ("ok", None)
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/runs.db")
    (run,) = client.search_runs([client.get_experiment_by_name("vaekit").experiment_id])
    assert run.info.status == "KILLED"
    assert run.data.metrics["valid/elbo"] == -0.05
    assert (tmp_path / "mlartifacts").is_dir()
    assert not (tmp_path / "mlruns").exists()
    assert "bundle/manifest.json" in {one.path for one in client.list_artifacts(run.info.run_id, "bundle")}


def test_a_server_that_never_answers_is_left_behind(monkeypatch):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(64)  # takes connections, and says nothing
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        before = time.monotonic()
        lane = told(timeout=1.0, finish=3.0)
        assert time.monotonic() - before < 1.0
        done = lane.close(End("finished"))
        assert time.monotonic() - before < 10.0
    assert (done["state"], done["sent"]) == ("hanging", 0)
    assert done["dropped"] == 5


def test_a_server_elsewhere_is_not_shown_rows_unless_allowed(monkeypatch):
    for address, allowed, seen in (
        ("https://mlflow.example.com", False, False),
        ("https://user:s3cret@mlflow.example.com:444", True, True),
        ("databricks", False, False),
        ("http://localhost:5000", False, True),
        ("sqlite:///mlflow.db", False, True),
    ):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        (lane,) = make_trackers({"mlflow": {"allow_rows": allowed}})
        assert lane.sees_rows is seen
        assert "s3cret" not in lane.tracker.address

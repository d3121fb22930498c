"""A fit that is tracked: what TensorBoard and Weights & Biases have of it, read by their own readers; its lineage."""

from __future__ import annotations

import json
import subprocess
import warnings

import numpy as np
import pyarrow as pa
import pytest
from sklearn.datasets import load_digits, load_wine

import vaekit as vk
from tests.tracking.test_lane import Kept
from vaekit.bundle.manifest import read_manifest
from vaekit.errors import TrainingError
from vaekit.fields.tables import to_arrow
from vaekit.tracking import known_trackers
from vaekit.training.checkpoint import read
from vaekit.training.observers import Observer, Stopped

SMALL = {"epochs": 3, "width": 16, "depth": 1, "latent": 2, "batch_size": 32, "choose": False, "progress": False}
SMALL |= {"report": False, "graphs": False}


@pytest.fixture(scope="module")
def wine() -> pa.Table:
    frame = load_wine(as_frame=True).frame.iloc[:, [0, 1, 4, 12, 13]].copy()
    frame["target"] = frame["target"].map({0: "a", 1: "b", 2: "c"})
    return to_arrow(frame)


@pytest.fixture(scope="module")
def digits() -> pa.Table:
    images = load_digits().images[:200].astype(np.uint8)
    kind = pa.fixed_shape_tensor(pa.uint8(), (8, 8))
    storage = pa.FixedSizeListArray.from_arrays(pa.array(images.ravel()), 64)
    return pa.table({"digit": pa.ExtensionArray.from_storage(kind, storage)})


@pytest.fixture(scope="module")
def tracked(wine, tmp_path_factory):
    """One fit with two trackers, and the same one without."""
    folder = tmp_path_factory.mktemp("tracked")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        model = vk.fit(wine, out=folder / "run", track="tensorboard,wandb", dropout=0.3, **SMALL)
    return folder / "run", model, vk.fit(wine, out=folder / "plain", dropout=0.3, **SMALL)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_tracked_run_is_the_same_run(tracked):
    run, model, plain = tracked
    for name, value in model.bundle.weights.items():
        np.testing.assert_array_equal(value, plain.bundle.weights[name])
    timeless = [{k: v for k, v in line.items() if k != "seconds"} for line in lines(run / "metrics.jsonl")]
    assert timeless == [
        {k: v for k, v in line.items() if k != "seconds"} for line in lines(run.parent / "plain" / "metrics.jsonl")
    ]


def test_tensorboard_reads_curves_histograms_map_and_rows(tracked):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run, _, _ = tracked
    read = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0, "histograms": 0})
    read.Reload()
    tags, metrics = read.Tags(), lines(run / "metrics.jsonl")
    elbo = read.Scalars("valid/elbo")
    assert [one.step for one in elbo] == [line["step"] for line in metrics]
    np.testing.assert_allclose([one.value for one in elbo], [line["valid"]["elbo"] for line in metrics], rtol=1e-6)
    wanted = {"valid/kl", "valid/nats/alcohol", "train/gradient_norm", "learning_rate", "valid/kl_per_dimension/z/1"}
    wanted |= {"usage/processor", "usage/memory", "usage/rows_per_second", "valid/reconstruction"}
    assert wanted <= set(tags["scalars"])
    sigma = read.Histograms("latent/z/sigma")[0].histogram_value
    assert sigma.num > 0
    assert 0 < sigma.min <= sigma.max < 25
    assert {"latent/z/mu", "latent/z/mu/1"} <= set(tags["histograms"])
    assert "| alcohol |" in read.Tensors("sampled rows/text_summary")[0].tensor_proto.string_val[0].decode()
    projector = (run / "tensorboard" / "projector_config.pbtxt").read_text()
    assert "tensors.tsv" in projector
    assert "metadata.tsv" in projector
    labels = next((run / "tensorboard").rglob("metadata.tsv")).read_text().split()
    assert set(labels) == {"a", "b", "c"}


def wandb_records(run):
    """Records of an offline run, by kind: a log as LevelDB writes it, with a header of seven bytes."""
    from wandb.proto import wandb_internal_pb2

    content = next(run.rglob("*.wandb")).read_bytes()
    assert content[:4] == b":W&B"
    at, part, found = 7, b"", {}
    while at + 7 <= len(content):
        size, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        part += content[at + 7 : at + 7 + size]
        at += 7 + size
        if (left := -at % 32_768) < 7:  # no header begins at the end of a block
            at += left
        if kind in (1, 4):  # whole, or the last part
            record = wandb_internal_pb2.Record.FromString(part)
            found.setdefault(record.WhichOneof("record_type"), []).append(record)
            part = b""
    return found


def test_wandb_has_figures_and_lineage_but_no_row(tracked):
    run, _, _ = tracked
    found = wandb_records(run)
    record = json.loads((run / "run.json").read_text())
    assert found["run"][0].run.run_id == record["run"]
    histories = [
        {item.key or "/".join(item.nested_key): item.value_json for item in one.history.item}
        for one in found["history"]
    ]
    curve = [float(one["valid/elbo"]) for one in histories if "valid/elbo" in one]
    np.testing.assert_allclose(curve, [line["valid"]["elbo"] for line in lines(run / "metrics.jsonl")])
    assert any("latent/z/mu" in key for one in histories for key in one)
    assert not any("sampled rows" in key or "images" in key for one in histories for key in one)
    artefacts = {one.artifact.type: one.artifact for one in found["artifact"] if one.artifact.type}
    files = {entry.path for entry in artefacts["model"].manifest.contents}
    assert {"manifest.json", "weights.safetensors"} <= files
    told = b"".join(path.read_bytes() for path in (run / "wandb").rglob("*") if path.is_file())
    assert record["data"]["sha256"].encode() in told


def test_the_record_says_how_trackers_did(tracked):
    run, model, _ = tracked
    told = json.loads((run / "run.json").read_text())["tracking"]
    assert {name: (one["state"], one["dropped"]) for name, one in told.items()} == {
        "tensorboard": ("ok", 0),
        "wandb": ("ok", 0),
    }
    assert model.bundle.run["tracking"] == told


def test_how_busy_the_machine_was_is_written_at_each_validation(tracked):
    run, _, _ = tracked
    for folder in (run, run.parent / "plain"):
        usage = lines(folder / "usage.jsonl")
        assert [one["step"] for one in usage] == [line["step"] for line in lines(folder / "metrics.jsonl")]
        assert all(one["processor"] >= 0 and one["memory"] > 50 for one in usage)
        assert max(one.get("rows_per_second", 0) for one in usage) > 10


@pytest.mark.parametrize("how", ["raises", "hangs"])
def test_a_tracker_that_raises_or_hangs_leaves_the_run_alone(wine, tmp_path, monkeypatch, how):
    import threading

    never = threading.Event()

    class Bad(Kept):
        name = "bad"

        def start(self, run):
            if how == "raises":
                raise OSError("refused")
            never.wait(60)

    monkeypatch.setattr("vaekit.tracking.find.known_trackers", lambda: {"bad": Bad})
    config = {"track": {"bad": {"timeout": 0.2, "finish": 0.5}}}
    with pytest.warns(UserWarning, match="tracker 'bad' (gave up|hanging)"):
        model = vk.fit(wine, config=config, out=tmp_path / "run", **SMALL)
    never.set()
    told = json.loads((tmp_path / "run" / "run.json").read_text())["tracking"]["bad"]
    assert told["state"] == ("gave up" if how == "raises" else "hanging")
    assert told["dropped"] > 0
    assert (tmp_path / "run" / "bundle" / "manifest.json").exists()
    assert len(model.score(wine)) == len(wine)


def test_pictures_of_images_are_shown_and_chosen_by_the_seed(digits, tmp_path, monkeypatch):
    kept = []

    def made():
        kept.append(Kept())
        return kept[-1]

    made.needs = "sys"
    monkeypatch.setattr("vaekit.tracking.find.known_trackers", lambda: {"kept": made})
    looks = []
    for seed in (0, 0, 1):
        vk.fit(digits, track=["kept"], seed=seed, max_seconds=60, **{**SMALL, "epochs": 1})
        looks.append(next(look for name, look in kept[-1].calls if name == "look"))
    assert set(looks[0].pictures) == {"digit/reconstructed", "digit/drawn"}
    assert all(png.startswith(b"\x89PNG") for png in looks[0].pictures.values())
    assert looks[0].pictures == looks[1].pictures
    assert looks[0].pictures["digit/reconstructed"] != looks[2].pictures["digit/reconstructed"]


def test_a_full_disk_is_told_by_the_run_and_not_by_its_trackers(wine, tmp_path, monkeypatch):
    kept = Kept()
    made = lambda: kept  # noqa: E731
    made.needs = "sys"
    monkeypatch.setattr("vaekit.tracking.find.known_trackers", lambda: {"kept": made})

    def full(path, content):
        raise OSError(28, "No space left on device")

    class Fills(Observer):
        def validated(self, metrics):
            monkeypatch.setattr("vaekit.api.tracking.write_file", full)
            raise TrainingError("free some space")

    with pytest.raises(TrainingError, match="free some space"):
        vk.fit(wine, out=tmp_path / "run", track=["kept"], observers=[Fills()], **SMALL)


@pytest.mark.parametrize("error", [Stopped("enough"), KeyboardInterrupt(), ValueError("mine")])
def test_trackers_are_told_how_a_run_ended(wine, tmp_path, monkeypatch, error):
    kept = Kept()
    made = lambda: kept  # noqa: E731
    made.needs = "sys"
    monkeypatch.setattr("vaekit.tracking.find.known_trackers", lambda: {"kept": made})

    class Ends(Observer):
        def __init__(self):
            self.seen, self.error = 0, None

        def validated(self, metrics):
            self.seen += 1
            if self.seen == 4:
                raise error

        def ended(self, error):
            self.error = error

    ends = Ends()
    with pytest.raises(type(error)):
        vk.fit(wine, out=tmp_path / "run", track=["kept"], observers=[ends], **SMALL)
    assert ends.error is error
    outcome = dict(kept.calls)["finish"].outcome
    assert (
        outcome
        == {"Stopped": "pruned", "KeyboardInterrupt": "interrupted", "ValueError": "failed"}[type(error).__name__]
    )
    assert not (tmp_path / "run" / "failure.json").exists()
    position = read(tmp_path / "run" / "checkpoints" / "last.safetensors").position
    assert position.lines == (4 if isinstance(error, Stopped) else 3)  # who stops a run loses nothing of it
    model = vk.fit(wine, out=tmp_path / "run", resume=True, **SMALL)
    steps = [one["step"] for one in lines(tmp_path / "run" / "usage.jsonl")]
    assert steps == [one["step"] for one in lines(tmp_path / "run" / "metrics.jsonl")]  # none twice
    assert model.bundle.run["sessions"][1]["started"] >= model.bundle.run["sessions"][0]["started"]


def test_lineage_leads_from_a_bundle_to_commit_packages_and_parent(wine, tmp_path, monkeypatch):
    from importlib import metadata

    work = tmp_path / "work"
    work.mkdir()

    def git(*words):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        return subprocess.run(["git", *identity, *words], cwd=work, check=True, capture_output=True, text=True).stdout

    git("init", "-q")
    (work / "mine.py").write_text("a = 1\n")
    git("add", ".")
    git("commit", "-qm", "first")
    monkeypatch.chdir(work)
    parent = {"kind": "sweep", "run": "s1", "trial": 3}
    found = {}
    for name, text in (("clean", "a = 1\n"), ("changed", "a = 2\n"), ("again", "a = 2\n"), ("other", "a = 3\n")):
        (work / "mine.py").write_text(text)
        model = vk.fit(wine, out=tmp_path / name, parent=parent, **{**SMALL, "epochs": 1})
        found[name] = model.bundle.run
    states = {name: one["environment"]["git"] for name, one in found.items()}
    assert {one["commit"] for one in states.values()} == {git("rev-parse", "HEAD").strip()}
    assert states["clean"] == {"commit": states["clean"]["commit"], "dirty": False}
    assert states["changed"]["diff"] == states["again"]["diff"] != states["other"]["diff"]
    installed = found["clean"]["environment"]["installed"]
    assert installed["torch"] == metadata.version("torch")
    assert len(installed) > 20
    assert len({one["run"] for one in found.values()}) == 4
    lineage = read_manifest(tmp_path / "other" / "bundle").lineage
    assert lineage["parent"] == "sweep s1, trial 3"
    assert lineage["commit"] == states["other"]["commit"]
    assert lineage["changes"] == states["other"]["diff"]
    assert lineage["environment"] == found["other"]["environment"]["lock"]
    assert lineage["run"] in (tmp_path / "other" / "bundle" / "MODEL_CARD.md").read_text()


def test_every_tracker_says_what_it_needs():
    for name, kind in known_trackers().items():
        assert kind.name == name
        assert kind.needs


def test_inspect_says_what_a_bundle_is_and_where_it_comes_from(tracked):
    from typer.testing import CliRunner

    from vaekit.cli.app import app

    run, model, _ = tracked
    record = model.bundle.run
    told = CliRunner().invoke(app, ["inspect", str(run)])
    assert told.exit_code == 0, told.output
    for value in (record["run"], record["data"]["sha256"], record["environment"]["lock"], model.contract.hash):
        assert value in told.stdout
    plain = json.loads(CliRunner().invoke(app, ["inspect", str(run / "bundle"), "--json"]).stdout)
    assert plain["record"]["environment"]["installed"] == record["environment"]["installed"]
    assert plain["record"]["config"] == record["config"]
    assert plain["bundle"] == read_manifest(run / "bundle").version

"""LiteRT: graphs of fixed size answer questions of any size. The converter and its runtime are extras."""

import importlib.util

import numpy as np
import pytest

import vaekit as vk
from tests.notorch.alike import differences
from tests.support import CASES, ask
from vaekit.errors import BundleError
from vaekit.runtime.litert_backend import tiled

SHAPES = {"noise.z": (3, 2, 4), "x.values": (2, 5), "params.loc": (3, 2, 5), "params.fixed": (1, 1, 5)}
installed = pytest.mark.skipif(importlib.util.find_spec("litert_torch") is None, reason="needs the extra tflite")


def whole(inputs):
    """Something that depends on every input, and something that depends on none of the rows."""
    total = (
        inputs["noise.z"].sum(-1, keepdims=True) + inputs["x.values"] * inputs["params.fixed"] + inputs["params.loc"]
    )
    return {"log_px.x": total, "params.scale": inputs["params.fixed"] * 2}


@pytest.mark.parametrize("rows", [1, 2, 7])
@pytest.mark.parametrize("draws", [1, 3, 8])
def test_tiles_are_put_together_to_the_whole(draws, rows):
    rng = np.random.default_rng(0)
    inputs = {
        "noise.z": rng.normal(size=(draws, rows, 4)),
        "x.values": rng.normal(size=(rows, 5)),
        "params.loc": rng.normal(size=(draws, rows, 5)),
        "params.fixed": rng.normal(size=(1, 1, 5)),
    }
    calls = []

    def call(tile):
        assert {name: value.shape for name, value in tile.items()} == SHAPES
        calls.append(tile)
        return whole(tile)

    found = tiled(call, inputs, SHAPES)
    for name, value in whole(inputs).items():
        np.testing.assert_array_equal(found[name], value)
    assert len(calls) == -(-draws // 3) * -(-rows // 2)


def test_without_the_runtime_the_bundle_says_what_to_install(zoo, tmp_path, monkeypatch):
    import dataclasses

    edge = dataclasses.replace(zoo["visits"].onnx.bundle, kind="tflite", weights={})
    edge.save(tmp_path / "edge")
    assert (tmp_path / "edge" / "graphs" / "score.tflite").exists()
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ai_edge_litert" else real(name))
    with pytest.raises(BundleError, match=r"LiteRT graphs, and the runtime is not installed; install vaekit\[edge\]"):
        vk.load(tmp_path / "edge")
    with pytest.raises(BundleError, match="holds graphs for litert, not for onnx; use backend='litert'"):
        vk.load(tmp_path / "edge", "onnx")
    with pytest.raises(BundleError, match="holds graphs for onnx, not for litert; use backend='onnx'"):
        vk.load(zoo["visits"].bundle, "litert")


@installed
@pytest.mark.parametrize("name", ["visits", "weather"])
def test_answers_are_those_of_torch(zoo, tmp_path, name):
    kept = zoo[name]
    made = vk.load(kept.bundle).export(tmp_path / "edge", form="tflite")
    assert max(made.proof.graphs.values()) < 1e-4
    edge = vk.load(tmp_path / "edge")
    assert edge.engine.backend.name == "litert"
    rows = kept.rows.slice(0, 40)
    for case in ("score", "detect", "embed", "reconstruct", "impute", "sample cool"):
        answers = [ask(model, name, CASES[case], rows) for model in (edge, kept.torch)]
        assert differences(*answers) == [], case

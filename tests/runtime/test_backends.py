"""Two backends, one answer: torch and onnxruntime agree on every query and every primitive of every model."""

import dataclasses
import importlib.util
import warnings

import numpy as np
import pyarrow as pa
import pytest

import vaekit as vk
from tests.notorch.alike import differences
from tests.support import CASES, MODELS, ask
from vaekit.arrays import draw
from vaekit.errors import BundleError, ConfigError
from vaekit.runtime import make_backend

SIZES = (1, 2, 7)


# -------------------------------------------------------------------------------------------------------- the yardstick


def test_the_yardstick_sees_small_differences():
    rng = np.random.default_rng(0)
    x = rng.normal(size=2000)
    table = pa.table({"x": x, "n": np.arange(2000), "v": list(x[:, None]), "c": np.where(x > 0, "a", "b")})
    assert differences(table, table) == []
    assert differences(table, table.set_column(0, "x", pa.array(x * 1.0002)))
    assert differences(table, table.set_column(0, "x", pa.array(x * 1.00002))) == []
    assert differences(table, table.set_column(1, "n", pa.array(np.arange(2000) + 1)))
    assert differences(table, table.set_column(2, "v", pa.array(list(x[:, None] + 0.01))))
    assert differences(table, table.set_column(3, "c", pa.array(np.where(x > 0.1, "a", "b"))))
    assert differences(table, table.set_column(0, "x", pa.array(x, mask=x > 1.5)))
    assert differences(table, table.slice(1)) != []
    assert differences(table, table.drop_columns(["n"])) != []
    one = np.arange(2000)
    one[3] += 1
    assert differences(table, table.set_column(1, "n", pa.array(one))) == []  # one cell in eight thousand
    assert differences(table, table.set_column(1, "n", pa.array(one)), ties=0)


# -------------------------------------------------------------------------------------------------------------- queries


@pytest.mark.parametrize("case", CASES)
def test_answers_agree(kept, case):
    onnx, torch = (ask(model, kept.name, CASES[case], kept.rows) for model in (kept.onnx, kept.torch))
    assert differences(onnx, torch) == []


@pytest.mark.parametrize("case", CASES)
def test_saving_and_loading_changes_nothing(kept, case):
    loaded = ask(kept.torch, kept.name, CASES[case], kept.rows)
    assert differences(loaded, kept.answered(case), tolerance=1e-6) == []
    assert loaded.schema == kept.answered(case).schema


# ----------------------------------------------------------------------------------------------------------- primitives


def inputs_of(kept, samples, rows, seed=0):
    """Real rows and noise, and what each primitive makes of the one before, on torch."""
    engine = kept.torch.engine
    at = np.random.default_rng(seed).integers(0, kept.table.num_rows, rows)
    blocks = engine.inputs(engine.encode(kept.table.take(pa.array(at))))
    noise = {f"noise.{n}": v for n, v in draw(engine.architecture.noise, seed, samples, rows).items()}
    encoded = engine.backend.run("encode", blocks | noise)
    params = engine.backend.run("decode", blocks | encoded)
    return {
        "encode": blocks | noise,
        "prior": blocks | noise,
        "decode": blocks | encoded,
        "log_density": blocks | params,
        "score": blocks | noise,
    }


@pytest.mark.parametrize("rows", SIZES)
@pytest.mark.parametrize("samples", SIZES)
def test_primitives_agree_for_any_number_of_samples_and_rows(kept, samples, rows):
    for name, inputs in inputs_of(kept, samples, rows).items():
        torch, onnx = (model.engine.backend.run(name, inputs) for model in (kept.torch, kept.onnx))
        assert list(torch) == list(onnx), name
        for output, value in torch.items():
            assert value.shape == onnx[output].shape, (name, output)
            assert value.dtype == onnx[output].dtype, (name, output)
            np.testing.assert_allclose(onnx[output], value, rtol=1e-4, atol=1e-4, err_msg=f"{name} {output}")


@pytest.mark.parametrize("backend", ["torch", "onnx"])
@pytest.mark.parametrize(("samples", "rows"), [(1, 1), (3, 50)])
def test_the_fused_score_is_encode_then_decode_then_log_density(kept, backend, samples, rows):
    run = getattr(kept, backend).engine.backend.run
    inputs = inputs_of(kept, samples, rows)["score"]
    encoded = run("encode", inputs)
    density = run("log_density", inputs | run("decode", inputs | encoded))
    ratio = sum(encoded[f"log_p.{g}"] - encoded[f"log_q.{g}"] for g in kept.torch.engine.architecture.groups)
    fused = run("score", inputs)
    np.testing.assert_allclose(fused["log_ratio"], ratio, rtol=1e-5, atol=1e-5)
    assert set(fused) == {"log_ratio", *density}
    for name, value in density.items():
        np.testing.assert_allclose(fused[name], value, rtol=1e-5, atol=1e-5, err_msg=name)
        assert fused[name].shape[:2] == (samples, rows)


@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_masked_values_change_nothing(kept, backend):
    """Whatever lies under a missing cell, no primitive sees it."""
    model = getattr(kept, backend)
    inputs = inputs_of(kept, 2, 250)["score"]
    specs, dirty, changed = {spec.name: spec for spec in model.engine.architecture.blocks}, dict(inputs), 0
    for name, spec in specs.items():
        hidden = ~np.broadcast_to(inputs[f"{name}.observed"], inputs[f"{name}.values"].shape)
        changed += hidden.sum()
        garbage = np.array(spec.levels) - 1 if spec.levels else 37.0
        for array in set(spec.inputs) - {"observed"}:
            clean = inputs[f"{name}.{array}"]
            where = hidden if hidden.shape == clean.shape else hidden.reshape(*hidden.shape[:2], -1)[..., :1]
            dirty[f"{name}.{array}"] = np.where(where, garbage, clean).astype(clean.dtype)
    assert changed > 60
    for primitive in ("encode", "score"):
        clean, other = (model.engine.backend.run(primitive, x) for x in (inputs, dirty))
        for name, value in clean.items():
            np.testing.assert_array_equal(other[name], value, err_msg=name)
    for name, spec in specs.items():
        if spec.role == "model":
            seen = inputs[f"{name}.observed"].reshape(250, len(spec.fields), -1).any(-1)
            assert (clean[f"log_px.{name}"][:, ~seen] == 0).all()
            assert (clean[f"log_px.{name}"][:, seen] != 0).any()


# ------------------------------------------------------------------------------------------------------------- choosing


def test_auto_takes_the_graphs_where_there_are_some(zoo):
    kept = zoo["visits"]
    assert vk.load(kept.bundle).engine.backend.name == "onnx"
    assert make_backend(dataclasses.replace(kept.torch.bundle, graphs={})).name == "torch"
    assert kept.torch.engine.backend.name == "torch"


def test_a_backend_that_cannot_be_had_is_refused(zoo, monkeypatch):
    bundle = zoo["bits"].torch.bundle
    with pytest.raises(ConfigError, match="unknown backend 'tensorflow'; expected auto, onnx, litert or torch"):
        make_backend(bundle, "tensorflow")
    with pytest.raises(BundleError, match="no exported graphs"):
        make_backend(bundle, "onnx")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BundleError, match="torch, which is not installed"):
        make_backend(bundle, "torch")


def test_torch_answers_in_evaluation_mode_and_leaves_the_mode_as_it_was(zoo):
    import torch

    kept = zoo["bits"]
    vae = vk.load(kept.bundle, backend="torch").engine.backend
    model = vae.vae
    model.decoder.trunk.register_forward_hook(
        lambda module, _, out: torch.nn.functional.dropout(out, 0.5, model.training)
    )
    inputs = inputs_of(kept, 1, 5)["decode"]
    quiet = kept.torch.engine.backend.run("decode", inputs)
    model.train()
    found = vae.run("decode", inputs)
    for name, value in quiet.items():
        np.testing.assert_array_equal(found[name], value)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_torch_takes_arrays_that_cannot_be_written_without_a_warning(zoo):
    kept = zoo["bits"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kept.torch.score(kept.table.slice(0, 1), samples=1)
        kept.torch.score(kept.table.slice(0, 3))


def test_weights_that_do_not_fit_are_a_bundle_error(zoo):
    bundle = zoo["bits"].torch.bundle
    weights = dict(bundle.weights)
    name, value = weights.popitem()
    with pytest.raises(BundleError, match=r"weights.safetensors does not fit model.json(.|\n)*Missing"):
        make_backend(dataclasses.replace(bundle, weights=weights), "torch")
    with pytest.raises(BundleError, match="weights.safetensors does not fit"):
        make_backend(dataclasses.replace(bundle, weights={**weights, name: np.zeros((3, *value.shape), "f4")}), "torch")


@pytest.mark.parametrize("config", [{"prior": "cauchy"}, {"experts": 4}, {"width": 0}])
def test_an_architecture_of_another_release_is_a_bundle_error(zoo, config):
    import msgspec

    bundle = zoo["bits"].torch.bundle
    architecture = msgspec.structs.replace(bundle.architecture, config=bundle.architecture.config | config)
    with pytest.raises(BundleError, match="this release cannot build"):
        make_backend(dataclasses.replace(bundle, architecture=architecture), "torch")


def test_weights_of_other_networks_are_refused_by_torch_and_answered_by_graphs(zoo):
    import msgspec

    bundle = zoo["visits"].onnx.bundle
    newer = msgspec.structs.replace(bundle.architecture, version=bundle.architecture.version + 1)
    other = dataclasses.replace(bundle, architecture=newer)
    with pytest.raises(BundleError, match=r"version 2 of the networks.*this release has version 1.*backend='onnx'"):
        make_backend(other, "torch")
    assert vk.Model(other, "onnx").score(zoo["visits"].rows) == zoo["visits"].onnx.score(zoo["visits"].rows)


def test_every_model_can_sample_what_it_is_given():
    for name, model in MODELS.items():
        condition = set(model.changes) & {n for n, c in model.changes.items() if c.get("role") == "condition"}
        assert set(model.given) == condition, name
        assert set(model.held) > condition, name

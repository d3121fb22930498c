"""Parts of one's own: named by import path, checked against their contracts, and never run by loading a bundle."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris

import vaekit as vk
from tests.support import fit
from vaekit.api.evaluating import figures_of
from vaekit.api.exporting import export
from vaekit.errors import ConfigError
from vaekit.testing import check

torch.set_num_threads(1)

HOME = Path(__file__).parent
ROWS = load_iris(as_frame=True).frame.rename(columns=lambda name: name.replace(" (cm)", ""))
SHIFTED = {"name": "shop_parts:Shifted", "shift": 0.3}


@pytest.fixture(autouse=True)
def _there(monkeypatch):
    monkeypatch.syspath_prepend(str(HOME))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A model whose parts are nearly all of one's own."""
    sys.path.insert(0, str(HOME))
    try:
        model = fit(
            ROWS,
            vk.Contract.infer(ROWS),
            prior=SHIFTED,
            encoder={"name": "shop_parts:Shallow", "slope": 0.2},
            decoder="shop_parts:Straight",
            likelihoods={"number.gaussian": "shop_parts:Wide"},
            terms={"shop_parts:Pull": {"pull": 0.05}},
            schedules={"pull": {"start": 0.0, "end": 0.05, "share": 0.5}},
            epochs=100,
        )
        return model.save(tmp_path_factory.mktemp("own") / "bundle"), model
    finally:
        sys.path.remove(str(HOME))


def test_a_model_of_own_parts_learns_and_uses_them(bundle):
    _, model = bundle
    kinds = {type(module).__name__ for module in model.engine.backend.vae.modules()}
    assert {"Shifted", "Shallow", "Straight", "Wide"} <= kinds
    assert -model.evaluation["iwae_64"] < model.evaluation["marginal_nats"]
    assert model.bundle.run["config"]["training"]["terms"] == {"shop_parts:Pull": {"pull": 0.05}}


def test_a_bundle_answers_where_the_code_is_not_there(bundle):
    path, model = bundle
    code = f"import vaekit as vk; m = vk.load({str(path)!r}); print(m.sample(5, seed=3).to_pylist())"
    environment = {"PYTHONPATH": str(HOME.parents[1] / "src"), "PATH": ""}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    rows = ast.literal_eval(found.stdout)
    for name, values in model.sample(5, seed=3).to_pydict().items():
        np.testing.assert_allclose([row[name] for row in rows], values, rtol=1e-4, atol=1e-5)


def test_torch_runs_code_only_if_it_is_told_to(bundle, tmp_path):
    path, _ = bundle
    (tmp_path / "shop_parts.py").write_text("raise SystemExit('this code was run')")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import vaekit as vk
for modules in ((), ("shop",), ("shop_parts_2",)):
    try:
        vk.load({str(path)!r}, backend="torch", modules=modules)
    except vk.ConfigError as error:
        print(error)
vk.load({str(path)!r}, backend="torch", modules=["shop_parts"])
"""
    environment = {"PYTHONPATH": str(HOME.parents[1] / "src"), "PATH": ""}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert found.stdout.count("the model has parts from shop_parts, which torch would have to import") == 3
    assert "this code was run" in found.stderr  # only when it was named
    shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)


def test_torch_and_onnx_agree_on_own_parts(bundle):
    path, _ = bundle
    torch_, onnx = (vk.load(path, backend=backend, modules=["shop_parts"]) for backend in ("torch", "onnx"))
    for query in ("score", "embed"):
        first, second = (np.stack(m.query(query, ROWS)[0].to_pylist()) for m in (torch_, onnx))
        np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-4)


def test_a_model_of_own_parts_is_evaluated_without_importing_what_nobody_trusted(bundle):
    path, model = bundle
    assert figures_of(model, ROWS)["latent"]["units"] > 0  # by the networks that are at hand
    graphs = vk.load(path, backend="onnx")
    assert "latent" not in figures_of(graphs, ROWS)
    assert figures_of(graphs, ROWS, modules=["shop_parts"])["latent"]["units"] > 0
    with pytest.raises(ConfigError, match="has parts from shop_parts"):
        figures_of(graphs, ROWS, gaps=True)


def test_an_ensemble_and_an_export_import_what_they_are_told_to(bundle, tmp_path, monkeypatch):
    path, _ = bundle
    with pytest.raises(ConfigError, match="has parts from shop_parts"):
        vk.Ensemble.load([path, path], backend="torch")
    both = vk.Ensemble.load([path, path], backend="torch", modules=["shop_parts"])
    np.testing.assert_allclose(both.score(ROWS[:5])["spread"].to_numpy(), 0.0, atol=1e-6)
    built = []
    monkeypatch.setattr("vaekit.api.exporting._exported", lambda vae, kind: built.append(vae) or {})
    monkeypatch.setattr("vaekit.api.exporting._proof", lambda *args, **options: None)
    with pytest.raises(ConfigError, match="has parts from shop_parts"):
        vk.load(path, backend="onnx").export(tmp_path / "anew", ROWS)
    vk.load(path, backend="onnx").export(tmp_path / "anew", ROWS, modules=["shop_parts"])
    vk.load(path, backend="torch", modules=["shop_parts"]).export(tmp_path / "again", ROWS)
    assert [type(vae.latent.prior).__name__ for vae in built] == ["Shifted", "Shifted"]


def test_pruning_imports_nothing_that_the_record_of_a_fit_names():
    model = fit(ROWS, vk.Contract.infer(ROWS), epochs=1)
    model.bundle.run["config"]["training"]["objective"] = "shop_parts:Flattened"
    with pytest.raises(ConfigError, match="has parts from shop_parts"):
        export(model.bundle, ROWS, form="pruned:0.5")


@pytest.mark.parametrize(
    ("kind", "part", "message"),
    [
        ("prior", "shop_parts:Unnormalised", r"the density integrates to 6\.\d+ over a wide plane, not to 1"),
        (
            "prior",
            {"name": "shop_parts:Elsewhere", "shift": 0.8},
            r"over draws is .*, and its integral under the density says",
        ),
        ("posterior", "shop_parts:Slanted", "log q of a draw is .* and its noise and Jacobian make it"),
        ("likelihood", "shop_parts:Doubled", "the density adds up to"),
        ("encoder", "shop_parts:Restless", "the same seed gives another answer"),
        ("objective", "shop_parts:Flattened", r"term 'pull' has one value per row, \(B,\); got \(\)"),
    ],
)
def test_parts_that_break_their_contract_are_told_how(kind, part, message):
    with pytest.raises(AssertionError, match=message):
        check(kind, part)


def test_parts_that_keep_it_pass():
    check("objective", "shop_parts:Pull")
    check("prior", SHIFTED)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prior": "shop_parts:Missing"}, "prior 'shop_parts:Missing' cannot be imported: module 'shop_parts' has no"),
        ({"prior": "no.such:Thing"}, "cannot be imported: No module named 'no'"),
        ({"prior": "os.system:"}, "is no import path; write package.module:Class"),
        ({"prior": {"name": "shop_parts:Shifted", "scale": 1}}, "has no option scale; it has: shift"),
        ({"encoder": "mlp"}, "unknown encoder 'mlp'; known: , and your own as package.module:Class"),
        (
            {"likelihoods": {"number.normal": "shop_parts:Wide"}},
            "number.normal, which are no blocks of the model",
        ),
    ],
)
def test_paths_that_lead_nowhere_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        fit(ROWS, vk.Contract.infer(ROWS), epochs=1, **options)


def test_a_check_of_an_unknown_kind_is_refused():
    with pytest.raises(ConfigError, match="unknown kind of part 'trunk'; known: encoder, decoder"):
        check("trunk", "shop_parts:Shifted")

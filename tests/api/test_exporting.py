"""Export proves itself, and what it leaves out or makes smaller says so and keeps its promises."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

import vaekit as vk
from vaekit.api import exporting
from vaekit.api.rows import Known, known_rows, parts_of
from vaekit.bundle import Bundle, export
from vaekit.bundle.manifest import read_manifest
from vaekit.errors import BundleError, ConfigError, QueryError
from vaekit.nn.build import ModelConfig
from vaekit.nn.primitives import PRIMITIVES
from vaekit.queries import query
from vaekit.runtime.torch_backend import TorchBackend
from vaekit.training.pruning import prune


@pytest.fixture(scope="module")
def made(wide, tmp_path_factory):
    """Compact bundles made with the table of the fit, by form."""
    folder = tmp_path_factory.mktemp("compact")
    for form in ("float16", "int8", "pruned:0.5"):
        wide.model.export(folder / form, wide.table, form=form)
    return {form.name: vk.load(form) for form in folder.iterdir()}


def stored(monkeypatch, bundle, **changed):
    """Let the exporter, which takes long, give the graphs of a bundle, some of them changed."""
    found = {name: (content, bundle.architecture.graphs[name]) for name, content in bundle.graphs.items()}
    found |= {name: (content, found[name][1]) for name, content in changed.items()}
    monkeypatch.setattr(export, "export", lambda vae: found)


# ------------------------------------------------------------------------------------------------------------ the proof


def test_a_fit_is_proved_on_rows_that_training_did_not_see(wide):
    proof = read_manifest(wide.path).proof
    assert (proof.form, proof.reference, proof.rows) == ("float32", "torch", "held out")
    assert proof.count == len(wide.fitted.bundle.calibration["score"])
    assert set(proof.graphs) == set(PRIMITIVES)
    assert max(proof.graphs.values()) < 1e-4 < proof.tolerance
    assert proof.graphs["score"] > 0


def test_the_rows_of_the_proof_are_in_no_bundle(wide):
    assert wide.fitted._held_out.num_rows > 0
    assert vk.load(wide.path)._held_out is None
    assert not any(path.suffix in (".arrow", ".parquet", ".csv") for path in wide.path.rglob("*"))


def test_without_rows_some_are_drawn_and_the_manifest_says_so(wide, tmp_path, monkeypatch):
    stored(monkeypatch, wide.model.bundle)
    vk.Model(dataclasses.replace(wide.model.bundle, graphs={}, proof=None)).save(tmp_path / "bundle")
    proof = read_manifest(tmp_path / "bundle").proof
    assert (proof.rows, proof.count) == ("drawn", exporting.PROOF_ROWS)
    assert 0 < max(proof.graphs.values()) < 1e-4


def broken(content):
    """A graph with one of its matrices one percent off."""
    model = onnx.load_from_string(content)
    weight = max(model.graph.initializer, key=lambda one: np.prod(one.dims))
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1.01), weight.name))
    return model.SerializeToString()


@pytest.mark.parametrize(("graph", "output"), [("encode", r"z\.z|log_[pq]\.z"), ("decode", r"params\..*")])
def test_a_graph_that_answers_differently_is_refused_by_name(wide, tmp_path, monkeypatch, graph, output):
    bundle = wide.model.bundle
    stored(monkeypatch, bundle, **{graph: broken(bundle.graphs[graph])})
    with pytest.raises(BundleError, match=rf"graph '{graph}' does not answer as torch does: its output '({output})' "):
        vk.Model(dataclasses.replace(bundle, graphs={})).save(tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_a_bundle_from_before_proofs_has_none_and_gets_one(tmp_path, monkeypatch):
    folder = Path(__file__).parent.parent / "bundle" / "format1"
    old = vk.load(folder / "bundle")
    assert old.bundle.proof is None
    stored(monkeypatch, old.bundle)
    new = old.export(tmp_path / "new", folder / "rows.csv")
    assert (new.proof.rows, set(new.proof.graphs)) == ("given", set(PRIMITIVES))
    assert Bundle.load(tmp_path / "new").proof == new.proof


# ------------------------------------------------------------------------------------------------------- which rows


def test_the_table_of_the_fit_is_known_with_its_splits(wide):
    splits = known_rows(wide.model.bundle, wide.table).splits
    assert splits.sizes() == {k: wide.model.bundle.run["rows"][k] for k in ("train", "valid", "calibration")}
    parts = parts_of(wide.model.bundle, wide.table)
    assert parts.told == "held out"
    np.testing.assert_allclose(
        np.sort(wide.model.score(parts.calibration)["score"].to_numpy()),
        wide.model.bundle.calibration["score"],
        rtol=1e-5,
        atol=1e-5,
    )


def test_another_table_is_split_in_three(wide):
    other = wide.table.slice(0, 300)
    assert known_rows(wide.model.bundle, other) == Known()
    parts = parts_of(wide.model.bundle, other)
    assert parts.told == "given"
    assert [part.num_rows for part in parts[:3]] == [150, 60, 90]


def test_rows_that_training_saw_in_part_calibrate_nothing(wide, tmp_path):
    run = wide.model.bundle.run
    sampled = dataclasses.replace(wide.model.bundle, run=run | {"data": run["data"] | {"sampled_from": 300}})
    with pytest.raises(ConfigError, match="training has seen in part; give rows that it did not see"):
        exporting.export(sampled, wide.table.slice(0, 300), form="int8")


# ------------------------------------------------------------------------------------------------------------ in part


def without_torch(path, query, rows=None):
    """What a process without torch says of a bundle."""
    argument = "4, given={'diagnosis': 'benign'}" if query == "sample" else "pa.ipc.open_file(sys.argv[3]).read_all()"
    code = (
        "import sys; sys.modules['torch'] = None; import pyarrow as pa, vaekit as vk; model = vk.load(sys.argv[1]);"
        f"print(model.engine.backend.name, model.query(sys.argv[2], {argument}).num_rows)"
    )
    line = [sys.executable, "-c", code, str(path), query, *([str(rows)] if rows else [])]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_a_generator_needs_two_graphs_and_neither_torch_nor_weights(wide, tmp_path):
    made = wide.model.export(tmp_path / "generator", graphs=("decode", "prior"), weights=False)
    assert (set(made.graphs), made.weights, made.calibration) == ({"decode", "prior"}, {}, {})
    assert set(made.proof.graphs) == {"decode", "prior"}
    there = {path.relative_to(tmp_path / "generator").as_posix() for path in (tmp_path / "generator").rglob("*.*")}
    assert "weights.safetensors" not in there
    assert "graphs/score.onnx" not in there
    done = without_torch(tmp_path / "generator", "sample")
    assert done.stdout.strip() == "onnx 4", done.stderr
    generator = vk.load(tmp_path / "generator")
    given = {"diagnosis": "benign"}
    assert generator.sample(20, given=given) == wide.model.sample(20, given=given)
    for name in ("score", "embed", "reconstruct", "denoise"):
        with pytest.raises(BundleError, match=rf"query '{name}' cannot be answered: this bundle has no graph '"):
            generator.query(name, wide.table.slice(0, 3))


def test_an_encoder_embeds_and_refuses_the_rest(wide, tmp_path):
    import pyarrow.feather as feather

    rows = wide.table.slice(0, 5)
    feather.write_feather(rows, tmp_path / "rows.arrow", compression="uncompressed")
    wide.model.export(tmp_path / "encoder", graphs=("encode",), weights=False)
    done = without_torch(tmp_path / "encoder", "embed", tmp_path / "rows.arrow")
    assert done.stdout.strip() == "onnx 5", done.stderr
    encoder = vk.load(tmp_path / "encoder")
    assert encoder.embed(rows) == wide.model.embed(rows)
    with pytest.raises(BundleError, match="query 'sample' cannot be answered: this bundle has no graph 'prior'"):
        encoder.sample(3, given={"diagnosis": "benign"})


def test_a_bundle_without_weights_answers_and_says_what_torch_lacks(wide, tmp_path):
    wide.model.export(tmp_path / "light", weights=False)
    light = vk.load(tmp_path / "light")
    assert light.detect(wide.table, alpha=0.1) == wide.model.detect(wide.table, alpha=0.1)
    with pytest.raises(BundleError, match="exported without weights, which torch needs; use backend='onnx'"):
        vk.load(tmp_path / "light", "torch")
    light.save(tmp_path / "again")
    assert read_manifest(tmp_path / "again").left_out == ("weights.safetensors",)


def test_what_is_not_there_is_exported_if_there_are_weights(wide, tmp_path, monkeypatch):
    part = wide.model.export(tmp_path / "part", graphs=("encode",))
    stored(monkeypatch, wide.model.bundle)
    assert set(exporting.export(part, graphs=("decode",)).graphs) == {"decode"}
    with pytest.raises(BundleError, match="there is no graph decode to export; the bundle has: encode"):
        exporting.export(dataclasses.replace(part, weights={}), graphs=("decode",))


# ------------------------------------------------------------------------------------------------------------ compact


@pytest.mark.parametrize(
    ("form", "size", "near"), [("float16", 0.75, 0.05), ("int8", 0.72, 2.0), ("pruned:0.5", 0.6, 20.0)]
)
def test_a_compact_form_is_smaller_and_close(wide, made, form, size, near):
    compact = made[form]
    assert sum(map(len, compact.bundle.graphs.values())) < size * sum(map(len, wide.model.bundle.graphs.values()))
    before, after = (model.score(wide.table)["score"].to_numpy() for model in (wide.model, compact))
    assert 0 < np.abs(after - before).max() < near
    proof = compact.bundle.proof
    assert proof.form == form
    assert proof.rows == "held out"
    assert proof.quality["rows"] == wide.model.bundle.run["rows"]["valid"]
    assert 0 < proof.quality["max_score_difference"] < near
    assert proof.quality["agreement"] > 0.8
    assert compact.evaluation == {}


def test_quality_is_what_it_says(wide, made):
    rows = parts_of(wide.model.bundle, wide.table).checked
    before, after = (model.score(rows)["score"].to_numpy() for model in (wide.model, made["int8"]))
    quality = made["int8"].bundle.proof.quality
    assert quality["mean_score_difference"] == pytest.approx((after - before).mean(), rel=1e-4)
    assert quality["max_score_difference"] == pytest.approx(np.abs(after - before).max(), rel=1e-4)


@pytest.mark.parametrize("form", ["float16", "int8", "pruned:0.5"])
def test_p_values_of_a_compact_model_are_its_own(wide, made, form):
    compact = made[form]
    rows = parts_of(wide.model.bundle, wide.table).calibration
    scores = np.sort(compact.score(rows)["score"].to_numpy())
    np.testing.assert_allclose(compact.bundle.calibration["score"], scores, rtol=1e-5)
    assert np.abs(scores - wide.model.bundle.calibration["score"]).max() > 1e-4
    assert compact.score(rows)["p_value"].null_count == 0


def test_without_rows_a_compact_model_promises_nothing(wide, tmp_path):
    wide.model.export(tmp_path / "bundle", form="float16")
    loaded = vk.load(tmp_path / "bundle")
    proof = loaded.bundle.proof
    assert (loaded.bundle.calibration, proof.form, proof.rows, proof.quality) == ({}, "float16", "drawn", {})
    assert loaded.score(wide.table)["p_value"].null_count == wide.table.num_rows
    with pytest.raises(QueryError, match="no calibration scores.*export it with rows"):
        loaded.detect(wide.table)


def operators(content):
    return [node.op_type for node in onnx.load_from_string(content).graph.node]


def test_int8_computes_inner_layers_in_eight_bits_and_the_heads_do_not(made):
    graphs = made["int8"].bundle.graphs
    for name in ("encode", "decode", "score"):
        model = onnx.load_from_string(graphs[name])
        written = {output for node in model.graph.node if node.op_type == "DequantizeLinear" for output in node.output}
        layers = [node for node in model.graph.node if node.op_type in ("MatMul", "Gemm")]
        eight = [node for node in layers if node.input[0] in written and node.input[1] in written]
        assert eight, name
        assert layers[-1] not in eight
        assert "QuantizeLinear" in operators(graphs[name])
    assert "QuantizeLinear" not in operators(graphs["log_density"]) + operators(graphs["prior"])


def test_float16_stores_halves_and_takes_and_gives_singles(made):
    model = onnx.load_from_string(made["float16"].bundle.graphs["score"])
    kinds = [tensor.data_type for tensor in model.graph.initializer]
    assert kinds.count(onnx.TensorProto.FLOAT16) >= 4
    ends = [*model.graph.input, *model.graph.output]
    assert all(one.type.tensor_type.elem_type != onnx.TensorProto.FLOAT16 for one in ends)


def test_pruning_halves_the_width_and_training_on_helps(wide, made):
    trained = made["pruned:0.5"]
    assert trained.bundle.architecture.config["width"] == 32
    assert trained.bundle.weights["decoder.linear.weight"].shape[0] == 32
    parts = parts_of(wide.model.bundle, wide.table)
    rows = parts.calibration
    vae = TorchBackend.from_bundle(wide.model.bundle).vae
    architecture = wide.model.bundle.architecture
    config, seen = ModelConfig(**architecture.config), wide.model.contract.encode(parts.train)
    small, _ = prune(vae, architecture.blocks, config, 0.5, seen)
    cut = dataclasses.replace(wide.model.engine, backend=TorchBackend(small))
    whole, plain, better = (
        query(engine, "score", rows)["score"].to_numpy().mean() for engine in (wide.model.engine, cut, trained.engine)
    )
    assert whole - 3 < better < plain
    np.testing.assert_allclose(
        vk.load(trained.bundle.path, "torch").score(rows)["score"].to_numpy(),
        trained.score(rows)["score"].to_numpy(),
        rtol=1e-4,
    )


def test_units_that_matter_are_kept(wide):
    """Units that no one listens to go first."""
    vae = TorchBackend.from_bundle(wide.model.bundle).vae
    quiet = torch.arange(0, 64, 2)
    with torch.no_grad():
        for name, value in vae.named_parameters():
            for axis in range(value.dim()):
                if value.shape[axis] == 64 and value.dim() == 2:
                    value.index_fill_(axis, quiet, 0.0)
            if value.dim() == 1 and len(value) == 64 and "norm" not in name:
                value.index_fill_(0, quiet, 0.0)
    architecture = wide.model.bundle.architecture
    config = ModelConfig(**architecture.config)
    rows = wide.model.contract.encode(wide.table)
    small, smaller = prune(vae, architecture.blocks, config, 0.5, rows)
    assert smaller.width == 32
    kept = vae.decoder.linear.weight[1::2]
    assert torch.equal(small.decoder.linear.weight, kept)


# -------------------------------------------------------------------------------------------------------------- misuse


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "int4"}, "unknown form 'int4'; known: onnx, float16, int8, pruned, tflite, and pruned:SHARE"),
        ({"form": "int8:0.5"}, "unknown form 'int8:0.5'"),
        ({"form": "pruned:1.5"}, "between 0 and 1; got '1.5'"),
        ({"form": "pruned:half"}, "between 0 and 1; got 'half'"),
        ({"form": "int8"}, "real rows: give DATA"),
        ({"form": "float16", "weights": True}, "float16 is a form of the graphs"),
    ],
)
def test_wrong_options_are_refused(wide, options, message):
    with pytest.raises(ConfigError, match=message):
        exporting.export(wide.model.bundle, **options)


def test_a_compact_bundle_is_not_made_more_compact(made):
    with pytest.raises(BundleError, match="the bundle is int8 already; export from the bundle that it was made of"):
        exporting.export(made["int8"].bundle, form="float16")


def test_tflite_without_its_converter_says_what_to_install(wide, monkeypatch):
    monkeypatch.setitem(sys.modules, "litert_torch", None)
    with pytest.raises(
        ConfigError, match=r"tflite needs litert_torch, which is not installed; install vaekit\[tflite\]"
    ):
        exporting.export(wide.model.bundle, form="tflite")


def test_cost_is_measured_in_a_process_of_its_own(wide, tmp_path):
    from vaekit.api.cost import cost

    found = cost(wide.path, wide.table)
    files = [path for path in wide.path.rglob("*") if path.is_file()]
    assert found.query == "score"
    assert found.bytes == sum(path.stat().st_size for path in files)
    assert found.graph_bytes == sum(path.stat().st_size for path in files if path.suffix == ".onnx")
    assert 30 < found.memory < 400  # MiB: this process has more
    assert 0 < found.one < found.batch
    wide.model.export(tmp_path / "generator", graphs=("decode", "prior"), weights=False)
    assert cost(tmp_path / "generator").query == "sample"
    with pytest.raises(BundleError, match=r"cannot be measured: .*is .* a bundle"):
        cost(tmp_path / "nothing")


def test_manifests_are_plain_json_with_the_proof(wide):
    plain = json.loads((wide.path / "manifest.json").read_bytes())
    assert plain["proof"]["graphs"]["encode"] < 1e-4
    assert plain["left_out"] == []

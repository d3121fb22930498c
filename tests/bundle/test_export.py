"""The graphs of a bundle: plain ONNX without traces of the machine, and any subset of them."""

import dataclasses
import re

import msgspec
import onnx
import pytest

import vaekit as vk
from tests.support import CASES, MODELS, ask
from vaekit.bundle.export import OPSET, export
from vaekit.errors import BundleError, ConfigError
from vaekit.nn.primitives import PRIMITIVES

NEEDS = {
    "score": {"score"},
    "detect": {"score"},
    "embed": {"encode"},
    "edit": {"encode", "decode"},
    "reconstruct": {"encode", "decode"},
    "denoise": {"encode", "decode", "log_density"},
    "interpolate": {"encode", "decode"},
    "traverse": {"encode", "decode"},
    "impute": {"encode", "decode", "log_density"},
    "sample": {"prior", "decode"},
}
HOST = re.compile(rb"/work|/root|/home|/tmp|/usr|/opt|site-packages|\.py\b|[A-Z]:\\\\")


def test_every_primitive_is_exported(kept):
    assert set(kept.onnx.bundle.graphs) == set(PRIMITIVES)
    assert set(kept.onnx.bundle.architecture.graphs) == set(PRIMITIVES)


def test_graphs_are_valid_and_use_nothing_but_standard_operators(kept):
    for name, content in kept.onnx.bundle.graphs.items():
        model = onnx.load_from_string(content)
        onnx.checker.check_model(model, full_check=True)
        assert {entry.domain: entry.version for entry in model.opset_import}[""] == OPSET, name
        assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}, name
        assert all(node.op_type not in ("RandomNormal", "RandomUniform", "Dropout") for node in model.graph.node), name
        signature = kept.onnx.bundle.architecture.graphs[name]
        assert tuple(entry.name for entry in model.graph.input) == signature.inputs
        assert tuple(entry.name for entry in model.graph.output) == signature.outputs


def test_nothing_in_a_bundle_names_the_machine_that_made_it(kept):
    import getpass
    import socket

    secrets = [name.encode() for name in (socket.gethostname(), getpass.getuser()) if len(name) > 3]
    for path in kept.bundle.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            binary = path.suffix == ".safetensors"
            assert binary or not HOST.search(content), (path.name, HOST.search(content))
            assert not [name for name in secrets if name in content], path.name


def test_rows_and_samples_are_free_and_fields_are_not(kept):
    for content in kept.onnx.bundle.graphs.values():
        for entry in onnx.load_from_string(content).graph.input:
            dims = [d.dim_param or d.dim_value for d in entry.type.tensor_type.shape.dim]
            lead = {"noise": 2, "z": 2}.get(entry.name.partition(".")[0], 1)
            if entry.name.startswith("params."):
                continue  # some do not depend on the row
            assert all(isinstance(d, str) for d in dims[:lead]), (entry.name, dims)
            assert all(isinstance(d, int) for d in dims[lead:]), (entry.name, dims)


def test_exporting_does_not_change_the_model(zoo):
    import torch

    vae = vk.load(zoo["bits"].bundle, backend="torch").engine.backend.vae.train()
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    first, second = (export(vae, ("prior",))["prior"] for _ in range(2))
    assert vae.training
    assert first == second  # byte for byte
    assert all(torch.equal(before[name], value) for name, value in vae.state_dict().items())


def test_an_unknown_graph_is_refused(zoo):
    with pytest.raises(ConfigError, match=r"unknown graphs \['decoder'\]; known: encode, prior, decode"):
        export(zoo["bits"].torch.engine.backend.vae, ("decoder",))


def subset(bundle, names):
    graphs = {name: bundle.graphs[name] for name in names}
    signatures = {name: bundle.architecture.graphs[name] for name in names}
    return dataclasses.replace(
        bundle, graphs=graphs, architecture=msgspec.structs.replace(bundle.architecture, graphs=signatures)
    )


def test_every_query_has_its_needs_listed():
    from vaekit.queries import QUERIES

    assert set(NEEDS) == set(QUERIES) == {case.query for case in CASES.values()}


@pytest.mark.parametrize("query", NEEDS)
def test_a_subset_of_graphs_answers_what_it_can_and_refuses_the_rest_by_name(zoo, tmp_path, query):
    kept = zoo["visits"]
    case = next(case for case in CASES.values() if case.query == query)
    enough = vk.load(subset(kept.onnx.bundle, NEEDS[query]).save(tmp_path / "enough"))
    assert ask(enough, kept.name, case, kept.rows).num_rows > 0
    for missing in NEEDS[query]:
        rest = set(PRIMITIVES) - {missing}
        model = vk.load(subset(kept.onnx.bundle, rest).save(tmp_path / f"without {missing}"))
        with pytest.raises(BundleError, match=rf"query '{query}' cannot be answered.*no graph '{missing}'; it holds: "):
            ask(model, kept.name, case, kept.rows)


def test_conditional_samples_need_other_graphs_than_free_ones(zoo, tmp_path):
    kept = zoo["visits"]
    generator = vk.load(subset(kept.onnx.bundle, {"prior", "decode"}).save(tmp_path / "generator"))
    assert generator.sample(5, given=MODELS["visits"].given).num_rows == 5
    with pytest.raises(BundleError, match="query 'sample' cannot be answered.*no graph 'encode'"):
        generator.sample(5, given=MODELS["visits"].held)

"""Export: from a model to a bundle that answers without torch, whole or in part, exact or compact, and proved."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from vaekit.api.rows import Parts, parts_of
from vaekit.bundle import Bundle
from vaekit.bundle.manifest import Proof
from vaekit.errors import BundleError, ConfigError
from vaekit.queries.calibrate import calibrate
from vaekit.queries.evaluate import some_rows
from vaekit.queries.sample import sample
from vaekit.queries.score import score
from vaekit.runtime import Engine
from vaekit.runtime.proof import Apart, apart, walk

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["FORMS", "PROOF_ROWS", "TOLERANCE", "export", "with_graphs"]

FORMS = ("onnx", "float16", "int8", "pruned", "tflite")
PROOF_ROWS = 256  # on which graphs are compared
TOLERANCE = 1e-3  # relative; single precision differs by about 1e-5, a wrong operator by far more
_RANGE_ROWS = 512  # from which activations get their ranges
_ALPHA = 0.01  # rate of false alarms at which detections are compared
_SHARE = 0.5  # of hidden units that are pruned if nothing else is said


def export(
    bundle: Bundle,
    data: Any = None,
    *,
    form: str = "onnx",
    graphs: Sequence[str] | None = None,
    weights: bool | None = None,
    modules: Collection[str] = (),
) -> Bundle:
    """Another bundle of the same model.

    ``onnx`` has the graphs as they are, or exports them anew if some are not there or rows are given. ``float16`` has
    half the size and nearly the same answers. ``int8`` computes inner layers in eight bits. ``pruned:0.5`` lacks half
    of the hidden units and, where rows are given, is trained on shortly. ``tflite`` is the exact model for LiteRT.

    Of the table of the fit, training rows set the ranges of activations or train on, calibration rows calibrate, and
    early-stopping rows say what the form costs; any other table is split in the same way. Without rows a compact model
    has no p-values: the calibration scores of another model would break their promise.

    Args:
        bundle: The bundle.
        data: Real rows, in any form that a contract takes.
        form: A name of `FORMS`; ``pruned`` may be followed by ``:`` and the share of hidden units that go.
        graphs: Which graphs; all by default.
        weights: Whether weights are kept; by default those of ``onnx`` and ``pruned`` are.
        modules: Names of modules that parts of the model may be imported from, see `vaekit.load`.

    Returns:
        The bundle, in memory; its `proof` says how it compares.

    Raises:
        ConfigError: If an option is unknown, or the form needs rows and there are none.
        BundleError: If a graph does not answer as it should, or the bundle lacks what the export needs.
    """
    name, share = _form(form)
    if bundle.proof is not None and bundle.proof.form != "float32":
        raise BundleError(f"the bundle is {bundle.proof.form} already; export from the bundle that it was made of")
    if bundle.kind != "onnx" and not bundle.weights:
        raise BundleError("the bundle holds LiteRT graphs and no weights; export from the bundle that it was made of")
    if name == "int8" and data is None:
        raise ConfigError("int8 takes the ranges of activations from real rows: give DATA, rows like those of the fit")
    if name in ("float16", "int8") and weights:
        raise ConfigError(f"{name} is a form of the graphs; its weights would be those of the float32 bundle")
    try:
        parts = None if data is None else parts_of(bundle, data)
        made = _made(bundle, parts, name, share, graphs, modules)
    except ModuleNotFoundError as error:
        extra = "tflite" if name == "tflite" else "train"
        raise ConfigError(f"{name} needs {error.name}, which is not installed; install vaekit[{extra}]") from error
    made = made if graphs is None else _part(made, graphs)
    keep = name in ("onnx", "pruned") if weights is None else weights
    return made if keep else dataclasses.replace(made, weights={})


def with_graphs(
    bundle: Bundle,
    rows: pa.Table | None = None,
    told: str = "given",
    kind: str = "onnx",
    backend: Any = None,
    modules: Collection[str] = (),
) -> Bundle:
    """The bundle with its graph primitives exported and compared with torch; needs torch.

    Args:
        bundle: A bundle with weights.
        rows: Real rows to compare on; drawn from the model if not given.
        told: Where the rows came from.
        kind: ``onnx``, or ``tflite`` for LiteRT.
        backend: The torch backend of the model, if there is one; built from the bundle otherwise.
        modules: Names of modules that parts of the model may be imported from.

    Raises:
        BundleError: If a graph answers differently from torch.
    """
    from vaekit.runtime.torch_backend import TorchBackend

    backend = backend or TorchBackend.from_bundle(bundle, modules)
    exported = _exported(backend.vae, kind)
    signatures = {name: signature for name, (_, signature) in exported.items()}
    made = dataclasses.replace(
        bundle,
        architecture=msgspec.structs.replace(bundle.architecture, graphs=signatures),
        graphs={name: content for name, (content, _) in exported.items()},
        kind=kind,
    )
    proof = _proof(Engine.of(bundle, backend), made, rows, told, reference="torch", tolerance=TOLERANCE)
    return dataclasses.replace(made, proof=proof)


def _exported(vae: Any, kind: str) -> dict[str, Any]:
    if kind == "tflite":
        from vaekit.bundle.edge import convert

        return convert(vae)
    from vaekit.bundle.export import export as to_onnx

    return to_onnx(vae)


def _made(
    bundle: Bundle,
    parts: Parts | None,
    name: str,
    share: float,
    graphs: Sequence[str] | None,
    modules: Collection[str],
) -> Bundle:
    """The bundle in a form, with all its graphs."""
    if name == "pruned":
        return _pruned(bundle, parts, share, modules)
    if name == "tflite":
        return with_graphs(bundle, *_rows(parts), kind="tflite", modules=modules)
    if name == "onnx":
        return _exact(bundle, parts, graphs, modules)
    return _compact(_exact(bundle, None, graphs, modules), parts, name)


def _form(form: str) -> tuple[str, float]:
    name, colon, text = form.partition(":")
    if name not in FORMS or (colon and name != "pruned"):
        raise ConfigError(f"unknown form {form!r}; known: {', '.join(FORMS)}, and pruned:SHARE")
    try:
        share = float(text) if colon else _SHARE
    except ValueError:
        share = 0.0
    if not 0.0 < share < 1.0:
        raise ConfigError(f"pruned takes the share of hidden units that go, between 0 and 1; got {text!r}")
    return name, share


def _exact(bundle: Bundle, parts: Parts | None, graphs: Sequence[str] | None, modules: Collection[str]) -> Bundle:
    """The bundle in single precision: with its graphs, or with new ones where some are not there or rows are given."""
    if parts is not None and bundle.weights:
        return with_graphs(bundle, *_rows(parts), modules=modules)
    there = bundle.kind == "onnx" and bool(bundle.graphs) and set(graphs or ()) <= bundle.graphs.keys()
    return bundle if there or not bundle.weights else with_graphs(bundle, modules=modules)


def _rows(parts: Parts | None) -> tuple[pa.Table | None, str]:
    """Rows to compare on, and where they came from; none, to have some drawn."""
    return (None, "drawn") if parts is None else (parts.checked, parts.told)


def _part(bundle: Bundle, graphs: Sequence[str]) -> Bundle:
    """The bundle with some of its graphs; without `score` calibration scores have nothing to be compared with."""
    if missing := sorted(set(graphs) - bundle.graphs.keys()):
        held = ", ".join(sorted(bundle.graphs))
        raise BundleError(f"there is no graph {', '.join(missing)} to export; the bundle has: {held}")
    signatures = {name: one for name, one in bundle.architecture.graphs.items() if name in graphs}
    proof = bundle.proof
    if proof is not None:
        kept = {name: difference for name, difference in proof.graphs.items() if name in graphs}
        proof = msgspec.structs.replace(proof, graphs=kept)
    return dataclasses.replace(
        bundle,
        architecture=msgspec.structs.replace(bundle.architecture, graphs=signatures),
        graphs={name: content for name, content in bundle.graphs.items() if name in graphs},
        calibration=bundle.calibration if "score" in graphs else {},
        proof=proof,
    )


def _compact(base: Bundle, parts: Parts | None, form: str) -> Bundle:
    """Graphs in half precision or in eight bits."""
    from vaekit.bundle.compact import float16, int8

    if form == "float16" or parts is None:
        graphs = {name: float16(content) for name, content in base.graphs.items()}
    else:
        asked = _asked(base, some_rows(parts.train, _RANGE_ROWS, 0))
        graphs = {name: int8(content, asked[name]) for name, content in base.graphs.items()}
    made = dataclasses.replace(base, graphs=graphs, evaluation={}, calibration={})
    return _measured(base, made, parts, form)


def _asked(base: Bundle, rows: pa.Table) -> dict[str, dict[str, Any]]:
    """Inputs of each graph for some rows, as the runtime takes them."""
    engine = Engine.of(base)
    found = walk(engine, engine.encode(rows), base.graphs)
    signatures = base.architecture.graphs
    return {
        name: {one: np.ascontiguousarray(inputs[one]) for one in signatures[name].inputs}
        for name, inputs in found.items()
    }


def _pruned(bundle: Bundle, parts: Parts | None, share: float, modules: Collection[str]) -> Bundle:
    """The model with fewer hidden units, trained on where there are rows."""
    from vaekit.nn.build import ModelConfig
    from vaekit.nn.own import refuse_untrusted
    from vaekit.runtime.torch_backend import TorchBackend
    from vaekit.training.config import TrainConfig
    from vaekit.training.pruning import prune, retrain

    whole, contract = TorchBackend.from_bundle(bundle, modules), bundle.contract
    config = msgspec.convert(bundle.architecture.config, ModelConfig)
    rows = None if parts is None else contract.encode(some_rows(parts.train, _RANGE_ROWS, 0))
    vae, smaller = prune(whole.vae, bundle.architecture.blocks, config, share, rows)
    if parts is not None:
        recorded = bundle.run.get("config", {}).get("training", {})
        refuse_untrusted(recorded, modules)  # to read it would import them
        settings = msgspec.convert(recorded, TrainConfig)
        train = contract.encode(parts.train, training=True)
        retrain(vae, train, contract.encode(parts.checked), settings, 0)
    small = dataclasses.replace(
        bundle,
        architecture=msgspec.structs.replace(bundle.architecture, config=msgspec.to_builtins(smaller)),
        weights={name: value.detach().cpu().numpy() for name, value in vae.state_dict().items()},
        evaluation={},
        calibration={},
    )
    exact = with_graphs(small, *_rows(parts), modules=modules)
    made = _measured(bundle, exact, parts, f"pruned:{share:g}")
    return dataclasses.replace(made, proof=_joined(exact.proof, made.proof))


def _joined(exact: Proof | None, measured: Proof | None) -> Proof | None:
    """The proof of export of a pruned model, with its quality."""
    if exact is None or measured is None:
        return exact
    return msgspec.structs.replace(exact, form=measured.form, quality=measured.quality)


def _measured(base: Bundle, made: Bundle, parts: Parts | None, form: str) -> Bundle:
    """A compact bundle with its own calibration, the differences of its graphs, and what it costs."""
    whole, compact = Engine.of(base), Engine.of(made)
    quality: dict[str, float] = {}
    if parts is not None and "score" in made.graphs:
        made = dataclasses.replace(made, calibration=calibrate(compact, parts.calibration))
        quality = _quality(base, made, parts)
    same = base.architecture.config == made.architecture.config
    proof = _proof(whole, made, *_rows(parts), reference="float32", tolerance=None) if same else made.proof
    return dataclasses.replace(made, proof=proof and msgspec.structs.replace(proof, form=form, quality=quality))


def _quality(base: Bundle, made: Bundle, parts: Parts) -> dict[str, float]:
    """Differences of scores, and how often both detect alike, on rows that neither was made with."""
    answers = []
    for bundle in (base, made):
        engine = Engine.of(bundle)
        table = score(engine, parts.checked)
        answers.append((table["score"].to_numpy(), table["p_value"].to_numpy()))
    (before, p), (after, q) = answers
    n = min(len(one.calibration.get("score", ())) for one in (base, made))
    found = {
        "rows": float(len(before)),
        "mean_score_difference": float(np.mean(after - before)),
        "max_score_difference": float(np.max(np.abs(after - before))),
    }
    if n == 0:
        return found
    alpha = max(_ALPHA, 1.0 / (n + 1))
    return found | {"alpha": alpha, "agreement": float(np.mean((p <= alpha) == (q <= alpha)))}


def _proof(
    engine: Engine, made: Bundle, rows: pa.Table | None, told: str, *, reference: str, tolerance: float | None
) -> Proof:
    """Compare the graphs of a bundle with what another engine of the model answers.

    Raises:
        BundleError: If one is further away than the tolerance.
    """
    if rows is None or rows.num_rows == 0:
        conditions = dict.fromkeys(made.contract.names("condition"))
        rows, told = sample(engine, PROOF_ROWS, given=conditions), "drawn"
    rows = some_rows(rows, PROOF_ROWS, 0)
    found = apart(engine.backend, Engine.of(made).backend, engine, engine.encode(rows), made.graphs)
    if tolerance is not None:
        _check(found, tolerance, rows.num_rows)
    return Proof(
        reference=reference,
        rows=told,
        count=rows.num_rows,
        tolerance=tolerance,
        graphs={name: one.difference for name, one in found.items()},
    )


def _check(found: dict[str, Apart], tolerance: float, rows: int) -> None:
    name = max(found, key=lambda graph: found[graph].difference)
    difference, output = found[name]
    if difference > tolerance:
        raise BundleError(
            f"graph {name!r} does not answer as torch does: its output {output!r} differs by {difference:.2g} relative "
            f"on {rows} rows, and {tolerance:g} is accepted; save without graphs (model.bundle.save) and use torch"
        )

"""`embed` and `reconstruct`: the posterior centre, and the row as the model sees it from there."""

import numpy as np
import pyarrow as pa
import pytest

from tests.notorch.alike import differences, numbers
from vaekit.fields.families import FAMILIES
from vaekit.runtime import engine as engine_module


def centred(kept, rows):
    """z at the posterior centre, by the primitive with zero noise."""
    engine = kept.torch.engine
    blocks = engine.inputs(engine.encode(rows))
    zero = {"noise.z": np.zeros((1, rows.num_rows, engine.architecture.groups["z"]), np.float32)}
    return engine.backend.run("encode", blocks | zero), blocks


def test_embeddings_are_posterior_centres(kept):
    encoded, _ = centred(kept, kept.rows)
    answer = kept.torch.embed(kept.rows)
    width = kept.torch.engine.architecture.groups["z"]
    assert answer.schema == pa.schema({"embedding": pa.list_(pa.float32(), width)})
    found = numbers(answer["embedding"])
    np.testing.assert_array_equal(found.astype(np.float32), encoded["z.z"][0])
    assert found.std(0).max() > 0.1


def test_reconstructions_are_point_predictions_at_the_centre(kept):
    encoded, blocks = centred(kept, kept.rows)
    engine = kept.torch.engine
    decoded = engine.backend.run("decode", blocks | encoded)
    points = {}
    for spec in engine.architecture.blocks:
        if spec.role == "model":
            params = {
                n.rpartition(".")[2]: v[0] for n, v in decoded.items() if n.rpartition(".")[0] == f"params.{spec.name}"
            }
            points[spec.name] = FAMILIES[spec.likelihood].point(params, spec)
    expected = kept.torch.contract.decode(points)
    answer = kept.torch.reconstruct(kept.rows)
    assert answer.equals(expected)
    assert answer.column_names == list(kept.torch.contract.names("model"))
    for name in answer.column_names:
        assert answer[name].type == kept.table[name].type
        assert answer[name].null_count == 0


def test_reconstructions_resemble_the_rows(zoo):
    kept = zoo["pair"]
    answer = kept.torch.reconstruct(kept.rows)
    for name in "ab":
        real, seen = (np.asarray(t[name].to_numpy()) for t in (kept.rows, answer))
        assert np.sqrt(np.mean((real - seen) ** 2)) < 0.5 * real.std()
    half = kept.rows.set_column(1, "b", pa.nulls(kept.rows.num_rows, pa.float64()))
    guessed = np.asarray(kept.torch.reconstruct(half)["b"].to_numpy())
    assert np.corrcoef(guessed, 0.9 * np.asarray(half["a"].to_numpy()))[0, 1] > 0.95


@pytest.mark.parametrize("query", ["embed", "reconstruct"])
@pytest.mark.parametrize("rows", [0, 1, 2])
def test_rows_stand_alone(kept, monkeypatch, query, rows):
    whole = getattr(kept.torch, query)(kept.rows)
    few = getattr(kept.torch, query)(kept.rows.slice(0, rows))
    assert differences(few, whole.slice(0, rows)) == []
    monkeypatch.setattr(engine_module, "_CELLS", 150)
    assert differences(getattr(kept.torch, query)(kept.rows), whole) == []

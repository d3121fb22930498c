"""A masked row says where its values lie, never what they are."""

from dataclasses import replace

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from tests.support import flights, lenient
from vaekit.errors import ConfigError
from vaekit.monitoring.masks import Masks
from vaekit.queries import query


def watched(model, share=1.0, seed=0):
    masks = Masks(model.engine, share, seed)
    return masks, replace(model.engine, watcher=masks)


def test_nothing_of_planted_values_is_told(zoo):
    rows = flights().slice(0, 4)
    planted = {
        "dep_delay": pa.array([31337.125, 31337.125, None, -31337.0]),
        "carrier": pa.array(["SECRET", "UA", None, "SECRET"]),
        "distance": pa.array([77777, 88888, 99999, None], pa.int32()),
    }
    for name, column in planted.items():
        rows = rows.set_column(rows.schema.get_field_index(name), name, column)
    masks, engine = watched(lenient(zoo, "carrier"))
    query(engine, "score", rows)
    found = masks.collect()
    told = msgspec.json.encode([msgspec.structs.replace(one, score=None, p_value=None) for one in found]).decode()
    assert len(found) == 4
    for value in ("31337", "SECRET", "77777", "88888", "99999", "UA", "JFK", "EWR", "LGA"):
        assert value not in told
    words = {word for one in found for word in one.fields.values()}
    assert words <= {"known", "unknown", "missing", *(f"decile {tenth}" for tenth in range(1, 11))}
    assert [one.fields["carrier"] for one in found] == ["unknown", "known", "missing", "unknown"]
    assert [one.fields["dep_delay"] for one in found] == ["decile 10", "decile 10", "missing", "decile 1"]


def test_vectors_are_not_described(zoo):
    masks, engine = watched(zoo["digits"].onnx)
    query(engine, "score", zoo["digits"].rows.slice(0, 3))
    assert [set(one.fields) for one in masks.collect()] == [{"label"}] * 3


def test_deciles_are_those_of_the_training_rows(zoo):
    masks, engine = watched(zoo["pair"].torch)
    rows = zoo["pair"].table
    query(engine, "embed", rows)
    told = np.array([int(one.fields["a"].removeprefix("decile ")) for one in masks.collect()])
    a = rows["a"].to_numpy()
    rank = np.argsort(np.argsort(a)) * 10 // len(a) + 1
    assert (np.abs(told - rank) <= 1).all()
    assert (told == rank).mean() > 0.95


def test_counts_say_only_that_they_are_there(zoo):
    masks, engine = watched(zoo["visits"].onnx)
    query(engine, "embed", zoo["visits"].rows)
    assert {one.fields["calls"] for one in masks.collect()} == {"known", "missing"}


def test_score_and_p_value_are_those_of_the_answer(zoo):
    masks, engine = watched(zoo["flights"].onnx)
    rows = zoo["flights"].rows
    answer = query(engine, "score", rows)
    found = masks.collect()
    assert [one.row for one in found] == list(range(200))
    assert [one.score for one in found] == pytest.approx(answer["score"].to_pylist(), rel=1e-12)
    assert [one.p_value for one in found] == answer["p_value"].to_pylist()
    query(engine, "score", rows, seed=1)
    assert {one.p_value for one in masks.collect()} == {None}  # calibration rows were scored with another draw
    query(engine, "embed", rows)
    assert {one.score for one in masks.collect()} == {None}


def test_the_strangest_fields_are_named(zoo):
    masks, engine = watched(zoo["cancer"].onnx)
    rows = zoo["cancer"].rows
    answer = query(engine, "detect", rows, alpha=0.2, attribution=True)
    for one, row in zip(masks.collect(), answer.to_pylist(), strict=True):
        excess = {name.removeprefix("excess."): nats for name, nats in row.items() if name.startswith("excess.")}
        expected = [name for name in sorted(excess, key=excess.__getitem__, reverse=True) if excess[name] > 0][:3]
        assert len(one.strangest) == len(expected)
        nats = [excess[name] for name in one.strangest]
        np.testing.assert_allclose(nats, [excess[name] for name in expected], atol=1e-3)


def test_about_the_share_that_was_asked_for_is_described(zoo):
    masks, engine = watched(zoo["bits"].torch, share=0.1)
    rows = zoo["bits"].table
    for start in range(0, 1500, 7):  # in small batches, whose rows are chosen as those of large ones
        query(engine, "embed", rows.slice(start, 7))
    assert 100 < len(masks.collect()) < 210
    none, engine = watched(zoo["bits"].torch, share=0.0)
    query(engine, "embed", rows)
    assert none.collect() == []


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_is_between_0_and_1(zoo, share):
    with pytest.raises(ConfigError, match="from 0 to 1"):
        Masks(zoo["bits"].torch.engine, share)

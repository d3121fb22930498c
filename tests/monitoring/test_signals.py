"""Signals are counts of what queries computed: right, complete, and of a size that does not grow."""

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from tests.support import flights, lenient
from vaekit.monitoring.grids import DIVERGENCES, NATS, edges_of
from vaekit.monitoring.signals import Signals
from vaekit.queries import query
from vaekit.queries.base import weigh
from vaekit.runtime import Engine


def watched(model, **options):
    signals = Signals(model.engine, **options)
    return signals, replace(model.engine, watcher=signals)


def test_scores_are_counted_in_their_buckets(zoo):
    signals, engine = watched(zoo["flights"].onnx)
    rows = zoo["flights"].rows
    score = query(engine, "score", rows)["score"].to_numpy()
    found = signals.collect().nats["score"]
    edges = np.array([-np.inf, *found.edges, np.inf])
    expected = [int(((score > low) & (score <= high)).sum()) for low, high in pairwise(edges)]
    assert found.counts == expected
    assert found.gained - found.lost == pytest.approx(score.sum())
    assert found.gained == pytest.approx(score[score > 0].sum())
    assert sum(count > 0 for count in found.counts) > 6  # the buckets are where the scores are


def test_divergence_and_reconstruction_are_the_terms_of_the_elbo(zoo):
    signals, engine = watched(zoo["pair"].torch)
    rows = zoo["pair"].rows
    query(engine, "score", rows)
    tally = signals.collect()
    part = next(weigh(zoo["pair"].torch.engine, engine.encode(rows), 8, 0))
    kl = -part.log_ratio.mean(0).sum()
    mean = {name: spread.gained - spread.lost for name, spread in tally.nats.items()}
    assert mean["kl"] == pytest.approx(kl, rel=1e-4)
    assert mean["kl"] + mean["reconstruction"] == pytest.approx(-part.log_weight.mean(0).sum(), rel=1e-6)
    assert mean["kl"] / 200 == pytest.approx(zoo["pair"].torch.evaluation["kl"], rel=0.2)  # the exact one


def test_missing_cells_are_counted_by_field(zoo):
    for name in ("flights", "digits", "visits"):
        model, rows = zoo[name].onnx, zoo[name].rows
        signals, engine = watched(model)
        query(engine, "embed", rows)
        tally = signals.collect()
        assert tally.rows == len(rows)
        assert tally.unknown == {}
        for field in model.contract.fields:
            if field.role in ("model", "condition") and field.kind not in ("vector", "datetime"):
                assert tally.missing.get(field.name, 0) == rows[field.name].null_count


def test_a_vector_counts_by_the_share_of_its_elements(zoo):
    signals, engine = watched(zoo["digits"].onnx)
    query(engine, "embed", zoo["digits"].rows)
    grey = zoo["digits"].rows["grey"].to_pylist()
    share = sum(1.0 if row is None else sum(value is None for value in row) / 16 for row in grey)
    assert signals.collect().missing["grey"] == pytest.approx(share)


def test_unknown_categories_are_told_from_missing_ones(zoo):
    signals, engine = watched(lenient(zoo, "carrier", "origin"))
    rows = flights().slice(0, 6)
    carrier = pa.array(["UA", "??", None, "!!", "UA", "??"])
    origin = pa.array(["JFK", "JFK", "LHR", None, "EWR", "JFK"])
    for name, column in (("carrier", carrier), ("origin", origin)):
        rows = rows.set_column(rows.schema.get_field_index(name), name, column)
    query(engine, "embed", rows)
    tally = signals.collect()
    assert tally.unknown == {"carrier": 3, "origin": 1}
    assert tally.missing["carrier"] == tally.missing["origin"] == 1


def test_fields_beyond_the_first_are_counted_as_others(zoo):
    signals, engine = watched(zoo["visits"].onnx, fields=2)
    rows = zoo["visits"].rows
    query(engine, "embed", rows)
    missing = signals.collect().missing
    named = zoo["visits"].onnx.contract.names()[:2]
    assert set(missing) == {*named, "other"}
    assert missing["other"] == sum(rows[name].null_count for name in rows.column_names if name not in named)


def test_collecting_starts_anew_and_batches_add_up(zoo):
    signals, engine = watched(zoo["flights"].onnx)
    rows = zoo["flights"].rows
    query(engine, "score", rows)
    whole = signals.collect()
    assert not signals.waiting
    assert signals.collect() == type(whole)()
    for start in range(0, 200, 50):
        query(engine, "score", rows.slice(start, 50))
    parts = signals.collect()
    assert (parts.rows, parts.missing) == (whole.rows, whole.missing)
    assert sum(parts.nats["score"].counts) == 200
    assert parts.nats["score"].gained == pytest.approx(whole.nats["score"].gained, rel=1e-5)


def test_it_is_time_to_collect_at_first_and_then_after_many_rows(zoo):
    signals, engine = watched(zoo["bits"].torch)
    assert not signals.due
    query(engine, "embed", zoo["bits"].rows.slice(0, 1))
    assert signals.due
    signals.collect()
    signals._since = float("inf")  # as if no time went by
    query(engine, "embed", zoo["bits"].rows.slice(0, 1))
    assert not signals.due
    for _ in range(3):
        query(engine, "embed", zoo["bits"].rows)
    assert signals.due


def test_the_size_of_a_tally_does_not_grow_with_rows(zoo):
    signals, engine = watched(zoo["flights"].onnx)
    sizes = []
    for rows in (zoo["flights"].rows.slice(0, 50), zoo["flights"].table):
        query(engine, "score", rows)
        sizes.append(len(msgspec.msgpack.encode(signals.collect())))
    assert sizes[1] < sizes[0] + 200


def test_one_row_that_is_infinitely_strange_does_not_spoil_the_sums(zoo):
    signals = Signals(zoo["bits"].torch.engine)
    blocks = zoo["bits"].torch.engine.encode(zoo["bits"].rows.slice(0, 3))
    signals.encoded(blocks)
    nats = np.zeros((2, 3))
    signals.weighed(blocks, SimpleNamespace(score=np.array([1.5, np.inf, np.nan]), log_ratio=nats, log_weight=nats))
    found = signals.collect().nats["score"]
    assert found.gained - found.lost == 1.5
    assert sum(found.counts) == 3
    assert found.counts[-1] == 2


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_edges_resolve_the_calibration_scores_and_go_on_beyond(scale):
    scores = np.sort(scale * np.random.default_rng(0).normal(3, 1, 2000))
    edges = edges_of(scores)
    assert list(edges) == sorted(set(edges))
    inside = np.bincount(np.searchsorted(edges, scores), minlength=len(edges) + 1)
    assert inside.max() < 700  # no bucket holds most of the rows
    assert edges[0] < scores[0] - 1 * scale
    assert edges[-1] > scores[-1] + 50 * scale


def test_without_calibration_there_is_a_fixed_grid():
    assert edges_of(None) == edges_of(np.zeros(3)) == NATS
    assert list(NATS) == sorted(NATS)
    assert list(DIVERGENCES) == sorted(DIVERGENCES)
    constant = edges_of(np.full(100, 7.0))  # all calibration rows alike
    assert constant[0] < 7.0 < constant[-1]


def test_an_engine_without_a_watcher_has_none(zoo):
    assert Engine.of(zoo["bits"].torch.bundle, "torch").watcher is None

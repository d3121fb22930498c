"""A watcher sees what queries encode and how their rows score, and nobody else notices it."""

from dataclasses import replace

import numpy as np
import pytest

from vaekit.metrics import log_mean_exp, normalized_weights
from vaekit.queries import query
from vaekit.runtime import Watchers


class Seer:
    def __init__(self):
        self.blocks, self.parts = [], []

    def encoded(self, blocks):
        self.blocks.append(blocks)

    def weighed(self, blocks, part):
        assert blocks is self.blocks[-1]
        self.parts.append(part)


@pytest.fixture
def seer(zoo):
    seer = Seer()
    return seer, replace(zoo["flights"].onnx.engine, watcher=seer)


def test_what_is_shown_is_what_the_query_answers(zoo, seer):
    watcher, engine = seer
    rows = zoo["flights"].rows
    answer = query(engine, "score", rows)
    assert answer == query(zoo["flights"].onnx.engine, "score", rows)
    np.testing.assert_array_equal(np.concatenate([part.score for part in watcher.parts]), answer["score"].to_numpy())
    plain = zoo["flights"].onnx.engine.encode(rows)
    assert watcher.blocks[0].keys() == plain.keys()
    assert all((watcher.blocks[0][name].values == block.values).all() for name, block in plain.items())


def test_queries_that_do_not_score_are_shown_too(zoo, seer):
    watcher, engine = seer
    for name in ("embed", "reconstruct", "impute", "denoise"):
        query(engine, name, zoo["flights"].rows.slice(0, 5))
    assert len(watcher.blocks) == 4
    assert watcher.parts == []


def test_what_samples_are_drawn_given_is_no_row_that_came_in(zoo, seer):
    watcher, engine = seer
    query(engine, "sample", 3, given={"origin": "JFK", "hour": 9.0, "dep_delay": 1.0})
    assert watcher.blocks == []


def test_what_an_edit_decodes_to_correct_itself_is_no_row_that_came_in(zoo, seer):
    watcher, engine = seer
    rows = zoo["flights"].rows
    query(engine, "edit", rows.slice(0, 5), rows, set={"dep_delay": 20.0})
    assert [len(next(iter(blocks.values()))) for blocks in watcher.blocks] == [5, len(rows)]


def test_parts_of_a_pass_agree_with_each_other(zoo, seer):
    watcher, engine = seer
    query(engine, "score", zoo["flights"].rows, samples=4, seed=3)
    part = watcher.parts[0]
    assert part.seed == 3
    assert part.log_weight.shape == part.log_ratio.shape == (4, 200)
    fields = sum(value.sum(-1, dtype=np.float64) for value in part.log_px.values())
    np.testing.assert_allclose(part.log_weight, part.log_ratio + fields, rtol=1e-6, atol=1e-5)
    np.testing.assert_array_equal(part.score, -log_mean_exp(part.log_weight))
    np.testing.assert_array_equal(part.weight, normalized_weights(part.log_weight))
    one = part.take(7)
    assert one.rows == slice(7, 8)
    assert one.score[0] == part.score[7]
    assert all((value[:, 0] == part.log_px[name][:, 7]).all() for name, value in one.log_px.items())


def test_every_watcher_is_shown_everything(zoo):
    first, second = Seer(), Seer()
    engine = replace(zoo["flights"].onnx.engine, watcher=Watchers(first, second))
    query(engine, "score", zoo["flights"].rows.slice(0, 5))
    assert len(first.blocks) == len(second.blocks) == len(first.parts) == len(second.parts) == 1

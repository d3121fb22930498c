"""Rows of several tables asked about together get the answers that they get alone: noise belongs to given positions."""

import pyarrow as pa
import pytest

from tests.notorch.alike import differences
from vaekit.errors import ConfigError

ASKED = {
    "score": {"attribution": True, "seed": 3},
    "detect": {"alpha": 0.1},
    "embed": {},
    "reconstruct": {},
    "denoise": {"samples": 8, "seed": 3},
    "impute": {"interval": 0.8, "samples": 8, "seed": 3},
}
CUTS = (
    (0, 1),
    (1, 7),
    (20, 30),
    (60, 1),
)  # start and length of each table: a row of its own is at another place merged


@pytest.mark.parametrize("query", ASKED)
def test_merged_tables_are_answered_as_each_is_alone(query, kept):
    parts = [kept.rows.slice(*cut) for cut in CUTS]
    positions = [at for part in parts for at in range(part.num_rows)]
    place = {"positions": positions} if query in ("denoise", "impute") else {}
    merged = kept.onnx.query(query, pa.concat_tables(parts).combine_chunks(), **ASKED[query], **place)
    alone = pa.concat_tables([kept.onnx.query(query, part, **ASKED[query]).cast(merged.schema) for part in parts])
    assert differences(merged, alone) == []


def test_draws_belong_to_the_seed_and_the_position(zoo):
    model, rows = zoo["cancer"].onnx, zoo["cancer"].rows.slice(0, 20)
    twice = pa.concat_tables([rows, rows]).combine_chunks()
    positions = [*range(20), *range(20)]
    answer = model.query("impute", twice, draws=2, seed=1, positions=positions)
    for draw in range(2):
        both = answer.slice(40 * draw, 40)
        assert differences(both.slice(0, 20), both.slice(20), ties=0.0) == []
    assert differences(answer, model.query("impute", twice, draws=2, seed=2, positions=positions)) != []
    assert differences(answer, model.query("impute", twice, draws=2, seed=1)) != []


def test_each_row_needs_a_position(zoo):
    with pytest.raises(ConfigError, match="one whole number for each of 20 rows, got 19"):
        zoo["cancer"].onnx.query("denoise", zoo["cancer"].rows.slice(0, 20), positions=range(19))

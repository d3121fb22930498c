"""Ray Data answers as one process does. Run by `run.sh`, which starts it for real."""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from alike import differences

import vaekit as vk
from vaekit.batch.ray import answers

FIXTURES = Path(os.environ["VAEKIT_FIXTURES"])
ASKED = {
    "score": {"attribution": True},
    "detect": {"alpha": 0.2},
    "embed": {},
    "reconstruct": {},
    "denoise": {"samples": 8, "seed": 3},
    "impute": {"interval": 0.8, "samples": 8, "seed": 3},
}


@pytest.fixture(scope="module")
def rows():
    ray.init(num_cpus=2, include_dashboard=False, configure_logging=False, object_store_memory=2**28)
    table = pq.read_table(FIXTURES / "visits" / "rows.parquet")
    yield table.append_column("id", pa.array(np.arange(table.num_rows)))
    ray.shutdown()


@pytest.mark.parametrize("query", ASKED)
def test_answers_are_those_of_one_process(query, rows):
    bundle = FIXTURES / "visits" / "bundle"
    row = {"row": "id"} if query in ("denoise", "impute") else {}
    dataset = ray.data.from_arrow([rows.slice(start, 60) for start in (120, 0, 180, 60)])
    found = answers(dataset, bundle, query, keep=["id"], batch_rows=25, **row, **ASKED[query])
    found = pa.concat_tables([ray.get(block) for block in found.to_arrow_refs()]).sort_by("id")
    expected = vk.load(bundle).query(query, rows, **ASKED[query])
    assert differences(found.select(expected.column_names), expected, tolerance=1e-5) == []


def test_noise_needs_numbers_of_rows(rows):
    with pytest.raises(vk.ConfigError, match="depend on the number of the row"):
        answers(ray.data.from_arrow(rows), FIXTURES / "visits" / "bundle", "impute")

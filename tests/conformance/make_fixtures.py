"""Bundles and rows for the clients to ask about, and what the models answer: `make_fixtures.py FOLDER`."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import vaekit as vk
from tests.support import MODELS, Zoo, fit
from vaekit.bundle.manifest import read_manifest

ZOO = ("flights", "digits")
ROWS = 20


def main(folder: Path) -> None:
    """Fill a folder with fixtures: rows without gaps, which every client can write, and rows with them."""
    zoo, expected = Zoo(Path(os.environ.get("VAEKIT_ZOO", folder / "zoo"))), {}
    for name in ZOO:
        kept = zoo[name]
        shutil.copytree(kept.bundle, folder / name / "bundle")
        whole = pa.array(not any(map(_has_gaps, row.values())) for row in kept.rows.to_pylist())
        pq.write_table(kept.rows.filter(whole).slice(0, ROWS), folder / name / "rows.parquet")
        expected[name] = answers(kept.bundle, kept.rows.slice(0, ROWS), MODELS[name].given)
    rows = numbers()
    fit(rows).save(folder / "numbers" / "bundle")
    expected["numbers"] = answers(folder / "numbers" / "bundle", rows.slice(0, ROWS), {})
    (folder / "expected.json").write_text(json.dumps(expected, default=str))


def numbers() -> pa.Table:
    """Rows in which every field is one number."""
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(800, 2))
    values = hidden @ rng.normal(size=(2, 5)) + 0.3 * rng.normal(size=(800, 5))
    return pa.table({f"x{at}": column for at, column in enumerate(values.T)})


def answers(bundle: Path, rows: pa.Table, given: dict[str, Any]) -> dict[str, Any]:
    """What a model says of rows, as plain values."""
    model = vk.load(bundle, backend="onnx")
    found = {query: getattr(model, query)(rows).to_pydict() for query in ("score", "embed", "reconstruct")}
    found["sample"] = model.sample(6, given=given, seed=3).to_pydict()
    return {"rows": rows.to_pydict(), "version": read_manifest(bundle).version, "answers": found}


def _has_gaps(value: object) -> bool:
    return value is None or (isinstance(value, list) and None in value)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: make_fixtures.py FOLDER")
    main(Path(sys.argv[1]))

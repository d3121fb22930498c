"""Bundles and rows for the clients to ask about: `make_fixtures.py FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.support import Zoo

MODELS = ("flights", "digits")
ROWS = 20


def main(folder: Path) -> None:
    """Fill a folder with fixtures: rows without gaps, which every client can write."""
    zoo = Zoo(folder)
    for name in MODELS:
        kept = zoo[name]
        whole = pa.array(not any(map(_has_gaps, row.values())) for row in kept.rows.to_pylist())
        pq.write_table(kept.rows.filter(whole).slice(0, ROWS), kept.folder / "rows.parquet")


def _has_gaps(value: object) -> bool:
    return value is None or (isinstance(value, list) and None in value)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: make_fixtures.py FOLDER")
    main(Path(sys.argv[1]))

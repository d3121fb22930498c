"""The bundle of the demo: a year of flights from New York, fitted once and kept."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv

import vaekit as vk
from benchmarks.tools.cache import CACHE

__all__ = ["Demo", "demo"]

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"
ROWS = 100


@dataclass(frozen=True)
class Demo:
    """The demo on disk.

    Args:
        bundle: Its bundle.
        rows: A CSV file of `ROWS` rows that it was not fitted on.
    """

    bundle: Path
    rows: Path

    @cached_property
    def fitted(self) -> pa.Table:
        """The table of the fit."""
        return _rows().fit


def demo(seconds: float) -> Demo:
    """Fit the model of the demo if it was not fitted before.

    Args:
        seconds: Budget of training; what starting costs does not depend on it.
    """
    folder = CACHE / f"demo-{seconds:g}"
    if not (folder / "rows.csv").exists():
        rows = _rows()
        import flights

        contract = flights.make_contract(rows.fit)
        model = vk.fit(rows.fit, contract=contract, max_seconds=seconds, threads=1, progress=False)
        model.save(folder / "bundle")
        pyarrow.csv.write_csv(rows.held_out.slice(0, ROWS), folder / "rows.csv")
    return Demo(folder / "bundle", folder / "rows.csv")


def _rows() -> Any:
    if str(EXAMPLES) not in sys.path:
        sys.path.insert(0, str(EXAMPLES))
    import flights_data

    return flights_data.split(flights_data.load(), seed=0)

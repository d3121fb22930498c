"""RECIPES: every model of the literature is exported, and answers every query alike on torch and on ONNX Runtime."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import torch

import vaekit as vk
from benchmarks.cases import InCases, together
from benchmarks.registry import Outcome, Settings
from tests.notorch.alike import arguments, differences
from vaekit.fields.tables import to_arrow
from vaekit.queries import QUERIES
from vaekit.training.recipes import RECIPES

GOAL = "every recipe is exported, and both backends give the same answers to every query"

BUDGET: dict[str, Any] = {"epochs": 4, "width": 16, "latent": 2, "batch_size": 32, "threads": 1, "calibration": 0.2}
GIVEN = {"target": "a"}
OPTIONS: dict[str, dict[str, Any]] = {
    "sample": {"given": GIVEN},
    "edit": {"set": GIVEN},
    "detect": {"alpha": 0.2},
    "traverse": {"steps": 3},
    "interpolate": {"steps": 3},
}


def run(settings: Settings) -> Outcome:
    """All cases, put together."""
    return together(cast(InCases, sys.modules[__name__]), settings)


def cases(settings: Settings) -> tuple[str, ...]:
    """Every recipe; five of them if it is to be quick."""
    return tuple(RECIPES)[:: 6 if settings.quick else 1]


def case(name: str, settings: Settings) -> dict[str, Any]:
    """Fit a recipe by name, save it with its graphs, and ask both backends every query about some of its rows."""
    torch.set_num_threads(1)
    table = rows()
    contract = vk.Contract.infer(table).replace("target", role="condition")
    model = vk.fit(table, contract, recipe=name, seed=settings.seed, progress=False, **BUDGET)
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "bundle")
        sides = [vk.load(Path(folder) / "bundle", backend=backend) for backend in ("torch", "onnx")]
        apart = {query: asked(sides, query, table.slice(0, 40)) for query in sorted(QUERIES)}
    return {"queries": len(apart), "apart": {query: found for query, found in apart.items() if found}}


def asked(sides: list[vk.Model], query: str, some: pa.Table) -> list[str]:
    """What tells the answers of both backends to a query apart, in words."""
    positional, options = arguments(query, 60, some)
    first, second = (side.query(query, *positional, **options, **OPTIONS.get(query, {})) for side in sides)
    return differences(first, second, tolerance=2e-3, ties=5e-3)


def rows() -> pa.Table:
    """Four numbers of wines and their kind, which is given; some cells are missing."""
    from sklearn.datasets import load_wine

    frame = load_wine(as_frame=True).frame.iloc[:, [0, 1, 4, 12, 13]].copy()
    frame["target"] = frame["target"].map({0: "a", 1: "b", 2: "c"})
    frame.loc[::7, "ash" if "ash" in frame else frame.columns[1]] = None
    return to_arrow(frame)


def gather(found: Mapping[str, dict[str, Any]], settings: Settings) -> Outcome:
    """Which recipes answered alike."""
    apart = {name: one["apart"] for name, one in found.items() if one["apart"]}
    return Outcome(
        ours={"recipes": len(found), "queries": min(one["queries"] for one in found.values()), "apart": apart},
        rivals={},
        ratios={},
        met=not apart and len(found) == len(cases(settings)),
    )

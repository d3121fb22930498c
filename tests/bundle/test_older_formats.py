"""Bundles that older releases wrote keep loading and keep their answers: one folder per format, never rewritten."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import vaekit as vk
from vaekit.bundle import FORMAT

HERE = Path(__file__).parent
FOLDERS = sorted(HERE.glob("format*/"))


def test_every_format_so_far_has_a_bundle():
    assert [folder.name for folder in FOLDERS] == [f"format{number}" for number in range(1, FORMAT + 1)]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_an_old_bundle_answers_as_it_did(folder, backend):
    model = vk.load(folder / "bundle", backend=backend)
    answers = json.loads((folder / "answers.json").read_text())
    rows = folder / "rows.csv"
    np.testing.assert_allclose(model.score(rows)["score"].to_pylist(), answers["score"], rtol=1e-4)
    np.testing.assert_allclose(model.embed(rows)["embedding"].to_pylist(), answers["embedding"], rtol=1e-4, atol=1e-5)
    # the draws of a seed may change with a release, the rows that can be drawn may not
    drawn = model.sample(200, seed=3)
    assert set(drawn.column_names) == answers["sample"][0].keys()
    for name in drawn.column_names:
        values = drawn[name].to_pylist()
        for expected in (row[name] for row in answers["sample"]):
            assert expected in values if isinstance(expected, str) else min(values) <= expected <= max(values)

"""Stems against what they stand for: a linear layer over one-hot codes, with missing cells left out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vaekit.arrays import Block, BlockSpec
from vaekit.nn import stems
from vaekit.nn.stems import CategoryStem

LEVELS = (2, 7, 3)


@pytest.mark.parametrize("most", [0, 512], ids=["looked up", "one-hot"])
def test_a_category_stem_is_a_linear_layer_over_one_hot_codes(monkeypatch, most):
    monkeypatch.setattr(stems, "_ONE_HOT", most)
    torch.manual_seed(0)
    stem = CategoryStem(
        BlockSpec(name="c", kind="category", likelihood="categorical", fields=("a", "b", "c"), levels=LEVELS), 4
    ).double()
    rng = np.random.default_rng(0)
    codes, observed = rng.integers(0, LEVELS, (50, 3)), rng.random((50, 3)) < 0.7
    table = stem.table.weight.detach().numpy()
    one_hot = np.concatenate(
        [np.eye(level)[codes[:, f]] * observed[:, f, None] for f, level in enumerate(LEVELS)], axis=1
    )
    block = Block(torch.from_numpy(np.where(observed, codes, 0)), torch.from_numpy(observed))
    found = stem(block)
    np.testing.assert_allclose(found.detach().numpy(), one_hot @ table, rtol=1e-12)
    found.square().sum().backward()
    np.testing.assert_allclose(stem.table.weight.grad.numpy(), 2 * one_hot.T @ (one_hot @ table), rtol=1e-10)

"""Stems against what they stand for: a linear layer over one-hot codes, with missing cells left out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vaekit.arrays import Block, BlockSpec
from vaekit.nn import stems
from vaekit.nn.stems import CategoryStem, VectorStem

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


def test_weights_of_a_vector_from_before_its_mask_had_its_own_answer_as_they_did():
    torch.manual_seed(0)
    stem = VectorStem(BlockSpec(name="v", kind="vector", likelihood="gaussian", fields=("v",), event=(3,)), 4)
    whole = torch.nn.Linear(4, 4)
    stem.load_state_dict({"linear.weight": whole.weight, "linear.bias": whole.bias})
    values, observed = torch.randn(5, 1, 3), torch.tensor([True, False, True, True, False])[:, None, None]
    seen = observed[:, 0].float()
    expected = whole(torch.cat([values[:, 0] * seen, seen], 1))
    torch.testing.assert_close(stem(Block(values, observed)), expected)

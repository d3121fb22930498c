"""Compiled steps beside what cannot be compiled: critics, gradients that are not finite, batches beyond the rows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch

import vaekit as vk
from vaekit.errors import ConfigError, NotFiniteError
from vaekit.objectives import ELBO
from vaekit.training import compiled, load_config, train


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    return pa.table({f"n{i}": np.random.default_rng(i).normal(size=120) for i in range(2)})


@pytest.fixture
def traced(monkeypatch) -> list[int]:
    """Graphs run as they were traced; one entry for each."""
    found: list[int] = []

    def as_it_is(graph, _):
        found.append(1)
        return graph

    monkeypatch.setattr(compiled, "machine_code", as_it_is)
    return found


def fitted(rows, **options):
    config = load_config(None).override(
        **{"epochs": 2, "batch_size": 32, "width": 8, "latent": 2, "compile": True, "precision": "float32"} | options
    )
    return train(rows, vk.Contract.infer(rows), config, progress=False)


def test_an_objective_with_a_critic_is_not_compiled(rows, traced):
    with pytest.raises(ConfigError, match="critic"):
        fitted(rows, terms={"density_ratio": {"weight": 5.0}})
    assert not traced


def test_a_batch_of_all_rows_is_compiled(rows, traced):
    fitted(rows, batch_size=4096)
    assert traced


def test_a_gradient_that_is_not_finite_is_named_though_the_loss_is_finite(rows, traced, monkeypatch):
    plain = ELBO.forward

    def rooted(self, passed):
        found = plain(self, passed)
        return found | {"root": torch.sqrt(0.0 * next(iter(found.values())))}

    monkeypatch.setattr(ELBO, "forward", rooted)
    with pytest.raises(NotFiniteError, match="gradient"):
        fitted(rows)
    assert traced

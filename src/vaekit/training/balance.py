"""Balance of fields in training: rare flags are not drowned by a category with a thousand levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from vaekit.arrays import Blocks, BlockSpec, take
from vaekit.metrics.marginals import marginal_nats
from vaekit.objectives import Balance, Linear
from vaekit.training.stages import Stage

__all__ = ["balanced", "field_weights", "size_weights"]

MOST = 4.0  # largest weight of a field
ROWS = 20_000  # entropies need no more


def field_weights(specs: Sequence[BlockSpec], blocks: Blocks) -> dict[str, list[float]]:
    """Weights by inverse marginal entropy, ``w_f = 1 / H_f`` kept between 1 and 4, by block.

    H is in nats and encoded units, so a continuous number has about 1.4 whatever its unit, and keeps weight 1. Only
    fields with less than one nat to explain are raised: their gradients are small because they are rarely surprising,
    not because the rest of the row says nothing about them. Nothing is lowered.

    Args:
        specs: The blocks.
        blocks: Encoded training rows.
    """
    few = take(blocks, slice(0, ROWS))
    nats = marginal_nats(specs, few, few)
    found = {}
    for spec in (spec for spec in specs if spec.role == "model"):
        block = few[spec.name]
        seen = np.broadcast_to(block.observed, np.shape(block.values))
        constant = 0.0 if block.constant is None or spec.kind == "count" else np.where(seen, block.constant, 0.0)
        entropy = np.stack([nats[name] for name in spec.fields], axis=1)  # shape: (B, F)
        if np.ndim(constant):
            entropy = entropy + np.reshape(constant, (*entropy.shape, -1)).sum(-1)
        counted = np.maximum(seen.reshape(*entropy.shape, -1).any(-1).sum(0), 1)
        mean = np.maximum(entropy.sum(0) / counted, 1e-6)
        found[spec.name] = np.clip(1.0 / mean, 1.0, MOST).tolist()
    return found


def size_weights(specs: Sequence[BlockSpec]) -> dict[str, list[float]]:
    """Weights by inverse size, ``w_f = 1 / values of f``, by block: a vector or image counts as much as one number.

    Example:
        >>> pixels = BlockSpec(name="vector.gaussian", kind="vector", fields=("pixels",), event=(8, 8))
        >>> size_weights([pixels])
        {'vector.gaussian': [0.015625]}
    """
    return {spec.name: [len(spec.fields) / spec.width] * len(spec.fields) for spec in specs if spec.role == "model"}


def balanced(stages: Sequence[Stage], weights: Mapping[str, Sequence[float]], steps_per_epoch: int) -> list[Stage]:
    """The stages with weighted fields in the first half of each; the weights fade to 1 over the second half.

    What is maximised at the end, what validation sees and what is reported stays the ELBO.

    Args:
        stages: The stages.
        weights: Weight of each field, by block.
        steps_per_epoch: Optimiser steps per epoch.
    """
    if all(value == 1.0 for values in weights.values() for value in values):
        return list(stages)
    found = []
    for stage in stages:
        total = stage.epochs * steps_per_epoch
        half = max(1, total // 2)
        schedules = {**stage.schedules, "balance": Linear(1.0, 0.0, half, after=total - half)}
        found.append(replace(stage, objective=stage.objective + Balance(weights), schedules=schedules))
    return found

"""How well a model predicts each field of a row from its other fields: `-log p(x_f | x_rest)`, in nats."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from vaekit.arrays import Array, Block, Blocks, BlockSpec
from vaekit.metrics.likelihood import log_mean_exp

__all__ = ["Run", "conditional_nats", "log_predictive", "without"]

Run = Callable[[str, Mapping[str, Array]], Mapping[str, Array]]
"""Runs a graph primitive by its name over named arrays."""


def log_predictive(log_weight: Array, log_p: Array) -> Array:
    """``log Σ_k ŵ_k p_k`` with self-normalised importance weights ŵ over the first axis.

    Args:
        log_weight: Log-weights in nats, shape (K, B).
        log_p: Log-densities in nats, shape (K, B).

    Returns:
        Shape (B,), float64.

    Example:
        >>> log_predictive(np.log([[1.0], [3.0]]), np.log([[0.2], [0.6]])).round(4).tolist()  # log 0.5
        [-0.6931]
    """
    log_weight = np.asarray(log_weight, np.float64)
    return log_mean_exp(log_weight + np.asarray(log_p, np.float64)) - log_mean_exp(log_weight)


def conditional_nats(
    run: Run,
    specs: Sequence[BlockSpec],
    blocks: Blocks,
    noise: Mapping[str, Array],
    fields: Collection[str] | None = None,
) -> dict[str, Array]:
    """-log p(x_f | x_rest) of each model field and row, by importance sampling; 0 where the cell is missing.

    Field f is hidden from the encoder and draws ``z_k ~ q(z | x_rest)`` are weighed by
    ``w_k ∝ p(x_rest | z_k) p(z_k) / q(z_k | x_rest)``; the answer is ``-log Σ_k ŵ_k p(x_f | z_k)``. It is a difference
    of two importance-weighted bounds, log p(x_rest) and log p(x), over one set of draws. Both are too low, by half the
    relative variance of their weights over K to first order; the second by more, since the draws were made without x_f.
    So the answer is too high by about that difference (information is understated, never invented on average), and
    exact as K grows. A column that pins the latent state down far better than the rest of its row needs more draws.

    Args:
        run: Runs the primitives ``encode``, ``decode`` and ``log_density`` of the model.
        specs: The blocks.
        blocks: Encoded rows, B of them.
        noise: Noise under the names that graphs take, shapes (K, B, *shape); the same draws serve every field.
        fields: Names of the fields to look at; all model fields by default.

    Returns:
        Field name to shape (B,), float64, in the units of `marginal_nats`: their difference is the information that the
        rest of the row has about the field.

    References:
        Mattei & Frellsen, MIWAE, 2019, section 3 (importance sampling given observed cells). Burda et al. 2016, eq. 8.
    """
    shown = _inputs(specs, blocks)
    found: dict[str, Array] = {}
    for spec in (spec for spec in specs if spec.role == "model"):
        for index, name in enumerate(spec.fields):
            if fields is not None and name not in fields:
                continue
            hidden = shown | _inputs([spec], {spec.name: without(blocks[spec.name], index)})
            encoded = run("encode", {**hidden, **noise})
            params = run("decode", {**hidden, **{n: v for n, v in encoded.items() if n.startswith("z.")}})
            density = run("log_density", {**shown, **params})
            own = np.asarray(density[f"log_px.{spec.name}"][..., index], np.float64)
            log_weight = sum(
                (v.astype(np.float64) for n, v in encoded.items() if n.startswith("log_p.")), start=-own
            ) - sum(v.astype(np.float64) for n, v in encoded.items() if n.startswith("log_q."))
            for value in density.values():
                log_weight = log_weight + value.sum(-1, dtype=np.float64)
            found[name] = -log_predictive(log_weight, own)
    return found


def without(block: Block, field: int) -> Block:
    """A block with one field missing in every row: its cells hold what missing cells hold.

    Example:
        >>> without(Block(np.ones((1, 2)), np.ones((1, 2), bool)), 0).values.tolist()
        [[0.0, 1.0]]
    """
    cleared = {}
    for name, value in block.arrays().items():
        if value.ndim > 1:
            value = np.broadcast_to(value, (*value.shape[:1], block.values.shape[1], *value.shape[2:])).copy()
            value[:, field] = 0
        cleared[name] = value
    return replace(block, **cleared)


def _inputs(specs: Sequence[BlockSpec], blocks: Blocks) -> dict[str, Array]:
    return {f"{spec.name}.{name}": getattr(blocks[spec.name], name) for spec in specs for name in spec.inputs}

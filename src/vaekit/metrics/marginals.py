"""The baseline every model must beat: each field on its own, all fields independent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from vaekit.arrays import Array, Block, BlockSpec
from vaekit.fields.families.calendar import DAYS

__all__ = ["marginal_nats"]

_MOST_COUNTED = 4096  # counts above it share the tail


def marginal_nats(
    specs: Sequence[BlockSpec], train: Mapping[str, Block], held_out: Mapping[str, Block]
) -> dict[str, Array]:
    """-log p(x_f) of each held-out cell under independent marginals fitted on training rows, in nats; 0 where missing.

    Numbers: a normal in encoded units, which under a quantile transform is the smoothed histogram of the column.
    Counts and categories: smoothed frequencies (add one half), with a geometric tail for counts above the largest
    seen. Binary vector elements: smoothed frequencies; other vectors: normals. Datetimes: their parts.

    Args:
        specs: The blocks; those with role ``model`` are used.
        train: Encoded training rows.
        held_out: Encoded held-out rows, B of them.

    Returns:
        Field name to shape (B,), in the same units as the model's log-densities.
    """
    found: dict[str, Array] = {}
    for spec in specs:
        if spec.role != "model":
            continue
        fitted, asked = train[spec.name], held_out[spec.name]
        if spec.kind == "count" or spec.levels:
            nats = _frequencies(spec, fitted, asked)
        elif spec.likelihood == "calendar":
            nats = _calendar(fitted, asked)
        elif spec.likelihood == "bernoulli":
            seen = np.broadcast_to(fitted.observed, fitted.values.shape)
            share = ((fitted.values * seen).sum(0) + 0.5) / (seen.sum(0) + 1.0)
            nats = -np.log(np.where(asked.values > 0.5, share, 1.0 - share))
        else:
            nats = _normals(fitted, asked)
        nats = np.where(asked.observed, nats, 0.0).reshape(len(asked), len(spec.fields), -1).sum(-1)
        found |= dict(zip(spec.fields, nats.T, strict=True))
    return found


def _normals(fitted: Block, asked: Block) -> Array:
    from scipy.special import log_ndtr

    seen = np.broadcast_to(fitted.observed, fitted.values.shape)
    count = np.maximum(seen.sum(0), 1)
    values = np.asarray(fitted.values, np.float64)
    mean = (values * seen).sum(0) / count
    std = np.maximum(np.sqrt((np.square(values - mean) * seen).sum(0) / count), 1e-3)
    z = (np.asarray(asked.values, np.float64) - mean) / std
    half = np.zeros_like(z) if asked.half is None else np.asarray(asked.half, np.float64) / std
    z = np.where(z > 0, -z, z)  # the left tail is the accurate one
    wide = np.maximum(half, 1e-3)
    upper, lower = log_ndtr(z + wide), log_ndtr(z - wide)
    mass = upper + np.log1p(-np.exp(lower - upper)) - np.log(2.0 * wide)
    density = -0.5 * np.square(z) - 0.5 * np.log(2.0 * np.pi)
    log_p = np.where(half > 1e-3, mass, density) - np.log(std)
    constant = 0.0 if asked.constant is None else np.asarray(asked.constant, np.float64)
    nats: Array = -(log_p + constant)
    return nats


def _calendar(fitted: Block, asked: Block) -> Array:
    """Normals for weeks and times of the day, smoothed frequencies of the days of the week."""
    nats = _normals(fitted, asked)
    days = np.arange(DAYS)
    counts = ((fitted.values[..., 1, None] == days) & fitted.observed[..., 1, None]).sum(0) + 0.5  # shape: (F, 7)
    shares = counts / counts.sum(-1, keepdims=True)
    day = np.asarray(asked.values[..., 1], np.int64)
    nats[..., 1] = -np.log(np.take_along_axis(shares[None], day[..., None], axis=-1)[..., 0])
    nats[..., 1] -= np.asarray(asked.constant[..., 1], np.float64)
    return nats


def _frequencies(spec: BlockSpec, fitted: Block, asked: Block) -> Array:
    """Smoothed frequencies of all fields of a block at once."""
    fields = len(spec.fields)
    most = np.iinfo(np.int64).max if spec.levels else _MOST_COUNTED
    codes = np.minimum(np.asarray(fitted.values), most).astype(np.int64)
    wanted = np.asarray(asked.values).astype(np.int64)
    seen = np.broadcast_to(fitted.observed, codes.shape)
    levels = np.array(spec.levels) if spec.levels else np.where(seen, codes, 0).max(0, initial=0) + 1  # shape: (F,)
    offsets = np.cumsum(levels) - levels
    counts = np.bincount((codes + offsets)[seen], minlength=levels.sum()) + 0.5
    total = np.add.reduceat(counts, offsets) + (0.0 if spec.levels else 1.0)  # counts keep a share for the tail
    inside = wanted < levels
    picked = counts[np.where(inside, wanted, 0) + offsets] / total
    beyond = np.where(inside, 0, wanted - levels + 1)
    tail = np.log(total) + beyond * np.log(2.0)
    nats: Array = np.where(inside, -np.log(picked), tail).reshape(-1, fields)
    return nats

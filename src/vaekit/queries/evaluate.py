"""Held-out figures of a model, from its own queries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vaekit.arrays import Array, Blocks, generator, take
from vaekit.metrics.latent import active_units, mutual_information
from vaekit.metrics.likelihood import log_mean_exp
from vaekit.metrics.marginals import marginal_nats
from vaekit.queries.base import count, model_specs, read, weigh
from vaekit.queries.embed import centre
from vaekit.queries.reconstruct import reconstruct

if TYPE_CHECKING:
    import pyarrow as pa

    from vaekit.runtime.engine import Engine

__all__ = ["evaluate", "some_rows"]

_ROWS, _SAMPLES = 2_000, 64


def evaluate(engine: Engine, held_out: Any, train: Any, seed: int = 0) -> dict[str, Any]:
    """Likelihood, reconstruction and latent figures on rows that training did not see.

    Args:
        engine: The model.
        held_out: Rows to evaluate on; at most 2,000 are used.
        train: Training rows, for the baseline of independent marginals.
        seed: Seed of the scoring draw.

    Returns:
        ``elbo`` and ``iwae_64`` (nats per row), ``marginal_nats`` (the baseline's mean -log p), ``marginal_gain`` (nats
        per row that the model saves over the baseline, with the standard error of the paired difference), ``shift``
        (nats by which the baseline does worse here than on its own rows: drift), ``fields`` {name: figures},
        ``active_units``, ``latent_width``, and ``mutual_information`` where the posterior is a diagonal
        normal.

    References:
        Burda et al. 2016 (bound, active units). Hoffman & Johnson 2016 (mutual information).
    """
    held_out = some_rows(read(held_out), _ROWS, seed)
    blocks = engine.encode(held_out)
    if count(blocks) == 0:
        return {}
    passes = list(weigh(engine, blocks, _SAMPLES, seed, shared=False))
    log_weight = np.concatenate([part.log_weight for part in passes], axis=1)  # shape: (K, B)
    fitted = engine.encode(read(train))
    baseline, at_home = (marginal_nats(engine.architecture.blocks, fitted, rows) for rows in (blocks, fitted))
    alone, home = (np.sum(list(nats.values()), axis=0) for nats in (baseline, at_home))
    bound = log_mean_exp(log_weight)
    figures: dict[str, Any] = {
        "rows": count(blocks),
        "elbo": float(log_weight.mean()),
        "iwae_64": float(bound.mean()),
        "marginal_nats": float(alone.mean()),
        "marginal_gain": _mean_se(alone + bound),
        "shift": {"nats": float(alone.mean() - home.mean()), "se": float(np.hypot(_se(alone), _se(home)))},
    }
    figures["fields"] = {
        name: {"nats": _percentiles(nats), "marginal_nats": float(baseline[name].mean())}
        for name, nats in _field_nats(engine, passes).items()
    }
    for name, error in _errors(held_out, reconstruct(engine, held_out)).items():
        figures["fields"][name] |= error
    return figures | _latent(engine, blocks, seed)


def some_rows(table: pa.Table, most: int, seed: int) -> pa.Table:
    """A random part of a table, at most so many rows, in their order."""
    if table.num_rows <= most:
        return table
    return table.take(np.sort(generator(seed, "rows").choice(table.num_rows, most, replace=False)))


def _field_nats(engine: Engine, passes: list[Any]) -> dict[str, Array]:
    found: dict[str, Array] = {}
    for spec in model_specs(engine):
        nats = -np.concatenate([part.log_px[spec.name].mean(0) for part in passes])  # shape: (B, F)
        found |= dict(zip(spec.fields, nats.T, strict=True))
    return {name: found[name] for name in engine.contract.names("model")}


def _se(values: Array) -> float:
    """Standard error of a mean over rows; 0 for a single row, which has no spread to tell it by."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def _mean_se(values: Array) -> dict[str, float]:
    return {"nats": float(values.mean()), "se": _se(values)}


def _percentiles(values: Array) -> dict[str, float]:
    points = np.percentile(values, [5, 50, 95])
    return {"mean": float(values.mean()), "p5": float(points[0]), "p50": float(points[1]), "p95": float(points[2])}


def _errors(real: pa.Table, seen: pa.Table) -> dict[str, dict[str, float]]:
    """Root mean squared error of numbers and counts, accuracy of categories, over observed cells."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found: dict[str, dict[str, float]] = {}
    for name in seen.column_names:
        if name not in real.column_names:
            continue
        a, b = real[name], seen[name]
        if pa.types.is_floating(a.type) or pa.types.is_integer(a.type):
            gap = np.asarray(pc.subtract(pc.cast(b, pa.float64()), pc.cast(a, pa.float64())).to_numpy(), np.float64)
            found[name] = {"rmse": float(np.sqrt(np.nanmean(np.square(gap))))} if np.isfinite(gap).any() else {}
        elif not pa.types.is_nested(a.type):
            plain = [pc.cast(c, c.type.value_type) if pa.types.is_dictionary(c.type) else c for c in (a, b)]
            share = pc.mean(pc.cast(pc.equal(plain[0], plain[1]), pa.float64())).as_py()
            found[name] = {} if share is None else {"accuracy": float(share)}
    return found


def _latent(engine: Engine, blocks: Blocks, seed: int) -> dict[str, Any]:
    config, rows = engine.architecture.config, count(blocks)
    means: list[Array] = []
    stds: list[Array] = []
    for chunk in engine.chunks(rows, 1):
        part = take(blocks, chunk)
        at_zero = centre(engine, part)
        means.append(np.concatenate([z[0] for z in at_zero.values()], axis=-1))
        if config.get("structure") == "flat" and config.get("posterior") == "diagonal":
            ones = {n: np.ones_like(v) for n, v in engine.noise(0, 1, count(part), shared=True).items()}
            found = engine.backend.run("encode", engine.inputs(part) | ones)
            stds.append(np.concatenate([found[f"z.{name}"][0] - z[0] for name, z in at_zero.items()], axis=-1))
    mean = np.concatenate(means)
    figures: dict[str, Any] = {"active_units": int(active_units(mean).sum()), "latent_width": int(mean.shape[1])}
    if stds:
        log_std = np.log(np.maximum(np.concatenate(stds), 1e-6))
        noise = generator(seed, "mutual information").standard_normal(mean.shape)
        kl = 0.5 * (np.exp(2 * log_std) + np.square(mean) - 1.0) - log_std
        figures["mutual_information"] = mutual_information(mean, log_std, noise)
        if config.get("prior") == "standard":
            figures["kl_per_dimension"] = kl.mean(0).tolist()
            figures["kl"] = float(kl.sum(1).mean())
    return figures

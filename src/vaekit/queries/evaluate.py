"""Held-out figures of a model, from its own queries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vaekit.arrays import Array, Blocks, generator, take
from vaekit.metrics.conditional import conditional_nats
from vaekit.metrics.copula import Copula
from vaekit.metrics.latent import active_units, mutual_information
from vaekit.metrics.likelihood import log_mean_exp, standard_error
from vaekit.metrics.marginals import Marginals, by_field
from vaekit.queries.base import count, model_specs, weigh
from vaekit.queries.embed import centre
from vaekit.queries.reconstruct import reconstruct

if TYPE_CHECKING:
    import pyarrow as pa

    from vaekit.runtime.engine import Engine

__all__ = ["evaluate", "some_rows"]

_ROWS, _SAMPLES = 2_000, 64
_FIELD_ROWS = 4_000  # rows times fields at which fields are predicted from the rest of the row: a second or so
_COPULA_COLUMNS = 150  # scalar columns above which the copula is left out
_COPULA_CELLS = 60_000  # that its correlation is fitted to


def evaluate(engine: Engine, held_out: Any, train: Any, seed: int = 0) -> dict[str, Any]:
    """Likelihood, reconstruction and latent figures on rows that training did not see.

    Args:
        engine: The model.
        held_out: Rows to evaluate on; at most 2,000 are used.
        train: Training rows, for the baselines.
        seed: Seed of the scoring draw.

    Returns:
        ``elbo`` and ``iwae_64`` (nats per row), ``marginal_nats`` and ``copula_nats`` (mean -log p of two baselines:
        independent marginals, and a Gaussian copula over the same marginals, which do not see conditions),
        ``marginal_gain`` and ``copula_gain`` (nats per row that the model saves over each, with the standard error
        ``se`` of the paired difference), ``shift`` (nats by which independent marginals do worse here than on their own
        rows: drift), ``fields`` {name: figures}, ``active_units``, ``latent_width``, and ``mutual_information`` where
        the posterior is a diagonal normal; ``bits_per_dimension`` (the bound of 64 draws over pixels and channels) of
        models of one image. Above 150 scalar columns there is no copula, and ``copula_left_out`` says
        so. Of each field: ``nats`` (given latents that saw it), ``marginal_nats`` (on its own) and ``conditional_nats``
        (given the rest of the row); the difference of the last two is the information that the model finds about it.

    References:
        Burda et al. 2016 (bound, active units). Hoffman & Johnson 2016 (mutual information).
    """
    held_out = some_rows(engine.contract.table(held_out), _ROWS, seed)
    blocks = engine.encode(held_out)
    if count(blocks) == 0:
        return {}
    passes = list(weigh(engine, blocks, _SAMPLES, seed, shared=False))
    log_weight = np.concatenate([part.log_weight for part in passes], axis=1)  # shape: (K, B)
    bound = log_mean_exp(log_weight)
    figures: dict[str, Any] = {"rows": count(blocks), "elbo": float(log_weight.mean()), "iwae_64": float(bound.mean())}
    compared, baseline = _baselines(engine, blocks, engine.encode(engine.contract.table(train)), bound, seed)
    figures |= compared
    figures["fields"] = {
        name: {"nats": _percentiles(nats), "marginal_nats": float(baseline[name].mean())}
        for name, nats in _field_nats(engine, passes).items()
    }
    for name, information in _information(engine, blocks, baseline, seed).items():
        figures["fields"][name]["conditional_nats"] = figures["fields"][name]["marginal_nats"] - information
    if dimensions := _pixels(engine):
        figures["bits_per_dimension"] = float(-figures["iwae_64"] / (dimensions * np.log(2.0)))
    for name, error in _errors(engine, held_out, reconstruct(engine, held_out)).items():
        figures["fields"][name] |= error
    return figures | _latent(engine, blocks, seed)


def _baselines(
    engine: Engine, blocks: Blocks, train: Blocks, bound: Array, seed: int
) -> tuple[dict[str, Any], dict[str, Array]]:
    """Nats of the baselines, what the model's bound (B,) saves over them, and the marginals' nats of each field."""
    specs = engine.architecture.blocks
    marginals = Marginals.fit(specs, train)
    alone, home = (by_field(marginals, marginals.cells(rows)) for rows in (blocks, train))
    here, there = (np.sum(list(nats.values()), axis=0) for nats in (alone, home))
    rivals = {"marginal": here}
    columns = len(marginals.fields)
    figures: dict[str, Any] = {}
    if columns <= _COPULA_COLUMNS:
        rows = max(1_000, _COPULA_CELLS // columns)
        copula = Copula.fit(specs, train, marginals=marginals, rows=rows, seed=seed)
        rivals["copula"] = copula.nats(blocks, samples=int(np.clip(2_000 // columns, 16, 64)), seed=seed)
    else:
        figures["copula_left_out"] = f"{columns} scalar columns are more than the {_COPULA_COLUMNS} it is made for"
    for name, theirs in rivals.items():
        gain = theirs + bound
        figures[f"{name}_nats"] = float(theirs.mean())
        figures[f"{name}_gain"] = {"nats": float(gain.mean()), "se": standard_error(gain)}
    figures["shift"] = {
        "nats": float(here.mean() - there.mean()),
        "se": float(np.hypot(standard_error(here), standard_error(there))),
    }
    return figures, alone


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


def _information(engine: Engine, blocks: Blocks, baseline: dict[str, Array], seed: int) -> dict[str, float]:
    """Mean of marginal less conditional nats of each field, on so many of the rows that it stays cheap."""
    most = max(1, _FIELD_ROWS // len(baseline))
    rows = generator(seed, "conditional").permutation(count(blocks))[:most]
    gains: dict[str, list[Array]] = {name: [] for name in baseline}
    for chunk in engine.chunks(len(rows), _SAMPLES):
        some = rows[chunk]
        own = int(generator(seed, "conditional", chunk.start).integers(2**62))
        noise = engine.noise(own, _SAMPLES, len(some))
        found = conditional_nats(engine.backend.run, engine.architecture.blocks, take(blocks, some), noise)
        for name, nats in found.items():
            gains[name].append(baseline[name][some] - nats)
    return {name: float(np.concatenate(parts).mean()) for name, parts in gains.items()}


def _pixels(engine: Engine) -> int:
    """Number of levels in a row of a model of one image and nothing else; 0 for other models."""
    specs = model_specs(engine)
    return specs[0].width if len(specs) == 1 and specs[0].kind == "image" else 0


def _percentiles(values: Array) -> dict[str, float]:
    points = np.percentile(values, [5, 50, 95])
    return {"mean": float(values.mean()), "p5": float(points[0]), "p50": float(points[1]), "p95": float(points[2])}


def _errors(engine: Engine, real: pa.Table, seen: pa.Table) -> dict[str, dict[str, float]]:
    """How far each reconstructed field is from the real one, over observed cells."""
    return {
        name: engine.contract[name].error(engine.contract[name].clean(real[name]), seen[name])
        for name in seen.column_names
        if name in real.column_names
    }


def _latent(engine: Engine, blocks: Blocks, seed: int) -> dict[str, Any]:
    config, rows = engine.architecture.config, count(blocks)
    means: list[Array] = []
    stds: list[Array] = []
    for chunk in engine.chunks(rows, 1):
        part = take(blocks, chunk)
        at_zero = centre(engine, part)
        means.append(np.concatenate([z[0] for z in at_zero.values()], axis=-1))
        if config.get("structure") == "flat" and config.get("posterior") == "diagonal":
            found = engine.backend.run("encode", engine.inputs(part) | engine.still(count(part), 1.0))
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

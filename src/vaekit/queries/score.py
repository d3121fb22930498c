"""`score`: how improbable is a row, and which fields make it so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vaekit.arrays import Array, Blocks
from vaekit.errors import QueryError
from vaekit.queries.base import count, model_specs, positive, register, weigh
from vaekit.queries.conformal import SAMPLES, SEED, comparable, p_values
from vaekit.queries.tables import column

if TYPE_CHECKING:
    import pyarrow as pa

    from vaekit.runtime import Engine, Weighed

__all__ = ["attributed", "bounds", "score"]


@register
def score(
    engine: Engine, table: Any, *, attribution: bool = False, samples: int = SAMPLES, seed: int = SEED
) -> pa.Table:
    """Importance-weighted bound on -log p(x) of each row, in nats: larger is stranger.

    ``score = -log (1/K) Σ_k w_k`` with ``w_k = p(x, z_k) / q(z_k | x)``. With attribution,
    ``score.<field> = -Σ_k ŵ_k log p(x_f | z_k)`` for normalised weights ŵ, and ``score.latent`` is the remainder, so
    the columns add up to ``score``. The same seed gives the same answer, whatever other rows are asked for.

    Args:
        engine: The model.
        table: Rows, B of them.
        attribution: Add one column per field, and ``score.latent``.
        samples: Importance samples K; more tighten the bound.
        seed: Seed of the one draw that all rows share.

    Returns:
        Columns ``score`` (nats), ``p_value`` (share of calibration rows at least as strange, conformal; null without
        calibration, and with samples or seed other than the default, which calibration rows were not scored with),
        and the attribution.

    Raises:
        ContractError: If the rows do not fit the contract.
        ConfigError: If samples is below 1.

    References:
        Burda et al. 2016, eq. 8. Vovk, Gammerman & Shafer 2005, chapter 2 (conformal p-values).
    """
    import pyarrow as pa

    positive(samples=samples)
    blocks = engine.encode(engine.contract.table(table))
    bound, shares = bounds(engine, blocks, samples=samples, seed=seed, attribution=attribution)
    p_value = p_values(engine, "score", bound) if comparable(samples, seed) else np.full(len(bound), np.nan)
    columns = {"score": column(bound), "p_value": column(p_value)}
    if attribution:
        if "latent" in shares:
            raise QueryError("a field named 'latent' would hide score.latent, the remainder; rename it to attribute")
        columns |= {f"score.{name}": column(share) for name, share in shares.items()}
        columns["score.latent"] = column(bound - sum(shares.values(), np.zeros_like(bound)))
    return pa.table(columns)


def bounds(
    engine: Engine, blocks: Blocks, *, samples: int, seed: int, attribution: bool
) -> tuple[Array, dict[str, Array]]:
    """The bound per row (B,), and with attribution the share of each field (B,), in contract order."""
    bound = np.empty(count(blocks))
    shares = {name: np.empty(len(bound)) for name in engine.contract.names("model")} if attribution else {}
    for part in weigh(engine, blocks, samples, seed):
        bound[part.rows] = part.score
        if attribution:
            for name, share in attributed(engine, part).items():
                shares[name][part.rows] = share
    return bound, shares


def attributed(engine: Engine, part: Weighed) -> dict[str, Array]:
    """The share of each model field in the bound of the rows of a pass, ``-Σ_k ŵ_k log p(x_f | z_k)``, shape (B,)."""
    shares: dict[str, Array] = {}
    for spec in model_specs(engine):
        block = -np.einsum("kb,kbf->fb", part.weight, part.log_px[spec.name])
        shares |= dict(zip(spec.fields, block, strict=True))
    return shares

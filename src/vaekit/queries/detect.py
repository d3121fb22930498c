"""`detect`: anomalies at a promised false-alarm rate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vaekit.arrays import Array, Blocks
from vaekit.queries.base import observed_shares, register
from vaekit.queries.conformal import SAMPLES, SEED, check_alpha, p_values
from vaekit.queries.score import bounds
from vaekit.queries.tables import column

if TYPE_CHECKING:
    import pyarrow as pa

    from vaekit.runtime.engine import Engine

__all__ = ["detect", "excess"]


@register
def detect(engine: Engine, table: Any, *, alpha: float = 0.01, attribution: bool = False) -> pa.Table:
    """Flag rows that are stranger than all but a share alpha of ordinary rows.

    The anomaly score is -log of the probability of the row with every number read at a stated resolution, so it has no
    units: metres or millimetres rank rows alike. On rows exchangeable with the calibration rows at most a share alpha
    is flagged. Rows are scored with the draw that the calibration rows were scored with: no other keeps the promise.

    Args:
        engine: The model.
        table: Rows, B of them.
        alpha: Promised false-alarm rate.
        attribution: Add ``excess.<field>``: nats by which the field is stranger than it is on average on calibration
            rows where it is observed; zero where it is missing.

    Returns:
        Columns ``anomaly_score`` (nats, larger is stranger), ``p_value`` (conformal) and ``anomaly`` (bool).

    Raises:
        QueryError: If the calibration rows cannot support alpha; the message names the smallest that they can.
        ContractError: If the rows do not fit the contract.

    References:
        Bates et al., Testing for outliers with conformal p-values, 2023, section 2.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    check_alpha(engine, "anomaly", alpha)
    blocks = engine.encode(engine.contract.table(table))
    bound, shares = bounds(engine, blocks, samples=SAMPLES, seed=SEED, attribution=attribution)
    resolved = engine.contract.resolution(blocks)
    anomaly = bound - sum(resolved.values())
    p_value = column(p_values(engine, "anomaly", anomaly))
    columns = {"anomaly_score": column(anomaly), "p_value": p_value, "anomaly": pc.less_equal(p_value, alpha)}
    if attribution:
        columns |= {f"excess.{name}": column(nats) for name, nats in excess(engine, blocks, shares, resolved).items()}
    return pa.table(columns)


def excess(
    engine: Engine, blocks: Blocks, shares: Mapping[str, Array], resolved: Mapping[str, Array]
) -> dict[str, Array]:
    """Nats by which each field is stranger than it is on average on calibration rows; zero where it is missing.

    Args:
        engine: A model with calibration.
        blocks: Encoded rows, B of them.
        shares: Share of each field in the bound, shape (B,), see `vaekit.queries.score.attributed`.
        resolved: Log of the resolution of each cell, see `vaekit.fields.Contract.resolution`.
    """
    usual = dict(zip(engine.contract.names("model"), engine.calibration["usual"], strict=True))
    observed = observed_shares(engine, blocks)
    return {name: share - resolved[name] - observed[name] * usual[name] for name, share in shares.items()}

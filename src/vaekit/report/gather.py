"""All facts of a report, computed from a bundle and real rows; nothing here knows how a page looks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from vaekit.arrays import Array
from vaekit.errors import ContractError, VaekitError
from vaekit.queries.base import query
from vaekit.queries.evaluate import some_rows
from vaekit.queries.fidelity import fidelity
from vaekit.queries.sample import sampled_like
from vaekit.report.advice import Advice, advise_model
from vaekit.report.before import TableFacts, table_facts
from vaekit.report.columns import Seen
from vaekit.report.compare import Pairs, pairs, similarity, views
from vaekit.report.examples import Example, Ranked, examples, ranked
from vaekit.report.images import Gallery, galleries
from vaekit.report.latent import LatentMap, Traversal, latent_map, neighbours, ordered, traversals
from vaekit.report.quality import Alarm, Coverage, coverage, false_alarms

if TYPE_CHECKING:
    import pyarrow as pa

    from vaekit.bundle import Bundle
    from vaekit.runtime.engine import Engine

__all__ = ["FIELDS", "Facts", "Rows", "gather"]

FIELDS = 30  # shown of a wide table
_ROWS, _SAMPLES = 2_000, 1_000
T = TypeVar("T")


@dataclass(frozen=True)
class Rows:
    """The real rows of a report.

    Args:
        table: Rows to compare with and to take examples from.
        told: What they are, as a clause: ``rows that training did not see``.
        numbers: What to call the rows; their positions if not given.
        fresh: Rows that neither weights nor calibration were fitted to, for the false-alarm check; `table` if None.
        fresh_told: What these are.
    """

    table: pa.Table
    told: str = "rows that were given"
    numbers: Sequence[int] | None = None
    fresh: pa.Table | None = None
    fresh_told: str = ""


@dataclass(frozen=True)
class Facts:
    """What the page tells. Parts that a table or a bundle cannot answer are empty, with the reason in `skipped`."""

    bundle: Bundle
    rows: Rows
    used: int
    fields: tuple[str, ...]
    left_out: int
    history: Sequence[Mapping[str, Any]]
    weights: int
    advice: list[Advice]
    p_values: Array
    alarms: list[Alarm]
    coverage: dict[str, Coverage]
    spread: dict[str, dict[str, float]]
    fidelity: dict[str, Any]
    views: list[Seen]
    similarity: dict[str, float]
    pairs: Pairs | None
    map: LatentMap | None
    neighbours: Array | None
    traversals: list[Traversal]
    galleries: list[Gallery]
    examples: list[Example]
    skipped: dict[str, str] = field(default_factory=dict)


def gather(
    bundle: Bundle,
    engine: Engine,
    rows: Rows,
    history: Sequence[Mapping[str, Any]] = (),
    seed: int = 0,
    umap: bool = False,
) -> Facts:
    """Ask a model all that its report tells, on 2,000 rows and 1,000 samples at most.

    Args:
        bundle: The bundle.
        engine: Its engine.
        rows: Real rows, not none.
        history: Metrics of training, one mapping per validation.
        seed: Seed of every choice and draw.
        umap: Also make a map of the latent space by UMAP.

    Returns:
        The facts.

    Raises:
        ContractError: If there are no rows, or they do not fit the contract.
    """
    if rows.table.num_rows == 0:
        raise ContractError("a report needs at least one real row to compare with")
    engine.contract.validate(rows.table)
    table, numbers = _some(rows, seed)
    skipped: dict[str, str] = {}

    def tried(name: str, ask: Callable[[], T], otherwise: T) -> T:
        try:
            return ask()
        except VaekitError as error:
            skipped[name] = str(error)
            return otherwise

    shown = _informative(bundle)
    fields = tuple(name for name in bundle.contract.names("model") if name in shown[:FIELDS])
    sampled = sampled_like(engine, table, _SAMPLES, seed)
    seen = views(bundle.contract, fields, table, sampled)
    embedding = np.stack(query(engine, "embed", table)["embedding"].to_numpy())
    nobody = Ranked(np.zeros(0), np.zeros(0), np.zeros((0, 0)), ())
    order = tried("rows", lambda: ranked(engine, table), nobody)
    p_values = (
        order.p_value if rows.fresh is None else tried("calibration", lambda: _fresh(engine, rows, seed), np.zeros(0))
    )
    calibration = len(bundle.calibration.get("anomaly", ()))
    told: TableFacts = table_facts(table, bundle.contract, seed)
    weights = sum(int(np.prod(value.shape)) for value in bundle.weights.values())
    kl = _costs(bundle, history)
    like = {one.name: similarity(one) for one in seen}
    return Facts(
        bundle=bundle,
        rows=rows,
        used=table.num_rows,
        fields=fields,
        left_out=len(shown) - len(fields),
        history=history,
        weights=weights,
        advice=advise_model(bundle.evaluation, bundle.run, weights, told),
        p_values=p_values[np.isfinite(p_values)],
        alarms=false_alarms(p_values, calibration) if calibration and len(p_values) else [],
        coverage=tried("coverage", lambda: coverage(engine, table, fields, seed), {}),
        spread=_spread(seen),
        fidelity=tried("fidelity", lambda: fidelity(engine, table, sampled), {}),
        views=seen,
        similarity={name: value for name, value in like.items() if value is not None},
        pairs=pairs(seen, seed),
        map=latent_map(embedding, seen),
        neighbours=neighbours(embedding, seed) if umap else None,
        traversals=tried("traversals", lambda: traversals(engine, table, embedding, _told(bundle, fields), kl), []),
        galleries=tried("galleries", lambda: galleries(engine, table, ordered(embedding, kl), seed), []),
        examples=tried("examples", lambda: examples(engine, table, order, numbers), []) if len(order.score) else [],
        skipped=skipped,
    )


def _some(rows: Rows, seed: int) -> tuple[pa.Table, Sequence[int]]:
    """At most 2,000 of the rows, in their order, and what to call them."""
    import pyarrow as pa

    numbers = pa.array(range(rows.table.num_rows) if rows.numbers is None else rows.numbers)
    places = some_rows(pa.table({"at": np.arange(rows.table.num_rows)}), _ROWS, seed)["at"]
    return rows.table.take(places), numbers.take(places.combine_chunks()).to_pylist()


def _fresh(engine: Engine, rows: Rows, seed: int) -> Array:
    assert rows.fresh is not None
    return ranked(engine, some_rows(rows.fresh, _ROWS, seed)).p_value if rows.fresh.num_rows else np.zeros(0)


def _informative(bundle: Bundle) -> list[str]:
    """Model fields, those first whose reconstruction saves most nats over the field on its own."""
    known = bundle.evaluation.get("fields", {})
    names = bundle.contract.names("model")
    gain = {name: known[name]["marginal_nats"] - known[name]["nats"]["mean"] for name in names if name in known}
    return sorted(names, key=lambda name: -gain.get(name, 0.0))


def _told(bundle: Bundle, fields: Sequence[str]) -> dict[str, float]:
    """Share of the nats of each field on its own that its reconstruction saves; all of them if nothing is known."""
    known, found = bundle.evaluation.get("fields", {}), {}
    for name in fields:
        alone = known[name]["marginal_nats"] if name in known else 0.0
        saved = alone - known[name]["nats"]["mean"] if name in known else 0.0
        found[name] = min(max(saved / alone, 0.0), 1.0) if alone > 0 else 1.0
    return found


def _costs(bundle: Bundle, history: Sequence[Mapping[str, Any]]) -> Array | None:
    """Nats that each latent dimension costs, all groups side by side, if they are known."""
    last = history[-1]["valid"].get("kl_per_dimension") if history else None
    if last and list(last) == list(bundle.architecture.groups):
        return np.concatenate([np.ravel(value) for value in last.values()])
    known = bundle.evaluation.get("kl_per_dimension")
    return None if known is None else np.asarray(known, np.float64)


def _spread(seen: Sequence[Seen]) -> dict[str, dict[str, float]]:
    """What a guess without a model achieves: the standard deviation of a number, the share of the first category."""
    found: dict[str, dict[str, float]] = {}
    for one in seen:
        if one.shape == "number":
            found[one.name] = {"rmse": float(np.nanstd(one.real))}
        elif one.shape == "category":
            held = one.real[one.real >= 0]
            found[one.name] = {"accuracy": float((held == 0).mean())}
    return found

"""Whether a model serves some groups of rows worse than others: likelihood, reconstruction and samples by group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vaekit.arrays import Array
from vaekit.errors import ConfigError
from vaekit.metrics.likelihood import log_mean_exp, standard_error
from vaekit.metrics.marginals import Marginals, by_field
from vaekit.queries.base import model_specs, weigh
from vaekit.queries.factors import Factor, column_of, factor_of
from vaekit.queries.fidelity import fidelity
from vaekit.queries.reconstruct import reconstruct
from vaekit.queries.sample import sample, sampled_like

if TYPE_CHECKING:
    import pyarrow as pa

    from vaekit.runtime.engine import Engine

__all__ = ["by_group"]

_SAMPLES = 64
_BINS, _VALUES = 4, 12  # of a column of numbers
_MOST = 50  # groups of a column
_LEAST = 10  # rows of a group that is held against the others
_FIDELITY = 50  # rows of a group whose samples are judged
_FALSE = 0.01  # chance of any warning where all groups are served alike
_DRAWN = 4_000


class _Nats(NamedTuple):
    """Figures of every row, shape (B,): the bound, the ELBO, what is saved over marginals, and each field."""

    bound: Array
    elbo: Array
    gain: Array
    fields: dict[str, Array]


def by_group(
    engine: Engine, held_out: pa.Table, train: pa.Table, columns: Sequence[str], seed: int = 0
) -> dict[str, Any]:
    """Figures of a model for each value of some columns, and warnings where a group is served worse than the others.

    A group is held against all other rows by Welch's test, for the bound and for each field's reconstruction. Groups
    may be harder by nature: ``gain``, what the model saves over independent columns there, says whether the model
    does less for them.

    Args:
        engine: The model.
        held_out: Rows that training did not see.
        train: Rows for the marginals.
        columns: Columns of the rows, fields of the model or not. Numbers with more than 12 values are cut into
            quarters.
        seed: Seed of all draws.

    Returns:
        Column to ``groups`` {value: figures} and ``warnings``; rows without a value are the group ``missing``
        (``missing (no value)`` where a group has that name). Figures: ``rows``, ``share``; ``nats`` (-log p, at
        most), ``elbo`` and ``gain``, each {``mean``, ``se``}; ``fields`` {name: {``nats``, ``se``, and ``rmse`` or
        ``accuracy``}}; ``share_drawn`` where the column is a field that is drawn; ``samples`` (see
        `vaekit.queries.fidelity`) of groups of 50 rows or more, drawn given the group where it is a condition, else
        those drawn rows that fell into it.

    Raises:
        ContractError: If a column is not there, or rows do not fit the contract.
        ConfigError: If a column holds neither text, booleans nor numbers, or more than 50 different texts.

    References:
        Welch, The generalization of Student's problem, Biometrika 1947. Bonferroni's correction over all comparisons.
    """
    found = {name: factor_of(column_of(held_out, name), name, _BINS, _VALUES) for name in columns}
    for name, one in found.items():
        if len(one.labels) > _MOST:
            raise ConfigError(f"column {name!r} has {len(one.labels)} values; name one with {_MOST} groups at most")
    nats, seen = _nats(engine, held_out, train, seed), reconstruct(engine, held_out)
    groups = sum(len(np.unique(one.codes)) for one in found.values())
    level = _FALSE / max(groups * (2 + len(nats.fields)), 1)  # of the bound, what is saved, and each field
    told: dict[str, Any] = {}
    for name, one in found.items():
        figured, warnings = {}, []
        drawn = _drawn(engine, name, one, seed)
        for code, label in [*enumerate(one.labels), (-1, _nameless(one.labels))]:
            inside = one.codes == code
            if not inside.any():
                continue
            figures = _figures(engine, nats, inside, held_out, seen)
            figures |= _samples(engine, held_out, inside, name, code, drawn, seed)
            figured[label] = figures
            warnings += _warnings(f"{name}={label}", nats, inside, level)
        told[name] = {"groups": figured, "warnings": warnings}
    return told


def _nameless(labels: Sequence[str]) -> str:
    """What rows without a group are called: ``missing``, or a name that no group has."""
    name = "missing"
    while name in labels:
        name += " (no value)"
    return name


def _nats(engine: Engine, table: pa.Table, train: pa.Table, seed: int) -> _Nats:
    blocks, specs = engine.encode(table), model_specs(engine)
    passes = list(weigh(engine, blocks, _SAMPLES, seed, shared=False))
    log_weight = np.concatenate([part.log_weight for part in passes], axis=1)
    fields: dict[str, Array] = {}
    for spec in specs:
        cost = -np.concatenate([part.log_px[spec.name].mean(0) for part in passes])  # shape: (B, F)
        fields |= dict(zip(spec.fields, cost.T.astype(np.float64), strict=True))
    marginals = Marginals.fit(engine.architecture.blocks, engine.encode(engine.contract.table(train)))
    alone = np.sum(list(by_field(marginals, marginals.cells(blocks)).values()), axis=0)
    bound = log_mean_exp(log_weight)
    ordered = {name: fields[name] for name in engine.contract.names("model")}
    return _Nats(bound, log_weight.mean(0), alone + bound, ordered)


def _figures(engine: Engine, nats: _Nats, inside: Array, real: pa.Table, seen: pa.Table) -> dict[str, Any]:
    import pyarrow as pa

    def mean(values: Array) -> dict[str, float]:
        return {"mean": float(values[inside].mean()), "se": standard_error(values[inside])}

    rows, fields = pa.array(inside), {}
    for name, cost in nats.fields.items():
        field = engine.contract[name]
        error = (
            field.error(field.clean(real[name].filter(rows)), seen[name].filter(rows))
            if name in real.column_names
            else {}
        )
        fields[name] = {"nats": float(cost[inside].mean()), "se": standard_error(cost[inside]), **error}
    return {
        "rows": int(inside.sum()),
        "share": float(inside.mean()),
        "nats": mean(-nats.bound),
        "elbo": mean(nats.elbo),
        "gain": mean(nats.gain),
        "fields": fields,
    }


def _warnings(told: str, nats: _Nats, inside: Array, level: float) -> list[str]:
    """What is worse in a group than in all other rows, beyond chance at a level."""
    if inside.sum() < _LEAST or (~inside).sum() < _LEAST:
        return []
    found = []
    for name, values in {"": -nats.bound, **nats.fields}.items():
        gap, error, p = _welch(values[inside], values[~inside])
        if p < level:
            what = f"{name} costs" if name else "a row costs"
            found.append(f"{told}: {what} {gap:.3g} ± {error:.2g} nats more than in other rows (p = {p:.1g})")
    gap, error, p = _welch(-nats.gain[inside], -nats.gain[~inside])
    if p < level:
        found.append(f"{told}: the model saves {gap:.3g} ± {error:.2g} nats less than in other rows (p = {p:.1g})")
    return found


def _welch(first: Array, second: Array) -> tuple[float, float, float]:
    """How much larger the mean of the first is, its standard error, and the one-sided p-value."""
    from scipy.special import stdtr

    parts = [np.var(x, ddof=1) / len(x) for x in (first, second)]
    error = float(np.sqrt(sum(parts)))
    gap = float(first.mean() - second.mean())
    if error == 0.0:
        return gap, 0.0, 0.0 if gap > 1e-9 else 1.0
    freedom = sum(parts) ** 2 / sum(v**2 / (len(x) - 1) for v, x in zip(parts, (first, second), strict=True))
    return gap, error, float(stdtr(freedom, -gap / error))


def _drawn(engine: Engine, name: str, groups: Factor, seed: int) -> tuple[pa.Table, Array] | None:
    """Drawn rows and the group of each, where the column is a field that the model draws without conditions."""
    if name not in engine.contract.names("model") or engine.contract.names("condition"):
        return None
    rows = sample(engine, _DRAWN, seed=seed)
    return rows, groups.of(rows[name])


def _samples(
    engine: Engine,
    real: pa.Table,
    inside: Array,
    name: str,
    code: int,
    drawn: tuple[pa.Table, Array] | None,
    seed: int,
) -> dict[str, Any]:
    """How good and diverse rows of the group are, and how many there are, where the model draws them."""
    import pyarrow as pa

    told: dict[str, Any] = {}
    group = real.filter(pa.array(inside))
    if drawn is not None:
        told["share_drawn"] = float((drawn[1] == code).mean())
        made = drawn[0].filter(pa.array(drawn[1] == code))
    elif name in engine.contract.names("condition") and group.num_rows >= _FIDELITY:
        made = sampled_like(engine, group, group.num_rows, seed)
    else:
        return told
    if min(group.num_rows, made.num_rows) >= _FIDELITY:
        figures = fidelity(engine, group, made)
        told["samples"] = {key: value for key, value in figures.items() if key not in ("features", "width")}
    return told

"""What the demo asks of a model, and how well it answers: numbers only, nothing is printed or drawn here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from flights_data import LAST, month, some

import vaekit as vk
from vaekit.metrics import marginal_similarity, pairwise_similarity
from vaekit.metrics.marginals import marginal_nats

__all__ = [
    "Fidelity",
    "Hidden",
    "Map",
    "Month",
    "Nats",
    "Strange",
    "by_month",
    "embedding_map",
    "fidelity",
    "impute_holes",
    "make_holes",
    "nats",
    "strangest",
]

ALPHAS = (0.01, 0.05)
SPARSE = 0.5  # columns with a larger share of nulls are left out when samples are compared
BINS = 10


# ------------------------------------------------------------------------------------------------------ likelihood


@dataclass(frozen=True)
class Nats:
    """Mean -log p per row of a model and of independent marginals, in nats."""

    rows: int
    model: float
    marginals: float


def nats(model: vk.Model, train: pa.Table, rows: pa.Table, samples: int = 64) -> Nats:
    """The model's bound on new rows, beside every field on its own."""
    contract = model.contract
    score = model.score(rows, samples=samples)["score"]
    alone = marginal_nats(contract.blocks(), contract.encode(train), contract.encode(rows))
    return Nats(rows.num_rows, pc.mean(score).as_py(), float(sum(field.mean() for field in alone.values())))


# --------------------------------------------------------------------------------------------------------- anomalies


@dataclass(frozen=True)
class Strange:
    """The strangest of the rows that share a cause: its score in nats, and its observed fields of largest excess."""

    row: dict[str, Any]
    score: float
    p_value: float
    why: list[tuple[str, Any, float]]  # field, value, nats more than usual
    alike: int  # flagged rows that share the cause


def strangest(rows: pa.Table, found: pa.Table, most: int, fields: int = 3) -> list[Strange]:
    """The rows with the largest anomaly scores, one for each cause: the weather of an hour at an airport."""
    hours = pc.hour(rows["departs"])  # flights of one hour at one airport share their weather
    causes = list(zip(*(part.to_pylist() for part in (rows["date"], hours, rows["origin"])), strict=True))
    flagged = found["anomaly"].to_pylist()
    alike = Counter(one for one, is_flagged in zip(causes, flagged, strict=True) if is_flagged)
    chosen: dict[Any, int] = {}
    for at in np.argsort(-found["anomaly_score"].to_numpy()).tolist():
        chosen.setdefault(causes[at], at)
        if len(chosen) == most:
            break
    return [_strange(rows.slice(at, 1), found.slice(at, 1), alike[key], fields) for key, at in chosen.items()]


def _strange(row: pa.Table, found: pa.Table, alike: int, fields: int) -> Strange:
    cells, answer = row.to_pylist()[0], found.to_pylist()[0]
    excess = {name.removeprefix("excess."): nats for name, nats in answer.items() if name.startswith("excess.")}
    seen = [(name, cells[name], nats) for name, nats in excess.items() if cells[name] is not None]
    why = sorted(seen, key=lambda one: -one[2])[:fields]
    return Strange(cells, answer["anomaly_score"], answer["p_value"], why, alike)


@dataclass(frozen=True)
class Month:
    """A month: mean score, share of rows flagged at each alpha, and by how many nats each field is stranger."""

    number: int
    rows: int
    score: float
    flagged: dict[float, float]
    excess: dict[str, float] = field(repr=False)

    def moved(self, most: int) -> list[tuple[str, float]]:
        """The fields that make this month stranger than held-out rows of the training months, most important first."""
        return sorted(self.excess.items(), key=lambda one: -one[1])[:most]


def by_month(model: vk.Model, held_out: pa.Table, year: pa.Table, each: int, seed: int) -> list[Month]:
    """Scores and anomalies of every month: held-out rows where the model was fitted, a sample of all rows after."""
    later = [some(month(year, number), each, seed) for number in range(LAST + 1, 13)]
    rows = pa.concat_tables([held_out, *later])
    found = model.detect(rows, attribution=True)
    score, p_value = model.score(rows)["score"].to_numpy(), found["p_value"].to_numpy()
    excess = {name.removeprefix("excess."): found[name].to_numpy() for name in found.column_names if "." in name}
    usual = {name: values[: held_out.num_rows].mean() for name, values in excess.items()}
    months = []
    for number in range(1, 13):
        own = pc.month(rows["date"]).to_numpy() == number
        flagged = {alpha: float((p_value[own] <= alpha).mean()) for alpha in ALPHAS}
        mean = {name: float(values[own].mean() - usual[name]) for name, values in excess.items()}
        months.append(Month(number, int(own.sum()), float(score[own].mean()), flagged, mean))
    return months


# -------------------------------------------------------------------------------------------------------- imputation


@dataclass(frozen=True)
class Hidden:
    """Cells of one field that were hidden, and what came back."""

    field: str
    mean: float  # of the rows that were fitted to: the simplest imputation
    truth: np.ndarray
    point: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def rmse(self) -> float:
        """Root mean squared error of the imputed cells."""
        return float(np.sqrt(np.mean(np.square(self.point - self.truth))))

    @property
    def rmse_of_mean(self) -> float:
        """Root mean squared error if the mean stood in every cell."""
        return float(np.sqrt(np.mean(np.square(self.mean - self.truth))))

    @property
    def coverage(self) -> float:
        """Share of the hidden cells inside their interval."""
        return float(np.mean((self.low <= self.truth) & (self.truth <= self.high)))


def make_holes(rows: pa.Table, fields: Sequence[str], most: int, seed: int) -> tuple[pa.Table, pa.Table]:
    """Some rows in which all of the fields are known, and the same rows with all of them hidden."""
    for name in fields:
        rows = rows.filter(pc.is_valid(rows[name]))
    rows = some(rows, most, seed)
    holes = rows
    for name in fields:
        holes = holes.set_column(holes.column_names.index(name), name, pa.nulls(rows.num_rows, rows[name].type))
    return rows, holes


def impute_holes(
    model: vk.Model, train: pa.Table, rows: pa.Table, holes: pa.Table, fields: Sequence[str], seed: int
) -> list[Hidden]:
    """Have the model fill the holes with 90% intervals, beside the truth and the mean of the rows it was fitted to."""
    filled = model.impute(holes, interval=0.9, seed=seed)
    answers = [(name, f"{name}.low", f"{name}.high") for name in fields]
    return [
        Hidden(
            name, pc.mean(train[name]).as_py(), _floats(rows[name]), *(_floats(filled[column]) for column in columns)
        )
        for name, columns in zip(fields, answers, strict=True)
    ]


# ---------------------------------------------------------------------------------------------------------- sampling


@dataclass(frozen=True)
class Fidelity:
    """Similarity to held-out rows, 1 is equal: of sampled rows, of as many real rows, of shuffled columns."""

    columns: list[str]
    marginals: dict[str, np.ndarray]  # shape (F,)
    pairs: dict[str, np.ndarray]  # shape (F, F)
    real_routes: dict[str, float]  # share of rows whose airline flies from there to there

    def mean(self, which: str) -> tuple[float, float]:
        """Mean similarity of marginals and of pairs of different columns."""
        above = np.triu_indices(len(self.columns), 1)
        return float(self.marginals[which].mean()), float(self.pairs[which][above].mean())


def fidelity(model: vk.Model, train: pa.Table, held_out: pa.Table, sampled: pa.Table, seed: int) -> Fidelity:
    """Compare sampled rows with held-out rows, and do the same with as many real rows and with shuffled columns."""
    size = min(sampled.num_rows, held_out.num_rows)
    reference, real = some(held_out, size, seed), some(train, size, seed)
    columns = [name for name in model.contract.names("model") if train[name].null_count < SPARSE * train.num_rows]
    tables = {"sampled": sampled, "real": real, "shuffled": _shuffled(real, columns, seed)}
    target = _codes(train, reference, columns)
    marginals, pairs = {}, {}
    for which, table in tables.items():
        codes = _codes(train, table, columns)
        marginals[which] = np.array([_similar(target, codes, [one]) for one in range(len(columns))])
        pairs[which] = np.eye(len(columns))
        for first, second in combinations(range(len(columns)), 2):
            pairs[which][first, second] = pairs[which][second, first] = _similar(target, codes, [first, second])
    routes = set(_routes(train))
    exist = {which: float(np.mean([route in routes for route in _routes(table)])) for which, table in tables.items()}
    return Fidelity(columns, marginals, pairs, exist)


def _codes(train: pa.Table, rows: pa.Table, columns: Sequence[str]) -> np.ndarray:
    """Bin codes (N, F): tenths of the training rows for numbers, levels for categories, -1 for null."""
    coded = []
    for name in columns:
        if pa.types.is_string(rows[name].type):
            code = pc.index_in(rows[name], value_set=pc.unique(train[name]))
        else:
            edges = np.unique(np.nanquantile(_floats(train[name]), np.arange(1, BINS) / BINS, method="lower"))
            values = _floats(rows[name])
            code = pa.array(np.searchsorted(edges, values), mask=np.isnan(values))
        coded.append(pc.fill_null(code, -1).to_numpy().astype(np.int64))
    return np.stack(coded, axis=1)


def _floats(column: pa.ChunkedArray) -> np.ndarray:
    """Values to six decimals: 10.357019999999999 and 10.35702 are one reading, and one side of an edge."""
    plain = pc.cast(column, pa.int32()) if pa.types.is_time32(column.type) else column
    return np.round(pc.cast(plain, pa.float64()).to_numpy(), 6)


def _similar(real: np.ndarray, other: np.ndarray, columns: list[int]) -> float:
    """Similarity of one column, or of a pair, over the rows in which nothing is null."""
    first, second = (codes[:, columns][(codes[:, columns] >= 0).all(1)] for codes in (real, other))
    if len(columns) == 1:
        return float(marginal_similarity(first, second)[0])
    return float(pairwise_similarity(first, second)[0, 1])


def _shuffled(table: pa.Table, columns: Sequence[str], seed: int) -> pa.Table:
    """The same columns, each in an order of its own: right marginals, no relation left."""
    rng = np.random.default_rng(seed)
    return pa.table({name: table[name].take(rng.permutation(table.num_rows)) for name in columns})


def _routes(table: pa.Table) -> list[str]:
    keys = [pc.fill_null(table[name], "") for name in ("carrier", "origin", "dest")]
    return pc.binary_join_element_wise(*keys, " ").to_pylist()


# -------------------------------------------------------------------------------------------------------- embeddings


@dataclass(frozen=True)
class Map:
    """Embeddings on their two principal axes, and which way the columns of numbers grow on them."""

    rows: pa.Table
    points: np.ndarray  # shape (B, 2)
    ways: dict[str, np.ndarray]  # direction of growth, its length R, the multiple correlation, best explained first


def embedding_map(model: vk.Model, rows: pa.Table) -> Map:
    """Place rows by their embeddings, and regress every column of numbers on the places."""
    column = model.embed(rows)["embedding"].combine_chunks()
    vectors = column.flatten().to_numpy().reshape(len(column), -1).astype(np.float64)
    vectors -= vectors.mean(0)
    axes = np.linalg.svd(vectors, full_matrices=False)[2][:2]
    axes *= np.sign(axes[np.arange(2), np.abs(axes).argmax(1)])[:, None]  # a decomposition leaves the signs open
    points = vectors @ axes.T
    numbers = [name for name in model.contract.names("model") if not pa.types.is_string(rows[name].type)]
    ways = {name: _way(points, _floats(rows[name])) for name in numbers if rows[name].null_count < SPARSE * len(column)}
    return Map(rows, points, dict(sorted(ways.items(), key=lambda one: -np.linalg.norm(one[1]))))


def _way(points: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The direction in which the ranks of some values grow, as long as their correlation with it."""
    seen = ~np.isnan(values)
    rank = np.argsort(np.argsort(values[seen], kind="stable")) / max(seen.sum() - 1, 1) - 0.5
    slope = np.linalg.lstsq(points[seen], rank, rcond=None)[0]
    correlation = np.corrcoef(points[seen] @ slope, rank)[0, 1]
    return slope / np.linalg.norm(slope) * correlation

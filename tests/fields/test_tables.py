"""Tables in and out: every dataframe and file gives the same rows, and files are whole or absent."""

from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vaekit.errors import ConfigError, ContractError
from vaekit.fields import Contract, to_arrow, write

FRAME = pd.DataFrame(
    {
        "f": [1.5, np.nan, 3.25, 1.5],
        "i": pd.array([1, None, 3, 7], dtype="Int64"),
        "b": pd.array([True, None, False, True], dtype="boolean"),
        "c": pd.Categorical(["x", None, "y", "z"]),
        "s": pd.array(["p", None, "q", "p"], dtype="string"),
        "o": ["u", None, "v", "u"],
    }
)
ROWS = [
    {"f": 1.5, "i": 1, "b": True, "c": "x", "s": "p", "o": "u"},
    {"f": None, "i": None, "b": None, "c": None, "s": None, "o": None},
    {"f": 3.25, "i": 3, "b": False, "c": "y", "s": "q", "o": "v"},
    {"f": 1.5, "i": 7, "b": True, "c": "z", "s": "p", "o": "u"},
]
ARROW = pa.Table.from_pylist(ROWS)


def as_file(suffix):
    def make(folder):
        return write(ARROW, folder / f"table{suffix}")

    return make


def as_partitions(folder):
    root = folder / "parts"
    root.mkdir()
    pq.write_table(ARROW.slice(0, 2), root / "0.parquet")
    pq.write_table(ARROW.slice(2), root / "1.parquet")
    return root


SOURCES = {
    "pandas": lambda _: FRAME,
    "pandas with an index": lambda _: FRAME.set_axis(["a", "b", "c", "d"], axis=0),
    "pandas on arrow": lambda _: FRAME.convert_dtypes(dtype_backend="pyarrow"),
    "polars": lambda _: pl.DataFrame(ROWS).with_columns(pl.col("c").cast(pl.Categorical)),
    "polars enum": lambda _: pl.DataFrame(ROWS).with_columns(pl.col("c").cast(pl.Enum(["x", "y", "z"]))),
    "polars lazy": lambda _: pl.DataFrame(ROWS).lazy(),
    "arrow": lambda _: ARROW,
    "batch": lambda _: ARROW.to_batches()[0],
    "reader": lambda _: ARROW.to_reader(),
    "chunks": lambda _: pa.concat_tables([ARROW.slice(0, 1), ARROW.slice(1)]),
    "dict of lists": lambda _: {name: [row[name] for row in ROWS] for name in ROWS[0]},
    "dict of series": lambda _: {name: FRAME[name] for name in FRAME},
    "dict of Polars series": lambda _: {series.name: series for series in pl.DataFrame(ROWS)},
    "dict of arrow": lambda _: {name: ARROW[name] for name in ARROW.column_names},
    "parquet": as_file(".parquet"),
    "parquet folder": as_partitions,
    "csv": as_file(".csv"),
    "csv.gz": as_file(".csv.gz"),
    "arrow file": as_file(".arrow"),
    "feather": as_file(".feather"),
    "path as text": lambda folder: str(as_file(".parquet")(folder)),
}


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_gives_the_same_rows_and_blocks(source, tmp_path):
    data = SOURCES[source](tmp_path)
    table = to_arrow(data)
    assert table.to_pylist() == ROWS
    assert table.schema.metadata is None
    contract = Contract.infer(ARROW)
    if source != "reader":  # it is used up
        for name, block in contract.encode(data).items():
            np.testing.assert_array_equal(block.values, contract.encode(ARROW)[name].values)
    own = Contract.infer(table)
    assert [(f.name, f.kind) for f in own.fields] == [(f.name, f.kind) for f in contract.fields]
    values = {name: np.where(b.observed, b.values.astype(float), np.nan) for name, b in own.encode(table).items()}
    back = own.decode(values)
    assert back.schema.types == table.schema.types
    assert back.to_pylist() == ROWS


def test_arrays_become_columns():
    matrix = np.arange(6.0).reshape(3, 2)
    assert to_arrow(matrix).to_pydict() == {"x0": [0.0, 2.0, 4.0], "x1": [1.0, 3.0, 5.0]}
    table = to_arrow(
        {"v": matrix.astype(np.float32), "flag": np.array([True, False, True]), "s": np.array(["a", "b", "c"])}
    )
    assert table.schema.field("v").type == pa.list_(pa.float32(), 2)
    assert table["v"].to_pylist() == matrix.tolist()
    assert to_arrow({"m": np.ma.masked_array([1, 2, 3], [False, True, False])})["m"].to_pylist() == [1, None, 3]
    assert to_arrow({1: [1], "None": [2]}).column_names == ["1", "None"]
    assert to_arrow({}).num_columns == 0


@pytest.mark.parametrize(
    ("data", "field", "message"),
    [
        ({"a": [1, 2], "b": [1]}, "b", "different lengths"),
        ({"a": np.zeros((2, 2, 2))}, "a", "cannot be a column"),
        ({"a": np.zeros((2, 2), dtype="U1")}, "a", "cannot be a column"),
        ({"a": 3}, "a", "not a sequence"),
        ({"a": "text"}, "a", "not a sequence"),
        (np.zeros(3), None, "2-D array, got shape (3,)"),
        (np.zeros((2, 2, 2)), None, "2-D array"),
        (np.zeros(2, dtype=[("a", int)]), None, "structured"),
        ([1, 2], None, "not a table"),
        (None, None, "not a table"),
        (pd.Series([1, 2]), None, "not a table"),
        ("no/such/file.parquet", None, "does not exist"),
    ],
)
def test_what_is_not_a_table_is_refused(data, field, message):
    with pytest.raises(ContractError) as caught:
        to_arrow(data)
    assert message in str(caught.value)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bad.parquet", b"PAR1 but not really"),
        ("bad.arrow", b"no arrow"),
        ("bad.csv", b"a,b\n1,2,3\n"),
        ("empty.csv", b""),
        ("bad.csv.gz", b"not gzip"),
        ("table.xlsx", b""),
        ("table", b""),
    ],
)
def test_files_that_cannot_be_read_are_named(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ContractError, match=name):
        to_arrow(tmp_path / name)


def test_a_folder_without_parquet_files_is_refused(tmp_path):
    with pytest.raises(ContractError, match=r"without \.parquet"):
        to_arrow(tmp_path)


def test_csv_columns_may_change_their_looks_late_and_hold_newlines(tmp_path):
    lines = ["n,text"] + [f"{i},row" for i in range(300_000)] + ['0.5,"two\nlines"', ",NA"]
    (tmp_path / "late.csv").write_text("\n".join(lines))
    table = to_arrow(tmp_path / "late.csv")
    assert table.schema.types == [pa.float64(), pa.string()]
    assert table.slice(300_000).to_pylist() == [{"n": 0.5, "text": "two\nlines"}, {"n": None, "text": None}]


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".csv.gz", ".arrow", ".feather"])
def test_written_files_replace_old_ones_whole(suffix, tmp_path):
    path = tmp_path / f"out{suffix}"
    write(ARROW.slice(0, 1), path)
    assert write(ARROW, path) == path
    assert to_arrow(path).to_pylist() == ROWS
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "out.csv"
    write(ARROW, path)
    with pytest.raises(ContractError, match=r"CSV cannot hold lists.*'v'"):
        write(pa.table({"v": [[1, 2]]}), path)
    assert to_arrow(path).to_pylist() == ROWS
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(ConfigError, match=r"end the name with \.parquet"):
        write(ARROW, tmp_path / "out.xlsx")
    with pytest.raises(ConfigError, match="does not exist"):
        write(ARROW, tmp_path / "no" / "out.csv")


def test_a_duckdb_relation_or_result_is_a_table():
    duckdb = pytest.importorskip("duckdb")
    query = "select i as x, i / 4.0 as d, (i * 1.5)::decimal(9, 2) as m, 'ab'[1 + i % 2] as c from range(40) t(i)"
    relation = duckdb.sql(query)
    for data in (relation, duckdb.connect().execute(query)):
        table = to_arrow(data)
        assert table.column_names == ["x", "d", "m", "c"]
        assert table["m"].to_pylist()[:2] == [Decimal("0.00"), Decimal("1.50")]
    contract = Contract.infer(relation)
    assert [field.kind for field in contract.fields] == ["number", "number", "number", "category"]
    answer = relation.to_arrow_table()
    assert answer.num_rows == 40
    back = duckdb.sql("select max(d) from answer").fetchall()  # and out: DuckDB reads Arrow tables by name
    assert back == [(39 / 4,)]


def test_pandas_columns_of_every_kind():
    frame = pd.DataFrame(
        {
            ("a", "x"): pd.arrays.SparseArray([0, 0, 1]),
            ("a", ""): pd.period_range("2020-01", periods=3, freq="M"),
            ("b", 1): pd.array([1, None, 3], dtype="Int8"),
            ("b", 2): pd.array([1.5, None, 3], dtype="Float32"),
            ("c", "text"): pd.array(["p", None, "q"], dtype="string[pyarrow]"),
            ("c", "cat"): pd.Categorical([3, 1, None], [1, 2, 3], ordered=True),
            ("c", "span"): pd.to_timedelta([1, None, 3], unit="s"),
            ("d", "mixed"): [1, "two", 3.5],
            ("d", "objects"): [object(), None, object()],
            ("d", "complex"): [1j, 2j, 3j],
            ("d", "lists"): [[1, 2], "no", [3]],
            ("d", "whole"): [2**70, 1, None],
        }
    )
    table = to_arrow(frame)
    assert table.column_names[:4] == ["a.x", "a", "b.1", "b.2"]
    assert table["a.x"].to_pylist() == [0, 0, 1]
    assert pa.types.is_timestamp(table["a"].type)
    assert table["d.mixed"].to_pylist() == ["1", "two", "3.5"]  # as a CSV file would have it
    assert table["d.whole"].to_pylist() == [str(2**70), "1", None]
    contract = Contract.infer(table)
    for name in ("d.objects", "d.complex", "d.lists"):
        assert "Python values of type" in contract[name].note
    contract.encode(frame)


def test_codes_keep_their_zeros(tmp_path):
    path = tmp_path / "codes.csv"
    rows = [f"{i % 30:05d},{i},{i / 8}" for i in range(90)]
    path.write_text("\n".join(["code,n,x", *rows]))
    table = to_arrow(path)
    assert table.schema.types == [pa.string(), pa.int64(), pa.float64()]
    assert table["code"][7].as_py() == "00007"
    contract = Contract.infer(path)
    assert contract["code"].kind == "category"
    assert contract["code"].levels[7] == "00007"


def test_files_are_read_with_the_types_of_the_contract(tmp_path):
    train, later, wrong = (tmp_path / f"{name}.csv" for name in ("train", "later", "wrong"))
    rng = np.random.default_rng(0)
    lines = [
        f"{'A' if i % 3 else 'B'}{i % 5},{rng.normal():.3f},{i % 90},{i / 4 if i % 7 else '?'}" for i in range(100)
    ]
    train.write_text("\n".join(["code,x,n,t", *lines]))
    contract = Contract.infer(train)
    assert (contract["t"].markers, contract["t"].type) == (("?",), "string")
    later.write_text("extra,code,n,x,t\n9,B0,3.0,2,1.5\n9,A1,4.0,3,\n")  # no "?" here, whole numbers in x
    table = contract.table(later)
    assert table.schema.field("code").type == pa.large_string()
    assert table.schema.field("t").type == pa.large_string()
    assert table.schema.field("x").type == pa.float64()
    assert contract.encode(later).keys() == contract.encode(train).keys()
    wrong.write_text("code,x,n,t\nB0,1.0,3,1.5\nA1,much,4,1.5\n")
    with pytest.raises(ContractError) as caught:
        contract.encode(wrong)
    assert (caught.value.field, caught.value.row, caught.value.got) == ("x", 1, "'much'")


def test_codes_of_digits_stay_text_in_a_later_file(tmp_path):
    contract = Contract.infer({"code": ["007", "010", "A12"] * 10, "x": np.arange(30.0) ** 2})
    path = tmp_path / "later.csv"
    path.write_text("code,x\n010,1\n007,4\n")
    (block,) = (block for name, block in contract.encode(path).items() if "category" in name)
    assert block.values[:, 0].tolist() == [1, 0]


@pytest.mark.parametrize("text", ["05:17", "05:17:00", "05:17:00.250"])
def test_times_of_the_day_are_read_from_text_to_any_fraction(tmp_path, text):
    contract = Contract.infer(pa.table({"at": pa.array([1000 * n for n in range(50)], pa.time32("s")), "x": range(50)}))
    (tmp_path / "rows.csv").write_text(f"at,x\n{text},1\n,2\n")
    blocks = contract.encode(tmp_path / "rows.csv")
    (name,) = (spec.name for spec in contract.blocks() if "at" in spec.fields)
    assert np.asarray(blocks[name].observed)[:, 0].tolist() == [True, False]


def test_a_wrong_time_of_the_day_is_named_with_its_row(tmp_path):
    contract = Contract.infer(pa.table({"at": pa.array([1000 * n for n in range(50)], pa.time32("s")), "x": range(50)}))
    (tmp_path / "rows.csv").write_text("at,x\n05:17:00,1\nnoon,2\n")
    with pytest.raises(ContractError, match=r"field 'at', row 1\).*got 'noon'"):
        contract.encode(tmp_path / "rows.csv")

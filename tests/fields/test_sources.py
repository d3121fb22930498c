"""Every source gives in batches the rows that it gives as a whole, in bounded pieces."""

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

import vaekit.fields.sources as sources
import vaekit.fields.text as text
from vaekit.errors import ContractError
from vaekit.fields import to_arrow
from vaekit.fields.sources import batches, open_source
from vaekit.fields.text import _wider
from vaekit.fields.writing import write, write_batches

N = 1000
TABLE = pa.table(
    {
        "a": pa.array(range(N)),
        "b": pa.array([f"s{i % 7}" if i % 5 else None for i in range(N)]),
        "p": pa.array([i // 400 for i in range(N)]),
        "v": pa.FixedSizeListArray.from_arrays(pa.array(np.arange(3.0 * N)), 3),
        "d": pa.array([["x", "y", None][i % 3] for i in range(N)]).dictionary_encode(),
    }
)
FLAT = TABLE.drop_columns("v")


@pytest.fixture(autouse=True)
def streamed(monkeypatch):
    """Text files of any size are read in batches."""
    monkeypatch.setattr(sources, "TEXT", 0)
    monkeypatch.setattr(sources, "ZIPPED", 0)


def hive(folder):
    pq.write_to_dataset(TABLE.drop_columns("d"), folder / "hive", partition_cols=["p"])
    return folder / "hive"


def parquet(folder):
    pq.write_table(TABLE, folder / "x.parquet", row_group_size=130)
    return folder / "x.parquet"


def parts(folder):
    (folder / "parts").mkdir()
    for index, start in enumerate(range(0, N, 300)):
        pq.write_table(TABLE.slice(start, 300), folder / "parts" / f"{index}.parquet")
    return folder / "parts"


SOURCES = {
    "parquet": parquet,
    "hive partitions": hive,
    "parquet folder": parts,
    "csv": lambda folder: write(FLAT, folder / "x.csv"),
    "csv.gz": lambda folder: write(FLAT, folder / "x.csv.gz"),
    "arrow": lambda folder: write(TABLE, folder / "x.arrow"),
    "path as text": lambda folder: str(parquet(folder)),
    "dataset": lambda folder: ds.dataset(parquet(folder)),
    "dataset of arrow files": lambda folder: ds.dataset(write(TABLE, folder / "x.arrow"), format="ipc"),
    "reader": lambda _: TABLE.to_reader(70),
    "polars lazy": lambda folder: pl.scan_parquet(parquet(folder)),
    "duckdb": lambda folder: duckdb.sql(f"select * from '{parquet(folder)}'"),
    "list of tables": lambda _: [TABLE.slice(0, 600), TABLE.slice(600)],
    "generator of tables": lambda _: (TABLE.slice(start, 10) for start in range(0, N, 10)),
    "pandas": lambda _: FLAT.to_pandas(),
    "table": lambda _: TABLE,
}
READ_ONCE = ("reader", "generator of tables")


@pytest.mark.parametrize("name", SOURCES)
def test_batches_are_the_rows_in_order_and_of_the_size_asked(name, tmp_path):
    source = open_source(SOURCES[name](tmp_path))
    found = list(source.batches(300))
    assert [table.num_rows for table in found] == [300, 300, 300, 100]
    assert all(table.schema == source.schema for table in found)
    rows = pa.concat_tables(found).to_pylist()
    order = lambda row: row["a"]  # noqa: E731  partitions are read in the order of their names
    expected = [{key: row[key] for key in source.schema.names} for row in TABLE.to_pylist()]
    assert sorted(rows, key=order) == expected
    if name not in (*READ_ONCE, "hive partitions"):
        assert rows == expected
    if name in READ_ONCE:
        with pytest.raises(ContractError, match="only once"):
            list(source.batches())
    else:
        assert sum(table.num_rows for table in source.batches(64)) == N
    assert source.rows in (None, N)


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("first", [0, 137, 400, N - 1, N])
def test_batches_may_begin_at_any_row_and_end_at_multiples(name, first, tmp_path):
    source = open_source(SOURCES[name](tmp_path))
    whole = None if name in READ_ONCE else pa.concat_tables(source.batches())
    found = list(source.batches(90, first=first, cut=200))
    sizes = [min(90, 200 - at % 200, N - first - at) for at in _starts(N - first)]
    assert [table.num_rows for table in found] == sizes
    if whole is not None and first < N:
        assert pa.concat_tables(found).to_pylist() == whole.slice(first).to_pylist()


def _starts(rows):
    """Where batches of 90 rows begin, which end at multiples of 200 as well."""
    at = 0
    while at < rows:
        yield at
        at += min(90, 200 - at % 200)


@pytest.mark.parametrize("name", ["parquet", "hive partitions", "parquet folder", "csv", "csv.gz", "arrow"])
def test_a_file_has_the_same_columns_in_batches_and_as_a_whole(name, tmp_path):
    path = SOURCES[name](tmp_path)
    whole, found = to_arrow(path), pa.concat_tables(batches(path, rows=90))
    assert found.schema == whole.schema
    assert found.to_pylist() == whole.to_pylist()


def test_wide_rows_make_smaller_batches():
    table = pa.table({"x": range(40), "w": ["a" * 2**20] * 40})
    found = list(batches([table], size=2**23))
    assert max(one.nbytes for one in found) <= 1.1 * 2**23
    assert 4 <= len(found) <= 7
    assert pa.concat_tables(found)["x"].to_pylist() == list(range(40))


def test_wide_rows_of_a_row_group_are_read_a_few_at_a_time(tmp_path, monkeypatch):
    pq.write_table(pa.table({"w": [chr(97 + i % 26) * 10_000 + str(i) for i in range(2000)]}), tmp_path / "w.parquet")
    monkeypatch.setattr(sources, "BYTES", 2**20)
    pieces = list(open_source(tmp_path / "w.parquet").reader(2**16))
    assert sum(piece.num_rows for piece in pieces) == 2000
    assert max(piece.num_rows for piece in pieces) < 2000


def test_a_file_without_a_column_has_it_missing(tmp_path):
    for name, table in (("0", FLAT.slice(0, 10)), ("1", FLAT.slice(10, 10).drop_columns("b"))):
        pq.write_table(table, tmp_path / f"{name}.parquet")
    found = pa.concat_tables(batches(tmp_path))
    assert found["b"].to_pylist() == FLAT["b"].to_pylist()[:10] + [None] * 10
    assert found["a"].to_pylist() == list(range(20))


def test_a_filtered_dataset_has_the_rows_that_pass(tmp_path):
    data = ds.dataset(parquet(tmp_path)).filter(ds.field("a") >= 350)
    source = open_source(data)
    assert source.rows == N - 350
    assert pa.concat_tables(source.batches(100))["a"].to_pylist() == list(range(350, N))


def test_a_dataset_of_some_row_groups_has_their_rows(tmp_path):
    whole = ds.dataset(parquet(tmp_path))
    part = next(whole.get_fragments()).subset(row_group_ids=[1, 3])
    source = open_source(ds.FileSystemDataset([part], whole.schema, whole.format, whole.filesystem))
    expected = [*range(130, 260), *range(390, 520)]
    assert source.rows == len(expected)
    assert pa.concat_tables(source.batches(100))["a"].to_pylist() == expected
    assert set(source.spread(20)["a"].to_pylist()) <= set(expected)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_an_old_feather_file_is_read(tmp_path):
    pyarrow.feather.write_feather(TABLE.select(["a", "b"]), tmp_path / "x.feather", version=1)
    assert (
        pa.concat_tables(batches(tmp_path / "x.feather", rows=300)).to_pylist() == TABLE.select(["a", "b"]).to_pylist()
    )


PROMOTED = {
    "nothing, then text": (pa.nulls(3), pa.array(["x", None, "y"])),
    "nothing, then numbers": (pa.nulls(3), pa.array([1, 2, 3])),
    "whole numbers, then fractions": (pa.array([1, 2, 3]), pa.array([0.5, None, 2.0])),
    "short numbers, then long ones": (pa.array([1, 2, 3], pa.int8()), pa.array([1, 2**40, 3])),
}


@pytest.mark.parametrize("form", ["folder", "list"])
@pytest.mark.parametrize("case", PROMOTED)
def test_columns_take_a_type_that_holds_all_parts(case, form, tmp_path):
    one, two = PROMOTED[case]
    tables = [pa.table({"x": one, "y": [1, 2, 3]}), pa.table({"x": two, "y": [4, 5, 6]})]
    for index, table in enumerate(tables):
        pq.write_table(table, tmp_path / f"{index}.parquet")
    source = open_source(tmp_path if form == "folder" else tables)
    found = pa.concat_tables(source.batches())
    assert found["x"].type == two.type
    assert found["x"].to_pylist() == [*one.to_pylist(), *two.to_pylist()]
    if form == "folder":
        assert source.spread(6)["x"].type == two.type


def test_a_stream_whose_types_change_says_what_to_do():
    with pytest.raises(ContractError, match="pass a list of tables"):
        list(batches(iter([{"x": [1]}, {"x": [0.5]}])))


def test_the_sample_of_a_file_comes_from_all_over_it(tmp_path):
    for path in (
        parquet(tmp_path),
        parts(tmp_path),
        write_batches((TABLE.slice(i, 100) for i in range(0, N, 100)), tmp_path / "many.arrow"),
    ):
        found = open_source(path).spread(160)["a"].to_numpy()
        assert 100 <= len(found) <= 320
        assert found.min() < 130
        assert found.max() > 850
        assert len(np.unique(found // 100)) >= 4


# ---------------------------------------------------------------------------------------------------------- text files


LATE = {
    "a fraction among whole numbers": (["7"], "2.5"),
    "text among whole numbers": (["7"], "seven"),
    "text among fractions": (["7.5"], "seven"),
    "a value after gaps": ([""], "3"),
    "text after gaps": ([""], "x"),
    "true among zeros and ones": (["0", "1"], "true"),
    "a time among dates": (["2020-01-01"], "2020-01-01 10:00"),
    "text among booleans": (["true", "false"], "maybe"),
    "a huge whole number": (["7"], "123456789012345678901234567890"),
    "a quoted comma": (["7"], "a,b"),
}


@pytest.mark.parametrize("case", LATE)
def test_a_late_value_of_another_type_widens_the_column_as_in_a_whole_file(case, tmp_path, monkeypatch):
    monkeypatch.setattr(text, "BLOCK", 2**12)
    early, late = LATE[case]
    lines = [f"{i},{early[i % len(early)]}" for i in range(5000)] + [f'5000,"{late}"', f"5001,{early[0]}"]
    path = tmp_path / "x.csv"
    path.write_text("n,x\n" + "\n".join(lines) + "\n")
    source, whole = open_source(path), to_arrow(path)
    assert source.schema == whole.schema
    assert source.rows == 5002
    assert pa.concat_tables(source.batches()).equals(whole.combine_chunks())


def test_types_only_ever_widen():
    kinds = [pa.null(), pa.int64(), pa.float64(), pa.bool_(), pa.date32(), pa.timestamp("s"), pa.string()]
    for kind in kinds:
        for value in ("1", "1.5", "true", "2020-01-01", "word", ""):
            assert _wider(_wider(kind, value), value) in (_wider(kind, value), pa.string())


def test_columns_of_one_name_keep_a_type_each(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "BLOCK", 2**12)
    path = tmp_path / "x.csv"
    rows = [f"{i},{i / 2},w{i},7" for i in range(3000)]
    path.write_text("\ufeffa,a,b,c\n" + "\n".join([*rows, "1,2,3,late"]) + "\n", encoding="utf-8")
    source, whole = open_source(path), to_arrow(path)
    assert source.schema.names == ["a", "a.1", "b", "c"]
    assert source.schema == whole.schema
    assert pa.concat_tables(source.batches()).equals(whole.combine_chunks())


def test_fixed_whole_numbers_may_be_written_with_a_point(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "BLOCK", 2**12)
    path = tmp_path / "x.csv"
    path.write_text("n,x\n" + "".join(f"{i},{i}\n" for i in range(3000)) + "3000,3.0\n")
    source, whole = open_source(path, {"x": "int64"}), to_arrow(path, {"x": "int64"})
    assert source.schema == whole.schema
    assert pa.concat_tables(source.batches())["x"].to_pylist() == whole["x"].to_pylist() == [*range(3000), 3]


@pytest.mark.parametrize("row", [3, 2900])
def test_a_value_of_the_wrong_type_is_named_with_its_row(row, tmp_path, monkeypatch):
    monkeypatch.setattr(text, "BLOCK", 2**12)
    path = tmp_path / "x.csv"
    path.write_text(
        "a,a,x,y\n" + "".join(f"{i},b,{'many' if i == row else i},{i}\n" for i in range(3000)) + "1,1,1,y\n"
    )
    for size in (0, 2**20):
        monkeypatch.setattr(sources, "TEXT", size)
        with pytest.raises(ContractError, match=rf"wrong type \(field 'x', row {row}\).*int64.*'many'"):
            open_source(path, {"x": "int64"})


def test_a_broken_text_file_is_an_error_of_its_own(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n3\n")
    with pytest.raises(ContractError, match=r"x\.csv cannot be read: .*[Ee]xpected 2 columns"):
        open_source(tmp_path / "x.csv")


def test_a_text_file_with_a_header_only_has_no_rows(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n")
    source = open_source(tmp_path / "x.csv")
    assert (source.rows, source.schema.names, list(source.batches())) == (0, ["a", "b"], [])


# ------------------------------------------------------------------------------------------------------------- errors


def test_what_is_no_source_says_so(tmp_path):
    with pytest.raises(ContractError, match="does not exist"):
        open_source(tmp_path / "nowhere.parquet")
    (tmp_path / "x.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(ContractError, match=r"x\.parquet cannot be read"):
        open_source(tmp_path / "x.parquet")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ContractError, match="folder without"):
        open_source(tmp_path / "empty")
    with pytest.raises(ContractError, match="no tables"):
        open_source([])
    with pytest.raises(ContractError, match="not a table"):
        open_source(3)


def test_tables_of_one_source_must_agree():
    with pytest.raises(ContractError, match=r"different columns.*'x'"):
        list(batches([{"x": [1]}, {"y": [1]}]))
    with pytest.raises(ContractError, match="another type"):
        list(batches([{"x": [1]}, {"x": ["one"]}]))
    assert pa.concat_tables(batches([{"x": [1.5], "y": [1]}, {"y": [2], "x": [3]}]))["x"].to_pylist() == [1.5, 3.0]


# ------------------------------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".feather", ".csv", ".csv.gz"])
def test_batches_written_one_by_one_are_the_file_of_the_whole(suffix, tmp_path):
    table = FLAT if ".csv" in suffix else TABLE
    words = pa.array([f"w{i // 10}" for i in range(N)])
    table = table.append_column("w", words.dictionary_encode())
    pieces = [
        one.set_column(one.schema.get_field_index("w"), "w", words.slice(start, 70).dictionary_encode())
        for start, one in ((start, table.slice(start, 70)) for start in range(0, N, 70))
    ]
    path = write_batches(iter(pieces), tmp_path / f"x{suffix}")
    assert list(tmp_path.iterdir()) == [path]
    assert to_arrow(path).to_pylist() == table.to_pylist()


def test_a_batch_that_fails_leaves_the_old_file(tmp_path):
    path = write(FLAT, tmp_path / "x.parquet")

    def failing():
        yield FLAT
        raise ContractError("no more")

    with pytest.raises(ContractError, match="no more"):
        write_batches(failing(), path)
    assert to_arrow(path).num_rows == N
    assert list(tmp_path.iterdir()) == [path]

"""Text files cell by cell: the values that a whole read gives, with what is wrong set aside."""

import datetime as dt

import pyarrow as pa
import pyarrow.csv
import pytest

import vaekit.fields.text_cells as text_cells
from vaekit.errors import ContractError
from vaekit.fields.text_cells import LINE, open_cells, typed, typed_schema

TYPES = {
    "x": pa.float64(),
    "n": pa.int64(),
    "s": pa.large_string(),
    "b": pa.bool_(),
    "d": pa.date32(),
    "when": pa.timestamp("s"),
    "at": pa.time64("ns"),
}
GOOD = (
    'x,n,s,b,d,when,at\n1.5, 7 ,"a,b",true,2020-01-02,2020-01-02 03:04:05,03:04:05\n,3.0,"q\nr",False,,,\nNA,,"",,,,\n'
)


@pytest.fixture
def file(tmp_path):
    def make(text):
        path = tmp_path / "rows.csv"
        path.write_text(text)
        return path

    return make


def read(path, types=TYPES):
    source = open_cells(path, ",")
    return typed(pa.concat_tables(source.batches()), types)


def test_values_are_those_of_a_whole_read(file):
    table, errors = read(file(GOOD))
    whole = pa.csv.read_csv(
        file(GOOD.replace("3.0", "3")),
        parse_options=pa.csv.ParseOptions(newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(column_types=TYPES, strings_can_be_null=True),
    )
    assert errors == {}
    assert table == whole
    assert table["at"].to_pylist() == [dt.time(3, 4, 5), None, None]


@pytest.mark.parametrize("block", [64, 2**20])
def test_cells_and_lines_that_are_wrong_are_rows_with_nothing(file, monkeypatch, block):
    """However many blocks the file is read in."""
    monkeypatch.setattr(text_cells, "_BLOCK", block)
    lines = [f"{row}.5,{row},text {row}" for row in range(60)]
    lines[0], lines[10], lines[11], lines[59] = "only", "1,2", "1,2,3,4", "a,b,c,d,e"
    lines[20], lines[21] = "soon,20,x", "21.5,2.5,x"
    path = file("x,n,s\n" + "\n".join(lines) + "\n")
    table, errors = read(path)
    assert table.num_rows == 60
    assert sorted(errors) == [0, 10, 11, 20, 21, 59]
    assert {row for row, error in errors.items() if error.message == "line has another number of cells"} == {
        0,
        10,
        11,
        59,
    }
    assert errors[11].got == "'1,2,3,4'"
    assert (errors[20].field, errors[20].got, errors[20].expected) == ("x", "'soon'", "double")
    assert (errors[21].field, errors[21].got) == ("n", "'2.5'")
    for row in range(60):
        values = [table[name][row].as_py() for name in ("x", "n", "s")]
        if row in (0, 10, 11, 59):
            assert values == [None, None, None]
        elif row not in errors:
            assert values == [row + 0.5, row, f"text {row}"]


def test_every_cell_of_a_column_may_be_wrong(file):
    _, errors = read(file("x,n\n" + "\n".join(f"no,{row}" for row in range(200)) + "\n"))
    assert sorted(errors) == list(range(200))


def test_a_batch_may_begin_anywhere(file):
    path = file("x\n" + "\n".join(str(row) for row in range(100)) + "\n")
    source = open_cells(path, ",")
    parts = list(source.batches(7, first=50, cut=20))
    assert [part.num_rows for part in parts] == [7, 7, 6, 7, 7, 6, 7, 3]
    assert typed(pa.concat_tables(parts), {"x": pa.int64()})[0]["x"].to_pylist() == list(range(50, 100))


def test_columns_without_a_type_stay_text_and_the_schema_is_known_before(file):
    source = open_cells(file("x,note\n1,a\n"), ",")
    expected = pa.schema({"x": pa.int64(), "note": pa.large_string()})
    assert typed_schema(source.schema, {"x": pa.int64()}) == expected
    assert typed(next(source.batches()), {"x": pa.int64()})[0].schema == expected
    assert LINE in source.schema.names


def test_a_header_alone_has_no_rows(file):
    source = open_cells(file("x,y\n"), ",")
    assert sum(table.num_rows for table in source.batches()) == 0


def test_a_file_that_is_no_text_is_named(tmp_path):
    path = tmp_path / "rows.csv.gz"
    path.write_bytes(b"no gzip")
    with pytest.raises(ContractError, match=r"rows\.csv\.gz cannot be read"):
        open_cells(path, ",")

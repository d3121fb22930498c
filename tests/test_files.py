"""Files are replaced whole or not at all, and are as open to others as the umask says."""

import os

import pyarrow as pa
import pytest

from vaekit.fields.writing import write
from vaekit.files import replace_file, write_file


@pytest.mark.parametrize("mask", [0o022, 0o027])
def test_bytes_and_tables_are_as_open_as_the_umask_says(mask, tmp_path):
    old = os.umask(mask)
    try:
        write_file(tmp_path / "new" / "x.json", b"{}")
        write(pa.table({"x": [1]}), tmp_path / "x.csv")
    finally:
        os.umask(old)
    assert (tmp_path / "new" / "x.json").read_bytes() == b"{}"
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "new" / "x.json", tmp_path / "x.csv")}
    assert modes == {0o666 & ~mask}


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path):
    write_file(tmp_path / "x", b"old")

    def fill(target):
        target.write_bytes(b"half")
        raise RuntimeError("no room")

    with pytest.raises(RuntimeError, match="no room"):
        replace_file(tmp_path / "x", fill)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x").read_bytes() == b"old"

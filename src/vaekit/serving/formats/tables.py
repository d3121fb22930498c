"""What all formats share that bring a whole table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaekit.serving.refusals import Refusal
from vaekit.serving.rows import TableRows

if TYPE_CHECKING:
    import pyarrow as pa

    from vaekit.serving.hosted import Hosted

__all__ = ["table_rows"]


def table_rows(table: pa.Table, hosted: Hosted) -> TableRows:
    """The columns of a table that the model reads; others are passed over.

    Raises:
        Refusal: A column is there twice.
    """
    there = table.column_names
    if twice := [name for name in hosted.cells if there.count(name) > 1]:
        raise Refusal(400, "bad_body", f"the column {twice[0]!r} is there twice")
    found = table.select([name for name in hosted.cells if name in there]).replace_schema_metadata(None)
    return TableRows(found)

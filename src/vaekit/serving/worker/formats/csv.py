"""CSV with a header row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from vaekit.fields.arrow_types import is_list
from vaekit.fields.pixels import holds_images
from vaekit.fields.text_files import read_text
from vaekit.serving.worker.formats.base import Answer, Parsed, check_text, reader, writer
from vaekit.serving.worker.formats.tables import table_rows, unreadable
from vaekit.serving.worker.refusals import Refusal

if TYPE_CHECKING:
    from vaekit.serving.wire.asking import Ask
    from vaekit.serving.wire.frames import Buffer
    from vaekit.serving.worker.hosted import Hosted

__all__ = ["CSV", "read_csv", "write_csv"]

CSV = "text/csv"


@reader(CSV)
def read_csv(body: Buffer, ask: Ask, hosted: Hosted) -> Parsed:
    """Rows as CSV; columns are read in the types of their fields."""
    if lists := [name for name, cells in hosted.cells.items() if cells.list or cells.image]:
        what = "images" if hosted.cells[lists[0]].image else "lists"
        raise Refusal(415, "media_type", f"CSV cannot hold {what} such as {lists[0]!r}; send JSON, Arrow or Parquet")
    check_text(body)
    types = {name: cells.field.type for name, cells in hosted.cells.items()}
    try:
        table = read_text(pa.py_buffer(body), ",", types)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise unreadable(error, "CSV") from error
    return Parsed(ask.query, table_rows(table, hosted))


@writer(CSV)
def write_csv(answer: Answer, parsed: Parsed, ask: Ask, hosted: Hosted) -> tuple[bytes, dict[str, str]]:
    """The answer as CSV.

    Raises:
        Refusal: A column holds lists.
    """
    import pyarrow.csv as csv

    table = answer.table
    if lists := [column for column in table.schema if is_list(column.type) or holds_images(column.type)]:
        what = "lists" if is_list(lists[0].type) else "images"
        raise Refusal(406, "media_type", f"CSV cannot hold {what} such as {lists[0].name!r}; ask for JSON or Arrow")
    sink = pa.BufferOutputStream()
    csv.write_csv(table, sink)
    return sink.getvalue().to_pybytes(), {"content-type": f"{CSV}; charset=utf-8"}

"""Arrow's own formats, as a stream or as a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from vaekit.serving.formats.base import Answer, Parsed, reader, writer
from vaekit.serving.refusals import Refusal
from vaekit.serving.rows import TableRows

if TYPE_CHECKING:
    from vaekit.serving.asking import Ask
    from vaekit.serving.frames import Buffer
    from vaekit.serving.hosted import Hosted

__all__ = ["FILE", "STREAM", "read_file", "read_stream", "table_rows", "write_stream"]

STREAM = "application/vnd.apache.arrow.stream"
FILE = "application/vnd.apache.arrow.file"


def table_rows(table: pa.Table, hosted: Hosted) -> TableRows:
    """The columns of a table that the model reads."""
    there = set(table.column_names)
    table = table.replace_schema_metadata(None)
    return TableRows(table.select([name for name in hosted.cells if name in there]))


@reader(STREAM)
def read_stream(body: Buffer, ask: Ask, hosted: Hosted) -> Parsed:
    """Record batches as an Arrow stream."""
    try:
        table = pa.ipc.open_stream(pa.py_buffer(body)).read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise Refusal(400, "bad_body", f"the body is not an Arrow stream: {error}") from error
    return Parsed(ask.query, table_rows(table, hosted))


@reader(FILE)
def read_file(body: Buffer, ask: Ask, hosted: Hosted) -> Parsed:
    """Record batches as an Arrow file."""
    try:
        table = pa.ipc.open_file(pa.py_buffer(body)).read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise Refusal(400, "bad_body", f"the body is not an Arrow file: {error}") from error
    return Parsed(ask.query, table_rows(table, hosted))


@writer(STREAM)
def write_stream(answer: Answer, parsed: Parsed, ask: Ask, hosted: Hosted) -> tuple[bytes, dict[str, str]]:
    """The answer as an Arrow stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, answer.table.schema) as stream:
        stream.write_table(answer.table)
    return sink.getvalue().to_pybytes(), {"content-type": STREAM}

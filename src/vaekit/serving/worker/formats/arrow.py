"""Arrow's own formats: record batches as a stream or as a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from vaekit.serving.worker.formats.base import Answer, Parsed, reader, writer
from vaekit.serving.worker.formats.tables import table_rows, unreadable

if TYPE_CHECKING:
    from vaekit.serving.wire.asking import Ask
    from vaekit.serving.wire.frames import Buffer
    from vaekit.serving.worker.hosted import Hosted

__all__ = ["FILE", "STREAM", "read_file", "read_stream", "write_stream"]

STREAM = "application/vnd.apache.arrow.stream"
FILE = "application/vnd.apache.arrow.file"
_END = b"\xff\xff\xff\xff\x00\x00\x00\x00"  # the end of a stream
_HEADERS = {"content-type": STREAM}


@reader(STREAM)
def read_stream(body: Buffer, ask: Ask, hosted: Hosted) -> Parsed:
    """Record batches as an Arrow stream."""
    return _read(pa.ipc.open_stream, body, ask, hosted)


@reader(FILE)
def read_file(body: Buffer, ask: Ask, hosted: Hosted) -> Parsed:
    """Record batches as an Arrow file."""
    return _read(pa.ipc.open_file, body, ask, hosted)


def _read(opened: Any, body: Buffer, ask: Ask, hosted: Hosted) -> Parsed:
    try:
        table = opened(pa.py_buffer(body)).read_all()
        table.validate(full=True)  # offsets that lead out of their buffers are found here, not by a crash
    except (pa.ArrowException, OSError, ValueError) as error:
        what = "an Arrow stream" if opened is pa.ipc.open_stream else "an Arrow file"
        raise unreadable(error, what) from error
    return Parsed(ask.query, table_rows(table, hosted))


@writer(STREAM)
def write_stream(answer: Answer, parsed: Parsed, ask: Ask, hosted: Hosted) -> tuple[bytes, dict[str, str]]:
    """The answer as an Arrow stream."""
    batch = answer.whole.batch
    if batch is not None:
        return b"".join((answer.whole.head, batch.slice(answer.start, answer.rows).serialize(), _END)), _HEADERS
    table = answer.table
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue().to_pybytes(), _HEADERS

"""Arrow's own formats: record batches as a stream or as a file."""

from __future__ import annotations

import functools
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
_PREFIX = 8  # bytes before the schema: a mark, and its length
_HEAD = 2**16  # most bytes of a schema that are compared
_HEADERS = {"content-type": STREAM}


@reader(STREAM)
def read_stream(body: Buffer, ask: Ask, hosted: Hosted) -> Parsed:
    """Record batches as an Arrow stream."""
    if (table := _only_batch(body)) is not None:
        return Parsed(ask.query, table_rows(table, hosted))
    return _read(pa.ipc.open_stream, body, ask, hosted)


def _only_batch(body: Buffer) -> pa.Table | None:
    """The batch of a stream that has one, and begins with a schema that was seen before; None of any other stream.

    Most requests of a caller begin alike: their schema is not read again, and being the same object, it is quickly
    compared with that of the next request.
    """
    if len(body) < _PREFIX:
        return None
    view = memoryview(body)
    end = _PREFIX + int.from_bytes(view[4:_PREFIX], "little")
    schema = _known(bytes(view[:end])) if end <= _HEAD else None
    if schema is None:
        return None
    try:
        rest = pa.BufferReader(pa.py_buffer(view[end:]))
        batch = pa.ipc.read_record_batch(pa.ipc.read_message(rest), schema)
        if view[end + rest.tell() :] not in (_END, b""):
            return None
        batch.validate(full=True)  # offsets that lead out of their buffers are found here, not by a crash
    except (pa.ArrowException, OSError, ValueError, EOFError):
        return None  # the other way tells what is wrong with it
    return pa.Table.from_batches([batch])


@functools.lru_cache(maxsize=256)
def _known(head: bytes) -> pa.Schema | None:
    """The schema at the beginning of a stream; None if it cannot be read, or dictionaries follow."""
    try:
        schema = pa.ipc.read_schema(pa.py_buffer(head))
    except (pa.ArrowException, OSError, ValueError):
        return None
    return None if any(map(_has_dictionary, schema.types)) else schema


def _has_dictionary(kind: pa.DataType) -> bool:
    return pa.types.is_dictionary(kind) or any(_has_dictionary(kind.field(at).type) for at in range(kind.num_fields))


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

"""Arrow streams whose schema is known are read by a short way, which says the same as the long one."""

import io

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.serving.questions import STREAM, answer, ask, hosted, table_of, written
from vaekit.serving.worker.formats import READERS, arrow


@pytest.fixture(scope="module")
def digits(zoo):
    return hosted(zoo["digits"])


@pytest.fixture(scope="module")
def rows(zoo):
    return zoo["digits"].rows


def stream(*batches, **options):
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, batches[0].schema, options=pa.ipc.IpcWriteOptions(**options)) as out:
        for batch in batches:
            out.write_batch(batch)
    return sink.getvalue()


@pytest.fixture
def long(monkeypatch):
    """Whether the long way was taken."""
    taken, original = [], arrow._read
    monkeypatch.setattr(arrow, "_read", lambda *args: (taken.append(1), original(*args))[1])
    return taken


def read(model, body):
    return READERS[STREAM](body, ask(model.name, "score", b""), model).rows.table


def test_one_batch_is_read_by_the_short_way(digits, rows, long):
    body = written(rows.slice(3, 4), STREAM)
    for _ in range(2):
        assert read(digits, body).equals(rows.slice(3, 4).select(digits.cells))
    assert read(digits, memoryview(body)[:-8]).num_rows == 4  # its end is not needed
    assert not long


def test_schemas_that_were_read_before_are_the_same(digits, rows):
    """Then rows of two requests are found to be alike without a look at every column."""
    one, two = (READERS[STREAM](written(rows.slice(n, 1), STREAM), ask("digits", "score", b""), digits) for n in (0, 1))
    assert one.rows.key == two.rows.key
    other = written(rows.slice(2, 1).append_column("more", pa.array([1])), STREAM)
    assert READERS[STREAM](other, ask("digits", "score", b""), digits).rows.key == one.rows.key


def test_other_streams_are_read_by_the_long_way(digits, rows, long):
    (batch,) = rows.combine_chunks().slice(0, 4).to_batches()
    encoded = batch.set_column(0, batch.schema.names[0], batch.column(0)).append_column(
        "kind", pa.array(["a", "b", "a", "b"]).dictionary_encode()
    )
    nested = pa.StructArray.from_arrays([encoded.column("kind")], names=["kind"])
    several = {
        "two batches": (stream(batch, batch), 8),
        "a dictionary": (stream(encoded), 4),
        "a dictionary within": (stream(batch.append_column("nested", nested)), 4),
        "bytes after its end": (stream(batch) + b"more", 4),
    }
    for at, (what, (body, count)) in enumerate(several.items()):
        assert read(digits, body).num_rows == count, what
        assert len(long) == at + 1, what


def test_compressed_batches_are_read(digits, rows):
    (batch,) = rows.combine_chunks().slice(0, 4).to_batches()
    assert read(digits, stream(batch, compression="zstd")).equals(read(digits, stream(batch)))


def test_offsets_that_lead_out_of_their_buffer_are_refused(digits):
    body = stream(pa.record_batch({"grey": pa.array([np.arange(30.0), np.arange(31.0)])}))
    offsets = np.array([0, 30, 61], np.int32).tobytes()
    assert body.count(offsets) == 1
    body = body.replace(offsets, np.array([0, 30, 10_000_000], np.int32).tobytes())
    told = answer(digits, ask("digits", "score", body, STREAM))[0]
    assert told.fault.kind == "bad_body"
    assert told.fault.status == 400


def test_a_name_that_is_no_text_is_refused(digits, rows):
    (batch,) = rows.combine_chunks().slice(0, 1).to_batches()
    body = stream(batch.append_column("name", pa.array([1])))
    assert body.count(b"name\0") == 1
    for _ in range(2):
        told = answer(digits, ask("digits", "score", body.replace(b"name\0", b"\xff\xfe\xfd\xfc\0"), STREAM))[0]
        assert told.fault.status == 400, told.fault


@given(st.data())
@example(None)
def test_damaged_streams_end_in_an_answer_or_a_refusal(digits, rows, data):
    body = bytearray(written(rows.slice(0, 2), STREAM))
    if data is not None:
        for _ in range(data.draw(st.integers(1, 3))):
            body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
        body = body[: data.draw(st.integers(0, len(body)))]
    told = answer(digits, ask("digits", "score", bytes(body), STREAM))[0]
    if told.fault is None:
        assert table_of(told).num_rows >= 0
    else:
        assert told.fault.status in (400, 422), told.fault

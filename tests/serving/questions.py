"""Asks in every format, and their answers as tables again."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import io
import math
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq

from tests.support import Kept
from vaekit.fields.pixels import png
from vaekit.serving.batching.batcher import Batcher
from vaekit.serving.batching.stored import read_bundle
from vaekit.serving.config import ServeConfig
from vaekit.serving.wire.asking import Ask, Told
from vaekit.serving.wire.messages import Limits
from vaekit.serving.worker.answering import Answering
from vaekit.serving.worker.formats.arrow import FILE, STREAM
from vaekit.serving.worker.formats.csv import CSV
from vaekit.serving.worker.formats.json import COLUMNS, JSON
from vaekit.serving.worker.formats.parquet import PARQUET
from vaekit.serving.worker.hosted import Hosted

PATIENCE = 120.0  # seconds: other tests run beside this one
LIMITS = {"max_rows": 10_000, "max_batch_rows": 1024, "max_samples": 1024, "max_pixels": 1 << 20}


def hosted(kept: Kept, **limits: int) -> Hosted:
    """A model of the zoo as a worker holds it."""
    stored = read_bundle(kept.name, kept.bundle, "onnx")
    files = dict(zip(stored.packed.files, stored.files, strict=True))
    return Hosted(stored.packed, files, Limits(**{**LIMITS, **limits}), threads=1)


def answer(model: Hosted, *asks: Ask) -> list[Told]:
    """Answers of a worker to one batch."""
    told, _ = Answering({model.name: model}).answer(asks, [ask.body for ask in asks])
    return told


@asynccontextmanager
async def running(*models: Kept, **options: Any):
    """A batcher with real workers."""
    settings = {"heartbeat_timeout": 30.0, "start_timeout": PATIENCE, "timeout": PATIENCE, "stuck_after": PATIENCE}
    settings["latency_target"] = PATIENCE  # so that the speed of the machine does not tell how batches are cut
    batcher = Batcher(ServeConfig(bundles={one.name: str(one.bundle) for one in models}, **{**settings, **options}))
    await batcher.start()
    try:
        yield batcher
    finally:
        await batcher.stop()


async def until(condition: Any) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)


# ----------------------------------------------------------------------------------------------------------------- asks


def ask(model: str, query: str, body: bytes, takes: str = JSON, gives: str = STREAM, **options: Any) -> Ask:
    """An ask; options go outside of the body."""
    texts = {name: str(value) for name, value in options.items()}
    return Ask(id="", model=model, query=query, takes=takes, gives=gives, options=texts, body=body)


def written(table: pa.Table, media: str, **options: Any) -> bytes:
    """Rows as a body; in JSON with options."""
    if media == JSON:
        columns = {name: values(table[name]) for name in table.column_names}
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        return msgspec.json.encode({"rows": rows} | ({"options": options} if options else {}))
    if media == COLUMNS:
        columns = {name: values(table[name]) for name in table.column_names}
        return msgspec.json.encode({"columns": columns} | ({"options": options} if options else {}))
    sink = io.BytesIO()
    if media == CSV:
        csv.write_csv(table, sink)
    elif media == PARQUET:
        pq.write_table(table, sink)
    else:
        with (pa.ipc.new_stream if media == STREAM else pa.ipc.new_file)(sink, table.schema) as file:
            file.write_table(table)
    return sink.getvalue()


def values(column: pa.ChunkedArray) -> list[Any]:
    """A column as JSON holds it; images are PNG files in base64."""
    if not isinstance(column.type, pa.FixedShapeTensorType):
        return [plain(value) for value in column.to_pylist()]
    found = []
    for chunk in column.chunks:
        white = 255 if pa.types.is_boolean(chunk.type.value_type) else 1
        for cell in chunk.storage.to_pylist():
            pixels = None if cell is None else np.array(cell, np.uint8).reshape(*chunk.type.shape, 1) * white
            found.append(None if pixels is None else base64.b64encode(png(pixels)).decode())
    return found


def plain(value: Any) -> Any:
    """A value as JSON holds it."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list):
        return [plain(one) for one in value]
    return value.isoformat() if isinstance(value, dt.date | dt.datetime) else value


def table_of(told: Told) -> pa.Table:
    """An answer that came as an Arrow stream."""
    assert told.fault is None, told.fault
    return pa.ipc.open_stream(told.body).read_all()


def numbers_of(told: Told) -> dict[str, np.ndarray]:
    """The columns of an answer that came as rows in JSON."""
    assert told.fault is None, told.fault
    rows = msgspec.json.decode(told.body)["rows"]
    return {name: np.array([row[name] for row in rows], dtype=object) for name in rows[0]}


__all__ = [
    "COLUMNS",
    "CSV",
    "FILE",
    "JSON",
    "PARQUET",
    "STREAM",
    "answer",
    "ask",
    "hosted",
    "numbers_of",
    "running",
    "table_of",
    "until",
    "written",
]

"""Parquet files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from vaekit.serving.worker.formats.base import Parsed, reader
from vaekit.serving.worker.formats.tables import table_rows, unreadable
from vaekit.serving.worker.refusals import Refusal

if TYPE_CHECKING:
    from vaekit.serving.wire.asking import Ask
    from vaekit.serving.wire.frames import Buffer
    from vaekit.serving.worker.hosted import Hosted

__all__ = ["PARQUET", "read_parquet"]

PARQUET = "application/vnd.apache.parquet"


@reader(PARQUET)
def read_parquet(body: Buffer, ask: Ask, hosted: Hosted) -> Parsed:
    """Rows as a Parquet file; only the columns that the model reads are decoded."""
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(pa.py_buffer(body))
        if file.metadata.num_rows > hosted.limits.max_rows:  # before anything is unpacked
            raise Refusal(
                413,
                "too_many_rows",
                f"the file has {file.metadata.num_rows} rows, at most "
                f"{hosted.limits.max_rows} are answered; answer whole files with 'vae batch'",
            )
        there = set(file.schema_arrow.names)
        table = file.read(columns=[name for name in hosted.cells if name in there])
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise unreadable(error, "a Parquet file") from error
    return Parsed(ask.query, table_rows(table, hosted))

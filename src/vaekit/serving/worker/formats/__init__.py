"""Formats of bodies, for workers only: readers of requests and writers of answers, by media type.

To add one, write a module here that decorates a reader with `reader("media/type")` or a writer with
`writer("media/type")`, and import it below.
"""

from vaekit.serving.worker.formats import arrow, csv, form, json, parquet, v2, v2_grpc
from vaekit.serving.worker.formats.base import READERS, WRITERS, Answer, Parsed, Reader, Whole, Writer, reader, writer

__all__ = [
    "READERS",
    "WRITERS",
    "Answer",
    "Parsed",
    "Reader",
    "Whole",
    "Writer",
    "arrow",
    "csv",
    "form",
    "json",
    "parquet",
    "reader",
    "v2",
    "v2_grpc",
    "writer",
]

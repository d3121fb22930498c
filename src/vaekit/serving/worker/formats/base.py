"""What readers and writers are, and their registries.

A reader turns a body into a `Parsed`; it may refuse the body with a `Refusal`. A writer turns an `Answer` into bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa

from vaekit.fields.pixels import WHITE
from vaekit.serving.worker.cells import plain_values
from vaekit.serving.worker.refusals import Refusal

if TYPE_CHECKING:
    from vaekit.serving.wire.asking import Ask
    from vaekit.serving.wire.frames import Buffer
    from vaekit.serving.worker.hosted import Hosted
    from vaekit.serving.worker.rows import Rows

__all__ = ["READERS", "WRITERS", "Answer", "Parsed", "Reader", "Whole", "Writer", "check_text", "reader", "writer"]


class Parsed(msgspec.Struct, frozen=True):
    """One request as its reader understood it.

    Args:
        query: Name of the query; that of the ask, unless the body says which.
        rows: The rows, of a query that is asked about rows.
        arguments: What a query takes in place of rows, as its body said it.
        options: Options that the body said, not checked yet.
        extra: What the writer needs to know beside the answer, such as which outputs were asked for.
        taken: Options from outside the body that were for the reader, and not for the query.
    """

    query: str
    rows: Rows | None = None
    arguments: Mapping[str, Any] = {}
    options: Mapping[str, Any] = {}
    extra: Mapping[str, Any] = {}
    taken: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Whole:
    """The answer to a group of requests.

    Args:
        table: The answer.
        whites: Level of white in columns of pictures, by name.
    """

    table: pa.Table
    whites: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def batch(self) -> pa.RecordBatch | None:
        """The whole in one piece, with its columns as Arrow can send them alone; None if they cannot be."""
        if not self.table.num_rows or any(pa.types.is_dictionary(kind) for kind in self.table.schema.types):
            return None
        return self.table.combine_chunks().to_batches()[0]

    @cached_property
    def head(self) -> bytes:
        """The schema as the head of an Arrow stream."""
        head: bytes = self.table.schema.serialize().to_pybytes()
        return head

    @cached_property
    def columns(self) -> dict[str, list[Any]]:
        """Plain values by column, made once for the group."""
        return {name: self.plain(name) for name in self.table.column_names}

    def plain(self, name: str) -> list[Any]:
        """Plain values of one column."""
        return plain_values(self.table.column(name), self.whites.get(name, WHITE))


class Answer(msgspec.Struct, frozen=True):
    """The answer to one request: some rows of that to its group.

    Args:
        whole: The answer to the group.
        start: First row.
        rows: Number of rows.
    """

    whole: Whole
    start: int
    rows: int

    @property
    def table(self) -> pa.Table:
        """The answer as an Arrow table."""
        return self.whole.table.slice(self.start, self.rows)

    def columns(self) -> dict[str, list[Any]]:
        """The answer as plain values that JSON can hold, by column."""
        end = self.start + self.rows
        return {name: values[self.start : end] for name, values in self.whole.columns.items()}


Reader = Callable[["Buffer", "Ask", "Hosted"], Parsed]
Writer = Callable[[Answer, Parsed, "Ask", "Hosted"], tuple[bytes, dict[str, str]]]

READERS: dict[str, Reader] = {}
WRITERS: dict[str, Writer] = {}


def reader(*media: str) -> Callable[[Reader], Reader]:
    """Make a reader known under media types."""

    def register(function: Reader) -> Reader:
        READERS.update(dict.fromkeys(media, function))
        return function

    return register


def writer(*media: str) -> Callable[[Writer], Writer]:
    """Make a writer known under media types."""

    def register(function: Writer) -> Writer:
        WRITERS.update(dict.fromkeys(media, function))
        return function

    return register


def check_text(body: Buffer) -> None:
    """Refuse a body that is no UTF-8, even where its text is passed over.

    Raises:
        Refusal: It is not.
    """
    try:
        str(body, "utf-8")
    except UnicodeDecodeError as error:
        raise Refusal(400, "bad_body", f"the body is not UTF-8: byte {error.start} cannot be read") from error

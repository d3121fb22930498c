"""Answers to parts of a question, put together to the answer about the whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vaekit.client.wire import request_ids, with_request_ids

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["by_draw", "completed", "joined", "only"]


def completed(asked: pa.Table, answer: pa.Table) -> pa.Table:
    """An imputed table as a model gives it: with the columns that it does not read, which the service leaves out."""
    import pyarrow as pa

    times = answer.num_rows // max(asked.num_rows, 1)  # once per draw
    there, types = set(answer.column_names), {field.name: field.type for field in asked.schema}
    found = {
        name: answer[name] if name in there else pa.chunked_array(asked[name].chunks * times, types[name])
        for name in asked.column_names
    }
    return pa.table(found | {name: answer[name] for name in answer.column_names if name not in found})


def only(parts: Sequence[pa.Table]) -> pa.Table:
    """The only answer."""
    return parts[0]


def joined(parts: Sequence[pa.Table]) -> pa.Table:
    """Answers about parts of a table as the answer about the whole."""
    if len(parts) == 1:
        return parts[0]
    import pyarrow as pa

    requests = [one for part in parts for one in request_ids(part)]
    return with_request_ids(pa.concat_tables([part.replace_schema_metadata(None) for part in parts]), requests)


def by_draw(parts: Sequence[pa.Table]) -> pa.Table:
    """The same for several draws: each part comes with all of its draws, the whole has draw after draw."""
    whole = joined(parts)
    return whole.sort_by("draw") if len(parts) > 1 else whole  # the order within a draw is kept

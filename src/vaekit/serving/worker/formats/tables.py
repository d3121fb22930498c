"""What all formats share that bring a whole table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaekit.errors import ContractError
from vaekit.fields.arrow_types import is_text
from vaekit.fields.pixels import is_bytes, stored
from vaekit.serving.worker.refusals import Refusal
from vaekit.serving.worker.rows import TableRows

if TYPE_CHECKING:
    import pyarrow as pa

    from vaekit.serving.worker.hosted import Hosted

__all__ = ["table_rows", "unreadable"]


def table_rows(table: pa.Table, hosted: Hosted) -> TableRows:
    """The columns of a table that the model reads; others are passed over.

    Raises:
        Refusal: A column is there twice, or names are not UTF-8.
        ContractError: Images come as paths, or one has more pixels than are read.
    """
    try:
        there = table.column_names
    except UnicodeDecodeError as error:
        raise Refusal(400, "bad_body", "the name of a column is not UTF-8") from error
    for name in hosted.cells:
        if not hosted.cells[name].image or there.count(name) != 1:
            continue
        if is_bytes(table.schema.field(name).type):
            for row, content in enumerate(stored(table.column(name))):
                if content is not None:
                    hosted.cells[name].bounded(content, row)
        if is_text(table.schema.field(name).type):
            expected = "the bytes of PNG or JPEG files, or uint8 tensors"
            told = "an image comes as itself, and not as the path of a file of the server"
            raise ContractError(told, field=name, expected=expected, got=str(table.schema.field(name).type))
    if there == list(hosted.cells) and table.schema.metadata is None:
        return TableRows(table)
    if twice := [name for name in hosted.cells if there.count(name) > 1]:
        raise Refusal(400, "bad_body", f"the column {twice[0]!r} is there twice")
    found = table.select([name for name in hosted.cells if name in there]).replace_schema_metadata(None)
    return TableRows(found)


def unreadable(error: Exception, what: str) -> Exception:
    """What a body that could not be read is refused with.

    Args:
        error: What its reader said.
        what: What it should have been.
    """
    if isinstance(error, MemoryError):  # Arrow's own are its exceptions as well
        return error
    line = str(error).strip().split("\n", 1)[0]
    return Refusal(400, "bad_body", f"the body is not {what}: {line}")

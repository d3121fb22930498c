"""How results are shown: a file, a short preview for people, or JSON for programs."""

from __future__ import annotations

import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from vaekit.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["deliver", "preview", "print_json", "say"]

ROWS = 10
WIDTH = 120  # of a preview that goes to no terminal
GAP = 2
PARTS = 3
PREFIXES = ("score.", "excess.")  # columns that say what part a field has in a score


def say(text: str) -> None:
    """Tell the user something that is not the result: stderr."""
    typer.echo(text, err=True)


def print_json(value: Any) -> None:
    """Print a value as one JSON document on stdout; values that JSON lacks (NaN, infinities) become null."""
    import msgspec

    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2).decode() + "\n")


def deliver(
    tables: Iterable[pa.Table],
    facts: Callable[[], Mapping[str, Any]],
    *,
    query: str,
    options: Mapping[str, Any],
    out: Path | None,
    as_json: bool,
    strangest: str | None = None,
) -> None:
    """Write a result to its file as it comes, or print it.

    Args:
        tables: What a query returned, part by part.
        facts: What is worth telling about the answer, in that order, once all parts have come.
        query: Name of the query.
        options: What the query was asked for; told to programs only.
        out: File to write to; None prints the rows.
        as_json: Print for programs.
        strangest: Preview the rows with the largest values of this column, not the first rows.

    Raises:
        ConfigError: The file cannot be written.
    """
    import pyarrow as pa

    size = _Size()
    if out is not None:
        from vaekit.fields.writing import write_batches

        try:
            write_batches(size.counted(tables), out)
        except OSError as error:
            raise ConfigError(f"--out {out}: cannot be written ({error.strerror or error})") from error
        where: dict[str, Any] = {"out": str(out)}
    else:
        result = pa.concat_tables(size.counted(tables))
        where = {"data": result.to_pylist()} if as_json else {}
    if as_json:
        told = {"query": query, "options": options, "rows": size.rows, "columns": size.columns, **facts()}
        print_json(told | where)
        return
    if out is None:
        preview(result, strangest)
    shape = f"{size.rows:,} rows, {len(size.columns)} columns"
    rest = "".join(f"; {name.replace('_', ' ')} {cell(value)}" for name, value in facts().items())
    typer.echo(f"{query}: {shape}{f' -> {out}' if out is not None else ''}{rest}")


class _Size:
    """Rows and columns of tables that pass by."""

    def __init__(self) -> None:
        self.rows, self.columns = 0, list[str]()

    def counted(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        for table in tables:
            self.rows, self.columns = self.rows + table.num_rows, table.column_names
            yield table


def preview(table: pa.Table, strangest: str | None = None) -> None:
    """Print a few rows, and as many columns as there is room for, as a table on stdout.

    Args:
        table: Rows to show.
        strangest: Show the rows with the largest values of this column instead of the first rows.
    """
    rows = list(range(min(ROWS, table.num_rows)))
    if strangest is not None:
        rows = table[strangest].to_numpy().argsort(kind="stable")[::-1][:ROWS].tolist()
    kept: list[list[str]] = []
    left_out, room = 0, shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDTH
    for name, texts, right in _columns(table, rows):
        width = max(map(_wide, [name, *texts]))
        room -= width + GAP
        if room < 0 and kept:
            left_out += 1
            continue
        gaps = [" " * (width - _wide(text)) for text in [name, *texts]]
        kept.append([gap + text if right else text + gap for gap, text in zip(gaps, [name, *texts], strict=True)])
    head, *lines = [(" " * GAP).join(cells).rstrip() for cells in zip(*kept, strict=True)]
    typer.secho(head, bold=True)
    for line in lines:
        typer.echo(line)
    if left_out:
        typer.echo(f"… and {left_out} more columns; --out FILE takes them all")


def _wide(text: str) -> int:
    """Columns of a terminal that a text takes: letters of East Asian scripts take two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def cell(value: Any) -> str:
    """One value as a person wants to read it.

    Example:
        >>> cell(0.123456), cell(None), cell([1.0, 2.0, 3.0, 4.0]), cell(12345)
        ('0.1235', '–', '[1, 2, 3, … 4]', '12,345')
    """
    if value is None:
        return "–"
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Sequence):
        items = [cell(item) for item in value[:3]] + ([f"… {len(value)}"] if len(value) > 3 else [])
        return f"[{', '.join(items)}]"
    return str(value)


def _columns(table: pa.Table, rows: list[int]) -> Iterator[tuple[str, list[str], bool]]:
    """Name, texts and whether they are numbers, of each column of a preview.

    Parts of a score are many; they become one column that names the largest.
    """
    import pyarrow as pa

    head = table.take(pa.array(rows, pa.int64()))
    yield "row", [f"{row:,}" for row in rows], True
    for field in head.schema:
        if not field.name.startswith(PREFIXES):
            number = str(field.type).startswith(("int", "uint", "float", "double"))
            yield field.name, [cell(value) for value in head[field.name].to_pylist()], number
    parts = [name for name in table.column_names if name.startswith(PREFIXES)]
    if parts:
        yield "strangest fields", [_largest(values) for values in head.select(parts).to_pylist()], False


def _largest(parts: Mapping[str, float]) -> str:
    """The fields with the largest parts of a score, largest first."""
    ranked = sorted(parts, key=lambda name: -parts[name])
    return ", ".join(f"{name.partition('.')[2]} {cell(parts[name])}" for name in ranked[:PARTS])

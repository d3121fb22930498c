"""How results are shown: a file, a short preview for people, or JSON for programs."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["deliver", "preview", "print_json", "say"]

ROWS = 10
COLUMNS = 10
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
    result: pa.Table,
    facts: Mapping[str, Any],
    *,
    query: str,
    out: Path | None,
    as_json: bool,
    strangest: str | None = None,
) -> None:
    """Write a result to its file, or print it.

    Args:
        result: What a query returned.
        facts: What is worth telling about the answer, in that order.
        query: Name of the query.
        out: File to write to; None prints the rows.
        as_json: Print for programs.
        strangest: Preview the rows with the largest values of this column, not the first rows.
    """
    if out is not None:
        from vaekit.fields.tables import write

        write(result, out)
    if as_json:
        where = {"out": str(out)} if out is not None else {"data": result.to_pylist()}
        print_json({"query": query, "rows": result.num_rows, "columns": result.column_names, **facts, **where})
        return
    if out is None:
        preview(result, strangest)
    told = "".join(f"; {name.replace('_', ' ')} {cell(value)}" for name, value in facts.items())
    target = f" -> {out}" if out is not None else ""
    typer.echo(f"{query}: {result.num_rows:,} rows, {result.num_columns} columns{target}{told}")


def preview(table: pa.Table, strangest: str | None = None) -> None:
    """Print a few rows as a table on stdout.

    Args:
        table: Rows to show.
        strangest: Show the rows with the largest values of this column instead of the first rows.
    """
    from rich.console import Console
    from rich.table import Table

    rows = list(range(min(ROWS, table.num_rows)))
    if strangest is not None:
        rows = table[strangest].to_numpy().argsort(kind="stable")[::-1][:ROWS].tolist()
    head = table.take(rows)
    names, more = _visible(table.column_names)
    shown = Table(box=None, header_style="bold", pad_edge=False)
    shown.add_column("row", justify="right", style="dim")
    for name in names:
        numeric = str(table.schema.field(name).type).startswith(("int", "uint", "float", "double"))
        shown.add_column(name, justify="right" if numeric else "left", no_wrap=True)
    parts = [name for name in table.column_names if name.startswith(PREFIXES)]
    if parts:
        shown.add_column("strangest fields")
    for row, values in zip(rows, head.to_pylist(), strict=True):
        cells = [f"{row:,}", *(cell(values[name]) for name in names)]
        shown.add_row(*cells, *([_largest(values, parts)] if parts else []))
    Console(width=None if sys.stdout.isatty() else 160, highlight=False, markup=False).print(shown)
    if more:
        typer.echo(f"… and {more} more columns; --out FILE takes them all")


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


def _visible(names: list[str]) -> tuple[list[str], int]:
    """The columns that a preview has room for, and how many it leaves out; parts of a score are shown apart."""
    whole = [name for name in names if not name.startswith(PREFIXES)]
    return whole[:COLUMNS], max(0, len(whole) - COLUMNS)


def _largest(values: Mapping[str, Any], parts: list[str]) -> str:
    """The fields that a score is made of, largest first."""
    ranked = sorted(parts, key=lambda name: -(values[name] if values[name] is not None else float("-inf")))
    return ", ".join(f"{name.partition('.')[2]} {cell(values[name])}" for name in ranked[:PARTS])

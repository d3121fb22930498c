"""A contract as an aligned table for people."""

from __future__ import annotations

from collections.abc import Sequence

from vaekit.fields.base import Field

__all__ = ["show"]

_HEAD = ("field", "kind", "role", "likelihood", "missing", "detail")
_WIDEST = 44


def show(fields: Sequence[Field]) -> str:
    """The fields of a contract as text: one line each, then the notes.

    Example:
        >>> from vaekit.fields.other import Other
        >>> print(show([Other(name="when", type="date32[day]", role="ignore", note="no dates yet")]))
        field  kind   role    likelihood  missing  detail
        -----  -----  ------  ----------  -------  ------------
        when   other  ignore                       no dates yet
    """
    lines = [_HEAD, *(_line(field) for field in fields)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    lines.insert(1, tuple("-" * width for width in widths))
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _line(field: Field) -> tuple[str, ...]:
    likelihood = str(getattr(field, "likelihood", "")) if field.role == "model" else ""
    missing = f"{field.missing:.1%}" if field.missing else ""
    detail = "; ".join(part for part in (field.detail, field.note) if part)
    return (_short(field.name), field.kind, field.role, likelihood, missing, detail)


def _short(text: str) -> str:
    return text if len(text) <= _WIDEST else text[: _WIDEST - 3] + "..."

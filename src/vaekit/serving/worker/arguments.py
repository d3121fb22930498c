"""What a query is called with: checked options, given values, and arguments of queries that take no rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vaekit.serving.worker.attributes import attributes
from vaekit.serving.worker.formats.json import rows_of
from vaekit.serving.worker.options import checked
from vaekit.serving.worker.refusals import Refusal

if TYPE_CHECKING:
    from vaekit.serving.wire.asking import Ask
    from vaekit.serving.wire.facts import QueryFacts
    from vaekit.serving.worker.formats import Parsed
    from vaekit.serving.worker.hosted import Hosted

__all__ = ["answer_rows", "call_of"]

_TIMES = ("draws", "steps")  # options that multiply the rows of an answer


def call_of(parsed: Parsed, ask: Ask, facts: QueryFacts, hosted: Hosted) -> dict[str, Any]:
    """Everything that a query takes by name, from the body and from outside of it.

    Raises:
        Refusal: An argument is missing or wrong, or an option is unknown, wrong, too large, or given twice.
        ContractError: A value does not fit its field.
    """
    outside = {name: text for name, text in ask.options.items() if name not in parsed.taken}
    if twice := [name for name in outside if name in parsed.options or name in parsed.arguments]:
        raise Refusal(400, "bad_option", f"{twice[0]!r} is given both in the body and outside of it; give it once")
    plain = [one for one in facts.arguments if one.type != "rows"]
    known = (*plain, *facts.options)
    call = checked(facts.options, parsed.options, facts.name, text=False)
    call |= checked(known, outside, facts.name, text=True)
    for one in facts.arguments:
        if one.name in call:
            continue
        value = parsed.arguments.get(one.name)
        if value is None and one.required:
            takes = ", ".join(argument.name for argument in facts.arguments)
            raise Refusal(400, "bad_body", f"{facts.name} needs {one.name!r}; it takes: {takes}")
        if one.type != "rows":
            call |= checked(plain, {one.name: value}, facts.name, text=False)
        elif value is not None:
            rows = rows_of(value, hosted, absent=False)
            table = type(rows).merged([rows])
            for name, column in attributes(value, hosted.cells).items() if one.beyond else ():
                table = table.append_column(name, column)
            call[one.name] = table
    for one in facts.options:
        if one.type == "object" and call.get(one.name) is not None:
            call[one.name] = _values(call[one.name], hosted)
    samples = call.get("samples", 0)
    if samples > hosted.limits.max_samples:
        most = hosted.limits.max_samples
        raise Refusal(400, "bad_option", f"samples is at most {most} here, got {samples}")
    return call


def answer_rows(asked: int, call: Mapping[str, Any], facts: QueryFacts) -> int:
    """About how many rows an answer has.

    Args:
        asked: Rows that are asked about.
        call: What the query is called with.
        facts: What is known of the query.
    """
    for one in facts.options:
        if one.name in _TIMES:
            asked *= max(1, call.get(one.name, one.default))
    return asked


def _values(given: Mapping[str, Any], hosted: Hosted) -> dict[str, Any]:
    """Values of single fields as the query takes them; names that are no fields are left to the query to refuse."""
    found = {}
    for name, value in given.items():
        cells = hosted.cells.get(name)
        found[name] = value if cells is None else cells.array([cells.checked(value)])[0].as_py()
    return found

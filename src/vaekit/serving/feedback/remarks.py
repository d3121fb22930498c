"""`POST /v1/feedback`: what a caller says of an answer, read and joined to what gave the answer."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from vaekit.serving.feedback.ledger import Answered, Ledger, Remark
from vaekit.serving.request import refused

__all__ = ["Feedback", "take"]

Name = Annotated[str, Meta(min_length=1, max_length=64)]
Short = Annotated[str, Meta(max_length=256)]
Value = bool | int | float | Short


class Feedback(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /v1/feedback`: at least one of outcome, label and kpi.

    Args:
        request_id: The ``X-Request-Id`` of the answer.
        row: Zero-based row of the answer that is meant; all of it if not given.
        outcome: What came of it, for example whether the alarm was a true one.
        label: What the right answer would have been.
        kpi: Figures that the answer had a part in, by name.
        note: Words for people.
    """

    request_id: Annotated[str, Meta(min_length=1, max_length=128)]
    row: Annotated[float, Meta(ge=0, lt=2**31, multiple_of=1)] | None = None
    outcome: Value | None = None
    label: Value | None = None
    kpi: Annotated[dict[Name, float], Meta(min_length=1, max_length=32)] | None = None
    note: Annotated[str, Meta(max_length=1000)] = ""

    def remarks(self) -> list[Remark]:
        """One for each thing that is said."""
        said: list[tuple[str, str, Any]] = [("kpi", name, value) for name, value in (self.kpi or {}).items()]
        said += [(kind, "", value) for kind in ("outcome", "label") if (value := getattr(self, kind)) is not None]
        row = -1 if self.row is None else int(self.row)
        return [
            Remark(
                request=self.request_id,
                kind=kind,
                value=msgspec.json.encode(value).decode(),
                measure=None if isinstance(value, str) else float(value),
                name=name,
                row=row,
                note=self.note,
            )
            for kind, name, value in said
        ]


_decoder = msgspec.json.Decoder(Feedback)


async def take(ledger: Ledger, body: bytes) -> dict[str, Any]:
    """Read feedback and join it to its answer. Saying the same again changes nothing; saying otherwise corrects it.

    Args:
        ledger: The ledger.
        body: The body, JSON.

    Returns:
        What it was joined to and what was kept.

    Raises:
        Refused: If the body is not feedback, the request is not known, or the ledger cannot be written.
    """
    try:
        feedback = _decoder.decode(body)
        remarks = feedback.remarks()
    except msgspec.ValidationError as error:
        raise refused(422, "feedback", f"{error}") from error
    except (msgspec.DecodeError, OverflowError, RecursionError) as error:
        raise refused(400, "body", f"the body is not JSON that can be read: {error}") from error
    if not remarks:
        raise refused(422, "feedback", "say at least one of outcome, label and kpi of the answer")
    try:
        answered: Answered | None = await asyncio.wrap_future(ledger.find(feedback.request_id))
        if answered is None:
            raise refused(
                404,
                "unknown_request",
                f"no answer with request id {feedback.request_id!r} is known; feedback takes the X-Request-Id of an "
                f"answer, and answers are remembered for {ledger.days:g} days and the last {ledger.most:,} requests",
            )
        if feedback.row is not None and feedback.row >= answered.rows:
            raise refused(422, "feedback", f"row {feedback.row:g} is not one of the {answered.rows} that were answered")
        await asyncio.wrap_future(ledger.remark(remarks))
    except sqlite3.Error as error:
        raise refused(503, "state", f"feedback cannot be kept now ({error}); try again", retry_after=5.0) from error
    source = msgspec.structs.asdict(answered.source)
    kept = [f"kpi.{remark.name}" if remark.name else remark.kind for remark in remarks]
    return {"request_id": feedback.request_id, **source, "query": answered.query, "kept": kept}

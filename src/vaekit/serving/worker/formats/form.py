"""Forms with files: one table, or one image for a vector field with the values of the other fields beside it."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from vaekit.fields.pixels import WHITE
from vaekit.serving.worker.formats.arrow import FILE, STREAM
from vaekit.serving.worker.formats.base import READERS, Parsed, reader
from vaekit.serving.worker.formats.csv import CSV
from vaekit.serving.worker.formats.image import IMAGES, pixels
from vaekit.serving.worker.formats.json import JSON, decoded, rows_of
from vaekit.serving.worker.formats.parquet import PARQUET
from vaekit.serving.worker.refusals import Refusal

if TYPE_CHECKING:
    from vaekit.serving.wire.asking import Ask
    from vaekit.serving.wire.frames import Buffer
    from vaekit.serving.worker.cells import Cells
    from vaekit.serving.worker.hosted import Hosted

__all__ = ["FORM", "read_form"]

FORM = "multipart/form-data"
_SUFFIXES = {
    ".csv": CSV,
    ".parquet": PARQUET,
    ".arrow": FILE,
    ".feather": FILE,
    ".arrows": STREAM,
    ".json": JSON,
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
}
_CONFIG = {"MAX_MEMORY_FILE_SIZE": math.inf, "MAX_FIELDS": 10_000}  # the body is in memory, and so are its files


@dataclass(frozen=True)
class File:
    """A file of a form: the name of its part, its media type, and its content."""

    part: str
    media: str
    content: bytes


@reader(FORM)
def read_form(body: Buffer, ask: Ask, hosted: Hosted) -> Parsed:
    """A form with one file. ``options`` may hold options of the query as JSON, and ``white`` of an image."""
    values, files = _parts(body, ask)
    facts = hosted.query(ask.query)
    options = decoded(values.pop("options").encode()) if "options" in values else {}
    if not isinstance(options, dict):
        raise Refusal(400, "bad_body", "the part 'options' is a JSON object of names and values")
    if len(files) != 1:
        raise Refusal(400, "bad_body", f"a form has one file, a table or an image; this has {len(files)}")
    file = files[0]
    if file.media in IMAGES:
        white = _white(options.pop("white", ask.options.get("white", WHITE)))
        rows = rows_of([_row(values, file, hosted, white)], hosted, facts.absent)
        return Parsed(ask.query, rows, {}, options, taken=frozenset({"white"}))
    if file.media not in _SUFFIXES.values():
        there = ", ".join(_SUFFIXES)
        raise Refusal(415, "media_type", f"cannot read a file of type {file.media!r}; known are: {there}")
    if values:
        raise Refusal(400, "bad_body", f"a form with a table has no other values, but this has {next(iter(values))!r}")
    parsed = READERS[file.media](file.content, ask, hosted)
    return Parsed(ask.query, parsed.rows, parsed.arguments, {**parsed.options, **options})


def _row(values: Mapping[str, str], file: File, hosted: Hosted, white: float) -> dict[str, Any]:
    """The row of an image: its pixels, and what the other parts say of other fields."""
    cells = hosted.cells.get(file.part)
    if cells is None or not (cells.list or cells.image):
        there = ", ".join(one.name for one in hosted.cells.values() if one.list or one.image) or "none"
        told = f"an image is the value of an image or vector field, not of {file.part!r}; there are: {there}"
        raise Refusal(400, "bad_body", told)
    picture = (
        base64.b64encode(file.content).decode() if cells.image else pixels(file.content, cells, hosted.limits, white)
    )
    row: dict[str, Any] = {file.part: picture}
    for name, text in values.items():
        if name not in hosted.cells:
            there = ", ".join(hosted.cells)
            raise Refusal(400, "bad_body", f"the form has a part {name!r}, which is no field; there are: {there}")
        row[name] = _value(hosted.cells[name], text)
    return row


def _value(cells: Cells, text: str) -> Any:
    """The value of a field that a part of a form holds as text."""
    if cells.json == "string" and not cells.list:
        return text
    try:
        return msgspec.json.decode(text) if text else None
    except (msgspec.DecodeError, RecursionError, ValueError):
        return text  # no value of the type of the field, which is told as such


def _white(value: Any) -> float:
    try:
        white = msgspec.convert(value, float, strict=False)
    except msgspec.ValidationError:
        white = math.nan
    if not 0.0 < white < math.inf:
        raise Refusal(400, "bad_option", f"option 'white': expected a number above 0, got {value!r:.80}")
    return white


def _parts(body: Buffer, ask: Ask) -> tuple[dict[str, str], list[File]]:
    """Values and files of a form."""
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import FormParser, parse_options_header

    boundary = parse_options_header(ask.headers.get("content-type", FORM))[1].get(b"boundary")
    if not boundary:
        raise Refusal(400, "bad_body", "the content type of a form names the boundary of its parts")
    fields: list[tuple[str, bytes]] = []
    files: list[File] = []

    def on_field(field: Any) -> None:
        fields.append((_name(field.field_name), field.value or b""))

    def on_file(file: Any) -> None:
        file.file_object.seek(0)
        name = _name(file.file_name or b"").lower()
        suffix = next((media for end, media in _SUFFIXES.items() if name.endswith(end)), "")
        media = suffix or (file.content_type or "").split(";")[0].strip().lower()
        files.append(File(_name(file.field_name), media, file.file_object.read()))

    parser = FormParser(FORM, on_field, on_file, boundary=boundary, config=_CONFIG)
    try:
        parser.write(bytes(body))
        parser.finalize()
        values = {name: value.decode() for name, value in fields}
    except (FormParserError, UnicodeDecodeError) as error:
        raise Refusal(400, "bad_body", f"the body is not a form: {error}") from error
    finally:
        parser.close()
    if b"--" + boundary + b"--" not in bytes(body[-len(boundary) - 8 :]):
        raise Refusal(400, "bad_body", "the form is cut off: its last boundary is not there")
    if len(values) < len(fields):
        raise Refusal(400, "bad_body", "the form has a part twice")
    return values, files


def _name(name: bytes | None) -> str:
    return (name or b"").decode("utf-8", "replace")

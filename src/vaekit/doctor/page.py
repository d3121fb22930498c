"""The findings as one page with pictures."""

from __future__ import annotations

from html import escape
from importlib import resources

from vaekit.doctor.base import Finding, Picture
from vaekit.doctor.examine import Diagnosis
from vaekit.errors import ConfigError
from vaekit.report.drawing import COLOURS, PALETTE, Pen, plain, room

__all__ = ["page"]

_MOST = 24  # letters of the name of a bar


def page(diagnosis: Diagnosis, title: str, after: Diagnosis | None = None) -> str:
    """All findings, ill ones first, each with its picture, as HTML that needs nothing else.

    Args:
        diagnosis: The examination.
        title: What was examined.
        after: The examination after a treatment.

    Raises:
        ConfigError: If matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401 - the pictures need it
    except ModuleNotFoundError as error:
        raise ConfigError(f"a page needs {error.name}, which is not installed; install vaekit[report]") from error
    pen = Pen()
    style = resources.files("vaekit.report").joinpath("page.css").read_text(encoding="utf-8")
    parts = [_section(pen, one, "") for one in diagnosis.findings]
    if after is not None:
        parts += ["<h2>After treatment</h2>", *(_section(pen, one, " after treatment") for one in after.findings)]
    skipped = "".join(f"<li>{escape(name)}: needs {escape(why)}</li>" for name, why in diagnosis.skipped.items())
    told = ", ".join(one.disease for one in diagnosis.ill) or "healthy"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{style}</style></head><body>'
        f"<header><h1>{escape(plain(title))}</h1><p class='verdict {'stop' if diagnosis.ill else 'fine'}'>"
        f"{escape(told)}</p></header><main>{''.join(parts)}"
        f"<section><h2>Not looked for</h2><ul>{skipped or '<li>nothing</li>'}</ul></section></main></body></html>"
    )


def _section(pen: Pen, finding: Finding, when: str) -> str:
    word = "ill" if finding.ill else "healthy"
    numbers = "".join(f"<li>{escape(plain(one))}</li>" for one in finding.evidence)
    told = finding.unless or (f"{finding.sentence} Treatment: {finding.treatment.words}." if finding.ill else "")
    picture = "" if finding.picture is None or not finding.picture.x else _draw(pen, finding.picture)
    return (
        f"<section><h2>{escape(finding.disease)}{when}: {word}</h2><p>{escape(plain(told))}</p>"
        f"<ul>{numbers}</ul><figure>{picture}</figure></section>"
    )


def _draw(pen: Pen, picture: Picture) -> str:
    """Lines over numbers, bars over names."""
    bars = bool(picture.x) and isinstance(picture.x[0], str)
    names = [plain(one, _MOST) for one in picture.x] if bars else []
    bottom = 0.35 + (room(names) if max(map(len, names), default=0) > 3 else 0.0)
    with pen.figure(4.6, 1.9 + bottom, left=0.6, bottom=bottom, top=0.32) as (figure, axes):
        for index, (label, values) in enumerate(picture.lines.items()):
            if bars:
                width = 0.8 / len(picture.lines)
                places = [at + width * index for at in range(len(values))]
                axes.bar(places, values, width, color=PALETTE[index], label=label)
            else:
                axes.plot(picture.x, values, color=PALETTE[index], label=label)
        if bars:
            turned = 90 if max(map(len, names)) > 3 else 0
            axes.set_xticks(range(len(names)), names, rotation=turned)
        if picture.threshold is not None:
            axes.axhline(picture.threshold, color=COLOURS["bad"], linestyle=":")
        axes.grid(axis="y")
        axes.set_xlabel(picture.axis)
        figure.legend(loc="upper center", ncols=3, borderaxespad=0)
    return f"<figcaption>{escape(plain(picture.title))}</figcaption>{pen.svg(figure, picture.title)}"

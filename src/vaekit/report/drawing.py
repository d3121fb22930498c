"""Figures as inline SVG that belongs to its page: its colours, its font, no identifier twice, no address outside."""

from __future__ import annotations

import io
import itertools
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, cast

__all__ = ["COLOURS", "PALETTE", "Pen", "plain", "room"]

# Colours that stand for those of the style sheet, which knows whether the page is light or dark.
COLOURS = {
    "ink": "#010101",
    "muted": "#010102",
    "grid": "#010103",
    "real": "#010104",
    "sampled": "#010105",
    "bad": "#010106",
}
PALETTE = tuple(f"#0102{code:02x}" for code in range(8))
_NAMES = {code: f"var(--{name})" for name, code in COLOURS.items()}
_NAMES |= {code: f"var(--c{index})" for index, code in enumerate(PALETTE)}

_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "vaekit",  # the same facts make the same page
    "text.parse_math": False,  # a dollar sign in the name of a column is a dollar sign
    "font.size": 9.0,
    "axes.edgecolor": COLOURS["grid"],
    "axes.labelcolor": COLOURS["muted"],
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.facecolor": "none",
    "axes.unicode_minus": True,
    "figure.facecolor": "none",
    "text.color": COLOURS["ink"],
    "xtick.color": COLOURS["muted"],
    "ytick.color": COLOURS["muted"],
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "grid.color": COLOURS["grid"],
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
}


class Pen:
    """Draws the figures of one page.

    Example:
        >>> pen = Pen()
        >>> with pen.figure(3.0, 2.0) as (figure, axes):
        ...     _ = axes.plot([1, 2], [1, 2], color=COLOURS["real"])
        >>> pen.svg(figure, "a line").startswith('<svg class="picture" role="img" aria-label="a line"')
        True
    """

    def __init__(self) -> None:
        self._numbers = itertools.count()

    @contextmanager
    def figure(
        self,
        width: float,
        height: float,
        *,
        left: float = 0.1,
        bottom: float = 0.25,
        right: float = 0.1,
        top: float = 0.08,
        **grid: Any,
    ) -> Iterator[tuple[Any, Any]]:
        """A figure and its axes in the style of the page; draw inside of the context.

        Args:
            width: Width in inches.
            height: Height in inches.
            left: Room beside the axes in inches; measuring texts to find it out takes most of the time of a figure.
            bottom: Room below.
            right: Room beside.
            top: Room above.
            grid: For `matplotlib.figure.Figure.subplots`.
        """
        import matplotlib
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure

        with matplotlib.rc_context(cast(Any, _STYLE)), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)  # the browser has more fonts
            made = Figure(figsize=(width, height))
            FigureCanvasSVG(made)
            made.subplots_adjust(left / width, bottom / height, 1 - right / width, 1 - top / height, hspace=0.12)
            yield made, made.subplots(**grid)
            self._drawn = _saved(made)

    def svg(self, figure: Any, label: str, least: int = 0) -> str:
        """The figure last drawn as an element for a page.

        Args:
            figure: The figure.
            label: What it shows, for those who do not see it.
            least: Width in pixels below which it is scrolled, not shrunk.
        """
        from html import escape

        text = self._drawn
        text = text[text.index("<svg") :]
        text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
        text = re.sub(r'(<svg)[^>]*?(viewBox="[^"]*")[^>]*>', r'\1 class="picture" role="img" @@ \2>', text, count=1)
        text = text.replace("xlink:href", "href")
        prefix = f"p{next(self._numbers)}-"
        used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
        text = re.sub(r' id="([^"]*)"', lambda m: f' id="{prefix}{m[1]}"' if m[1] in used else "", text)
        text = re.sub(r'(href="#|url\(#)', rf"\g<1>{prefix}", text)
        text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)
        text = re.sub(r"#0102?[0-9a-f]{2,4}\b", lambda m: _NAMES.get(m[0], m[0]), text)
        text = re.sub(r"\n\s*", " ", text)
        size = figure.get_size_inches()
        style = f"max-width:{max(size[0] * 96, least):.0f}px" + (f";min-width:{least}px" if least else "")
        return text.replace("@@", f'aria-label="{escape(plain(label))}" style="{style}"', 1)


def _saved(figure: Any) -> str:
    buffer = io.StringIO()
    empty = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=empty, transparent=True)
    return buffer.getvalue()


def plain(text: object, most: int = 0) -> str:
    r"""Any value as one line of text that XML and HTML can hold; cut to `most` characters if that is not zero.

    Example:
        >>> plain("a\nb\x00", 10), plain("much too long", 8)
        ('a b�', 'much to…')
    """
    line = " ".join(str(text).split())
    line = "".join(c if c.isprintable() or c == " " else "\ufffd" for c in line)
    return line if not most or len(line) <= most else line[: most - 1] + "…"


def room(texts: Iterable[str], points: float = 9.0) -> float:
    """Inches that the longest of some texts takes, about.

    Example:
        >>> room(["ab", "abcdefgh"]) > room(["ab"]) > 0.1
        True
    """
    return 0.0085 * points * max((len(text) for text in texts), default=0) + 0.16

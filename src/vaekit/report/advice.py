"""Advice: when a VAE is the wrong tool, or its rows are; always with the number that says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from vaekit.report.before import TableFacts

__all__ = ["Advice", "advise_model", "advise_table"]

Verdict = Literal["stop", "check", "fine"]
_FEW_ROWS, _ROWS_PER_VALUE, _CELLS_PER_WEIGHT = 500, 10, 0.2


@dataclass(frozen=True)
class Advice:
    """One piece of advice.

    Args:
        verdict: ``stop`` (a VAE, or this one, is the wrong tool), ``check`` (look at this first), or ``fine``.
        topic: What it is about, in one or two words.
        number: The figure behind it, with its unit.
        sentence: What it means and what to do.
    """

    verdict: Verdict
    topic: str
    number: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.verdict:5}  {self.topic}: {self.number}. {self.sentence}"


def advise_table(facts: TableFacts) -> list[Advice]:
    """What a table says before any fit.

    Args:
        facts: From `table_facts`.

    Returns:
        Advice, the gravest first.

    Example:
        >>> from vaekit.fields import Contract, to_arrow
        >>> from vaekit.report.before import table_facts
        >>> rows = to_arrow({"x": [1.5, 2.5, 4.0], "y": [1.0, 3.0, 2.0]})
        >>> [one.topic for one in advise_table(table_facts(rows, Contract.infer(rows)))]
        ['few rows', 'dependence']
    """
    return _ordered([*_few_rows(facts), *_dependence(facts), *_labels(facts), *_doubles(facts)])


def advise_model(
    evaluation: Mapping[str, Any], record: Mapping[str, Any], weights: int, facts: TableFacts | None = None
) -> list[Advice]:
    """What held-out rows say about a fitted model.

    Args:
        evaluation: Held-out figures of the fit. Of these, ``copula_nats`` (mean -log p under a Gaussian copula) and
            ``copula_gain`` (paired difference with its standard error) are used where they are there.
        record: The record of the run.
        weights: Number of weights.
        facts: The held-out rows as a table; adds what follows from them alone.

    Returns:
        Advice, the gravest first.

    Example:
        >>> figures = {"iwae_64": -5.0, "marginal_nats": 5.01, "marginal_gain": {"nats": 0.01, "se": 0.02}}
        >>> print(advise_model(figures, {}, 1000)[0])
        stop   independence: 0.01 ± 0.02 nats per row. The model ... single histograms do the same job.
    """
    found = [*_gain(evaluation), *_copula(evaluation), *_collapse(evaluation), *_drift(evaluation, record)]
    found += _parameters(record, weights, facts)
    if facts is not None:
        found += [*_labels(facts), *_doubles(facts)]
    return _ordered(found)


def _ordered(found: list[Advice]) -> list[Advice]:
    return sorted(found, key=lambda one: ("stop", "check", "fine").index(one.verdict))


def _figure(nats: float, se: float) -> str:
    return f"{nats:.3g} ± {se:.2g} nats per row"


# ------------------------------------------------------------------------------------------------------ before a fit


def _few_rows(facts: TableFacts) -> list[Advice]:
    number = f"{facts.rows:,} rows for {facts.values:,} free values in each"
    if facts.rows >= max(_FEW_ROWS, _ROWS_PER_VALUE * facts.values):
        return []
    wanted = max(_FEW_ROWS, _ROWS_PER_VALUE * facts.values)
    verdict: Verdict = "stop" if facts.rows < wanted / 3 else "check"
    sentence = (
        f"A VAE wants {wanted:,} rows or more here; with fewer, a Gaussian copula or simple statistics are safer, and "
        f"a false-alarm rate below {1 / (0.1 * facts.rows + 1):.2g} cannot be promised."
    )
    return [Advice(verdict, "few rows", number, sentence)]


def _dependence(facts: TableFacts) -> list[Advice]:
    if facts.compared < 2:
        sentence = "One column alone has no dependence to learn: a histogram is all there is to know."
        return [Advice("stop", "one column", f"{facts.compared} modelled column", sentence)]
    nats, se = facts.dependence.nats, facts.dependence.se
    number = f"at least {_figure(max(nats, 0.0), se)}"
    if facts.dependence.independent:
        sentence = "The columns look independent, so a VAE will not beat one histogram per column."
        return [Advice("stop", "dependence", f"{_figure(nats, se)}", sentence)]
    sentence = (
        f"There is dependence between columns to learn; {facts.pair[0]} and {facts.pair[1]} tell most about each "
        f"other ({facts.dependence.pair_nats:.2g} nats)."
    )
    return [Advice("fine", "dependence", number, sentence)]


def _labels(facts: TableFacts) -> list[Advice]:
    found = []
    for name, one in sorted(facts.determined.items(), key=lambda item: -item[1].accuracy)[:3]:
        number = f"{one.accuracy:.1%} right from the other columns, {one.baseline:.1%} by guessing, {one.rows:,} rows"
        sentence = (
            f"{name} is nearly determined by the other columns, as a label is. If predicting it is the question, a "
            "classifier answers it directly and better; a VAE is for questions about whole rows."
        )
        found.append(Advice("check", f"label {name}", number, sentence))
    return found


def _doubles(facts: TableFacts) -> list[Advice]:
    found = []
    if facts.twins:
        shown = "; ".join(f"{a} and {b}" for a, b in facts.twins[:3])
        number = f"{len(facts.twins)} {'pair' if len(facts.twins) == 1 else 'pairs'} of columns"
        sentence = f"They tell the same ({shown}), and count twice in every score: give one of each role ignore."
        found.append(Advice("check", "twins", number, sentence))
    if facts.checked and facts.repeated >= max(2, 0.01 * facts.checked):
        number = f"{facts.repeated:,} of {facts.checked:,} rows"
        sentence = (
            "They repeat an earlier row exactly, so held-out rows are not new and held-out figures are too good: "
            "remove the repetitions, or keep them on one side of the split with an entity field."
        )
        found.append(Advice("check", "repeated rows", number, sentence))
    for name in facts.row_numbers:
        sentence = "It counts rows and holds nothing else: give it the role ignore, or time if the order matters."
        found.append(
            Advice("check", f"row number {name}", f"{facts.rows:,} different values in {facts.rows:,} rows", sentence)
        )
    return found


# -------------------------------------------------------------------------------------------------------- after a fit


def _gain(figures: Mapping[str, Any]) -> list[Advice]:
    gain = figures.get("marginal_gain")
    if gain is None:
        return []
    number = _figure(gain["nats"], gain["se"])
    if gain["nats"] <= 2.0 * gain["se"]:
        sentence = "The model is not better than independent columns beyond noise: single histograms do the same job."
        return [Advice("stop", "independence", number, sentence)]
    sentence = "The model beats independent columns on held-out rows: it learned how the columns hang together."
    return [Advice("fine", "gain", number, sentence)]


def _copula(figures: Mapping[str, Any]) -> list[Advice]:
    if "copula_nats" not in figures:
        return []
    gain = figures.get("copula_gain") or {
        "nats": figures["copula_nats"] + figures["iwae_64"],
        "se": figures.get("marginal_gain", {}).get("se", 0.0),
    }
    number = _figure(gain["nats"], gain["se"])
    if gain["nats"] <= 2.0 * gain["se"]:
        sentence = (
            "A Gaussian copula, which knows linear dependence only, is as good or better on held-out rows: prefer it, "
            "or train longer and larger before trusting this model."
        )
        return [Advice("stop", "linear is enough", number, sentence)]
    sentence = "The model beats a Gaussian copula: there is dependence that is not linear, and it was learned."
    return [Advice("fine", "beyond linear", number, sentence)]


def _collapse(figures: Mapping[str, Any]) -> list[Advice]:
    verdict = figures.get("latent", {}).get("verdict", "collapsed" if figures.get("active_units") == 0 else "ok")
    if verdict != "collapsed":
        return []
    sentence = (
        "The latent space tells nothing about a row (posterior collapse): embeddings and traversals are empty. Lower "
        "beta, give free bits, or accept that the columns are independent."
    )
    number = f"{figures['active_units']} of {figures['latent_width']} latent dimensions are active"
    if (information := figures.get("latent", {}).get("information")) is not None:
        number += f", {information:.2g} nats per row"
    return [Advice("stop", "collapse", number, sentence)]


def _drift(figures: Mapping[str, Any], record: Mapping[str, Any]) -> list[Advice]:
    shift = figures.get("shift")
    if shift is None or record.get("rows", {}).get("split") != "time":
        return []
    if shift["nats"] <= max(3.0 * shift["se"], 0.05):
        return []
    sentence = (
        "Single columns of the later rows already look different from the training rows, so the false-alarm promise "
        "will fade: train on recent rows, leave out what only grows with time, and watch for drift."
    )
    return [Advice("check", "drift over time", _figure(shift["nats"], shift["se"]), sentence)]


def _parameters(record: Mapping[str, Any], weights: int, facts: TableFacts | None) -> list[Advice]:
    rows = record.get("rows", {}).get("train")
    if rows is None or facts is None or rows * facts.values >= _CELLS_PER_WEIGHT * weights:
        return []
    number = f"{weights:,} weights from {rows * facts.values:,} values in {rows:,} rows"
    sentence = "Early stopping guards against overfitting, but a smaller preset or more rows would be on safer ground."
    return [Advice("check", "few rows", number, sentence)]

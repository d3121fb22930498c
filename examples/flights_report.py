"""What the demo prints: the answers of the model as short tables and sentences."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from flights_data import LAST, MONTHS, Rows, month
from flights_tasks import ALPHAS, Fidelity, Hidden, Month, Nats, Strange
from flights_text import UNITS, listing, say, show

import vaekit as vk

__all__ = [
    "show_contract",
    "show_data",
    "show_fidelity",
    "show_files",
    "show_imputation",
    "show_likelihood",
    "show_months",
    "show_strangest",
    "show_training",
]


def show_data(rows: Rows) -> None:
    """How many rows there are, and what each part is for."""
    show(
        [
            f"{rows.year.num_rows:>8,} flights of 2013, each with the weather that its airport reported for that hour",
            f"{rows.fit.num_rows:>8,} of January–September to fit to",
            f"{rows.held_out.num_rows:>8,} of January–September held out, drawn at random",
            f"{rows.year.num_rows - rows.fit.num_rows - rows.held_out.num_rows:>8,} of October–December: the future",
        ]
    )


def show_contract(contract: vk.Contract) -> None:
    """The contract as a table."""
    show(str(contract).splitlines())


def show_training(model: vk.Model, run: Path, most: int = 8) -> None:
    """The size of the model, and how its validation figures went."""
    history = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    record = json.loads((run / "run.json").read_text())
    epoch = record["rows"]["train"] / record["config"]["training"]["batch_size"]
    chosen = [history[at] for at in sorted({round(at) for at in np.linspace(0, len(history) - 1, most)})]
    lines = []
    for one in chosen:
        nats, kl = -one["valid"]["elbo"], one["valid"]["kl"]
        lines.append((f"{one['seconds']:.0f}", one["step"], f"{one['step'] / epoch:.1f}", f"{nats:.2f}", f"{kl:.2f}"))
    print()  # after the progress
    listing(("seconds", "step", "epoch", "nats per row on validation rows", "of which KL"), lines)
    weights = sum(array.size for array in model.bundle.weights.values())
    latent = sum(model.bundle.architecture.groups.values())
    say(f"{weights:,} weights, {latent} latent dimensions, {record['rows']['train']:,} rows to learn from.")


def show_likelihood(known: dict[str, Any], october: Nats) -> None:
    """Nats per row beside independent columns."""
    rows = [
        (
            "September, held out",
            known["rows"],
            -known["iwae_64"],
            f"{-known['elbo']:.2f}",
            known["marginal_nats"],
        ),
        ("October", october.rows, october.model, "–", october.marginals),
    ]
    lines = [
        (name, f"{count:,}", f"{ours:.2f}", elbo, f"{alone:.2f}", f"{alone - ours:+.2f}")
        for name, count, ours, elbo, alone in rows
    ]
    listing(("−log p in nats per row", "rows", "vaekit (64 samples)", "(ELBO)", "independent columns", "gain"), lines)
    gain = {name: field["marginal_nats"] - field["nats"]["mean"] for name, field in known["fields"].items()}
    best = sorted(gain, key=gain.__getitem__, reverse=True)[:8]
    say("What its latent code tells of a field, in nats: " + " · ".join(f"{one} {gain[one]:.1f}" for one in best) + ".")


# --------------------------------------------------------------------------------------------------------- anomalies


def show_strangest(strange: Sequence[Strange]) -> None:
    """One line for each airport and hour, with its strangest flight."""
    lines = [
        (
            f"{one.row['date']:%d %b} {one.row['departs']:%H:%M}",
            f"{one.row['carrier']} {one.row['origin']}→{one.row['dest']}",
            f"{one.score:.0f}",
            max(one.alike - 1, 0),
            "  ".join(f"{name} {brief(value)} (+{nats:.0f})" for name, value, nats in one.why),
        )
        for one in strange
    ]
    listing(("scheduled", "flight", "nats", "alike", "because of (nats more than usual)"), lines)
    say("One flight per airport and hour; alike: how many more of that hour are flagged at 1%.")


def show_months(months: Sequence[Month], calibration: int, rows: Rows) -> None:
    """Score and alarms month by month; where the promise holds, where it does not, and why."""
    lines = [
        (
            MONTHS[one.number - 1][:3],
            "held out" if one.number <= LAST else "future",
            f"{one.rows:,}",
            f"{one.score:.1f}",
            *(f"{one.flagged[alpha]:.1%}" for alpha in ALPHAS),
            "  ".join(f"{name} +{nats:.1f}" for name, nats in one.moved(3) if nats >= 0.1),
        )
        for one in months
    ]
    head = ("", "", "rows", "score", *(f"flagged {alpha:.0%}" for alpha in ALPHAS), "moved most, in nats")
    listing(head, lines)
    print()
    holds = True
    for alpha in ALPHAS:
        before, after = (_rate(part, alpha) for part in (months[LAST - 1 : LAST], months[LAST:]))
        count = sum(one.rows for one in months[LAST - 1 : LAST])
        chance = 2 * np.sqrt(alpha * (1 - alpha) * (1 / count + 1 / calibration))
        holds = holds and before <= alpha + chance
        rates = f"held-out September {before:.2%} (chance: ±{chance:.2%})   October–December {after:.2%}"
        show([f"promised {alpha:.0%}   {rates}"])
    _say_why(months, rows, holds)


def _say_why(months: Sequence[Month], rows: Rows, holds: bool) -> None:
    """Why the promise fails where it fails, from the fields that moved most."""
    alpha = ALPHAS[0]
    worst = max(months[LAST:], key=lambda one: one.flagged[alpha])
    own = month(rows.year, worst.number)
    names = [name for name, _ in worst.moved(6) if UNITS.get(name, "°") != "°"][:2]  # those that have a mean
    means = {name: [pc.mean(table[name]).as_py() for table in (own, rows.fit)] for name in names}
    moved = " and ".join(f"{name} (mean {new:.4g}, before {old:.4g})" for name, (new, old) in means.items())
    say(
        f"""The promise is for rows like those that it was calibrated on, the last weeks before October: on held-out
        flights of September it {"holds" if holds else "FAILS"}. Nothing is promised for later months, which are other
        rows: {MONTHS[worst.number - 1]} differs most, above all in {moved}, and {worst.flagged[alpha] / alpha:.1f}
        times as many are flagged. Fit again as the seasons turn."""
    )


def _rate(months: Sequence[Month], alpha: float) -> float:
    """Share of flagged rows over some months."""
    return sum(one.flagged[alpha] * one.rows for one in months) / sum(one.rows for one in months)


# ------------------------------------------------------------------------------------------------ imputation, sampling


def show_imputation(hidden: dict[str, list[Hidden]], october: pa.Table, examples: int = 3) -> None:
    """Errors and coverage where cells were hidden, and a few of the cells."""
    lines = [
        (
            f"{one.field}, {UNITS[one.field]}",
            where,
            f"{len(one.truth):,}",
            f"{one.rmse:.2f}",
            f"{one.rmse_of_mean:.2f}",
            f"{one.coverage:.1%}",
        )
        for where, found in hidden.items()
        for one in found
    ]
    listing(("hidden", "in", "cells", "RMSE", "RMSE of the mean", "inside 90% interval"), lines)
    named = [(f"{one.field} in {where}", one) for where, found in hidden.items() for one in found]
    worse = [name for name, one in named if one.rmse >= one.rmse_of_mean]
    narrow = [name for name, one in named if one.coverage < 0.85]
    if worse:
        say(f"No better than the mean: {', '.join(worse)}; what fixes it lies outside the row.")
    if narrow:
        say(f"Intervals too narrow: {', '.join(narrow)}.")
    say("Some of October, with the truth in brackets:")
    print()
    cells: list[tuple[str, ...]] = []
    for at in np.linspace(0, october.num_rows - 1, examples + 2).astype(int)[1:-1]:
        row = october.slice(at, 1).to_pylist()[0]
        name = f"{row['date']:%d %b} {row['departs']:%H:%M} {row['origin']}→{row['dest']}"
        cells.append((name, *(_cell(one, at) for one in hidden["October"])))
    listing(("", *(one.field for one in hidden["October"])), cells)


def _cell(one: Hidden, at: int) -> str:
    """An imputed cell with its interval and, in brackets, the truth."""
    return f"{one.point[at]:.0f} in {one.low[at]:.0f}–{one.high[at]:.0f}  ({one.truth[at]:.0f})"


def show_fidelity(found: Fidelity, sampled: pa.Table) -> None:
    """How alike sampled and held-out rows are, with the ceiling, the floor and what is weakest."""
    names = {"sampled": "sampled", "real": "real (the ceiling)", "shuffled": "real, columns shuffled (the floor)"}
    lines = [
        (text, *(f"{value:.3f}" for value in found.mean(which)), f"{found.real_routes[which]:.1%}")
        for which, text in names.items()
    ]
    head = (f"{sampled.num_rows:,} rows, similarity to held-out rows", "columns", "pairs", "airline flies that route")
    listing(head, lines)
    own, ceiling, floor = (found.mean(which)[1] for which in ("sampled", "real", "shuffled"))
    alone = found.marginals["sampled"]
    weak = [f"{found.columns[at]} {alone[at]:.2f}" for at in np.argsort(alone)[:4]]
    gap = np.triu(found.pairs["real"] - found.pairs["sampled"], 1)
    worst = [np.unravel_index(at, gap.shape) for at in np.argsort(-gap, axis=None)[:3]]
    pairs = [f"{found.columns[a]} × {found.columns[b]} {found.pairs['sampled'][a, b]:.2f}" for a, b in worst]
    say(
        f"""Pairs are {(own - floor) / (ceiling - floor):.0%} of the way from floor to ceiling. Weakest columns:
        {" · ".join(weak)}. Weakest pairs: {" · ".join(pairs)}."""
    )
    say("Flights that never flew:")
    show([_flight(row) for row in sampled.slice(0, 3).to_pylist()], indent="    ")


def _flight(row: dict[str, Any]) -> str:
    when, route = f"{row['weekday']} {row['departs']:%H:%M}", f"{row['origin']}→{row['dest']}"
    flight = (
        f"{row['carrier']} {route}  {row['distance']:,} miles in {row['air_time']} min, {row['arr_delay']:+} min late"
    )
    return f"{when}  {flight}; {row['temp']:.0f} °F, wind {row['wind_speed']:.0f} mph"


# -------------------------------------------------------------------------------------------------------------- files


def show_files(out: Path) -> None:
    """What was written, and what to try next."""
    files = {
        "run/report.html": "a page on the model: open it in a browser",
        "run/bundle": "the model: arrays and ONNX graphs, answers without torch",
        "october.parquet": "the flights of October with their weather",
        "holes.parquet": "a thousand of them in which gust, pressure and air time are hidden",
        "strangest.csv": "the strangest of a hundred airports and hours, and why",
        "flights.png": "a page to look at",
    }
    width = len(str(out)) + 18
    show([f"{out / name!s:<{width}}{text}" for name, text in files.items()])
    beside = Path(sys.executable).with_name("vae")
    vae = os.path.relpath(beside) if beside.exists() else "vae"
    say("Try next:")
    print(f"    {vae} detect {out / 'run'} {out / 'october.parquet'} --alpha 0.001 --attribution")
    print(f"    {vae} impute {out / 'run'} {out / 'holes.parquet'} --interval 0.9 --out {out / 'filled.csv'}")
    print(f"    {vae} sample {out / 'run'} --rows 1000 --given dest=LAX --out {out / 'to-la.csv'}")


def brief(value: Any) -> str:
    """A value as short as it can be without losing what matters."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)

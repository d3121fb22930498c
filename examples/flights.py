"""A year of flights from New York: fit one model to January–September, then ask it everything.

python examples/flights.py [--out demo-output] [--seconds 100] [--seed 0]
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from flights_data import LAST, load, month, some, split
from flights_figure import Page, draw
from flights_report import (
    brief,
    show_contract,
    show_data,
    show_fidelity,
    show_files,
    show_imputation,
    show_likelihood,
    show_months,
    show_strangest,
    show_training,
)
from flights_tasks import Strange, by_month, embedding_map, fidelity, impute_holes, make_holes, nats, strangest
from flights_text import Clock, say

import vaekit as vk

HIDDEN = ("wind_gust", "pressure", "air_time")


def main() -> None:
    options = arguments()
    out, seed = options.out, options.seed
    out.mkdir(parents=True, exist_ok=True)
    clock = Clock()
    print("A year of flights from New York: one model, many questions  ·  vaekit", vk.__version__)

    with clock.part("Data"):
        rows = split(load(), seed)
        october = month(rows.year, LAST + 1)
        show_data(rows)
    with clock.part("Contract"):
        contract = make_contract(rows.fit)
        show_contract(contract)
    with clock.part("Training"):
        model = learn(rows.fit, contract, out / "run", seed, options.seconds)
        show_training(model, out / "run")
    with clock.part("Likelihood"):
        show_likelihood(model.evaluation, nats(model, some(rows.fit, 50_000, seed), some(october, 2_000, seed)))
    with clock.part("Strangest flights of October"):
        found = model.detect(october, alpha=0.01, attribution=True)
        strange = strangest(october, found, most=100)
        show_strangest(strange[:10])
    with clock.part("Months"):
        months = by_month(model, rows.held_out, rows.year, each=2_000, seed=seed)
        show_months(months, model.bundle.run["rows"]["calibration"], rows)
    with clock.part("Imputation"):
        past, holes_in_past = make_holes(rows.held_out, HIDDEN, 500, seed)
        asked, holes = make_holes(october, HIDDEN, 1_000, seed)
        hidden = impute_holes(model, rows.fit, asked, holes, HIDDEN, seed)
        before = impute_holes(model, rows.fit, past, holes_in_past, HIDDEN, seed)
        show_imputation({"January–September": before, "October": hidden}, asked)
    with clock.part("Sampling"):
        sampled = model.sample(10_000, seed=seed)
        show_fidelity(fidelity(model, rows.fit, rows.held_out, sampled, seed), sampled)
    with clock.part("Files"):
        mapped = some(rows.held_out, 6_000, seed)
        page = Page(
            months,
            october,
            found,
            strange,
            hidden,
            rows.held_out,
            sampled,
            embedding_map(model, mapped),
            model.evaluation,
        )
        draw(page, out / "flights.png")
        write(out, october, holes, strange)
        show_files(out)
    say(str(clock))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Fit one model to January–September of 2013, then ask it everything.")
    parser.add_argument("--out", type=Path, default=Path("demo-output"), help="folder for the results")
    parser.add_argument("--seconds", type=float, default=100.0, help="budget of training")
    parser.add_argument("--seed", type=int, default=0, help="the one seed")
    return parser.parse_args()


def make_contract(table: pa.Table) -> vk.Contract:
    """The inferred contract, with what only a person can know."""
    contract = vk.Contract.infer(table)
    contract = contract.replace("date", role="time")  # train on the past, calibrate on what came next
    contract = contract.replace("flight", role="ignore")  # a name, not an amount
    contract = contract.replace("dest", unseen="missing")  # a few airports are first flown to later
    contract = contract.replace("wind_dir", kind="category")  # 350° and 10° are close: an order would mislead
    return contract.fit(table)


def learn(table: pa.Table, contract: vk.Contract, run: Path, seed: int, seconds: float) -> vk.Model:
    """Fit in a fresh run folder, with progress."""
    if (run / "run.json").exists():  # of an earlier demo
        shutil.rmtree(run)
    return vk.fit(table, contract=contract, seed=seed, max_seconds=seconds, threads=1, out=run)


def write(out: Path, october: pa.Table, holes: pa.Table, strange: Sequence[Strange]) -> None:
    """October and the rows with holes as Parquet, the strangest flights as CSV."""
    pyarrow.parquet.write_table(october, out / "october.parquet")
    pyarrow.parquet.write_table(holes, out / "holes.parquet")
    rows = []
    for one in strange:
        why = "; ".join(f"{name}={brief(value)} (+{nats:.1f} nats)" for name, value, nats in one.why)
        rows.append(
            {"anomaly_score": round(one.score, 3), "p_value": one.p_value, "alike": one.alike, "why": why} | one.row
        )
    pyarrow.csv.write_csv(pa.Table.from_pylist(rows), out / "strangest.csv")


if __name__ == "__main__":
    main()

"""A1: anomaly detection on ADBench, one configuration of ours against seven detectors of PyOD."""

from __future__ import annotations

import hashlib
import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmarks.data import ADBENCH, Split, adbench
from benchmarks.registry import Outcome, Settings
from benchmarks.rivals.detectors import DETECTORS, detect, versions
from benchmarks.tools.cache import cached
from benchmarks.tools.statistics import Figures, mean_ranks, paired_bootstrap
from vaekit import Contract, ContractError, fit

GOAL = "mean AUROC and AUPR, and both mean ranks, above every rival's under both protocols; one configuration of ours"

PROTOCOLS = ("semi", "unsup")
METRICS = {"auroc": roc_auc_score, "aupr": average_precision_score}
QUICK_SETS = ("cardio", "Pima", "WBC", "thyroid", "Ionosphere")
CAP = 10_000
VERSION = 2  # of the splits and of how rivals are run: part of the cache's key
STEPS = 2_000  # optimiser steps of a fit of ours, early stopping aside
BATCH = 128
MOST_EPOCHS = 300
OURS: dict[str, Any] = {"batch_size": BATCH, "device": "cpu"}
COLUMN: dict[str, Any] = {"transform": "standard", "lattice": None, "options": {"scale": "optimal"}}
"""Every column is a number: standardised, continuous, normal with the optimal scale of its field."""
MOST_SECONDS = 60.0  # a guard only: no fit should come near it, so the scores do not hang on the machine's speed


def run(settings: Settings) -> Outcome:
    """Score every set under both protocols with ours and the rivals; print a table per protocol."""
    torch.set_num_threads(1)
    versions()  # says at once if the rivals are not installed
    sets, seeds = (QUICK_SETS, 1) if settings.quick else (ADBENCH, 3)
    kept, total, seconds = 0, 0, {name: 0.0 for name in ("ours", *DETECTORS)}
    figures = {
        (protocol, metric): {name: np.full((len(sets), seeds), np.nan) for name in seconds}
        for protocol in PROTOCOLS
        for metric in METRICS
    }
    for row, name in enumerate(sets):
        for protocol in PROTOCOLS:
            for column in range(seeds):
                seed = settings.seed + column
                split = adbench(settings.data, name, protocol, seed, CAP)
                for method in seconds:
                    scores, spent, hit = _scores(method, name, protocol, split, seed, quick=settings.quick)
                    seconds[method] += spent
                    kept, total = kept + hit, total + (method != "ours")
                    for metric, measure in METRICS.items():
                        figures[protocol, metric][method][row, column] = measure(split.labels, scores)
            shown = {m: figures[protocol, "auroc"][m][row].mean() for m in seconds}
            print(f"{name:12s} {protocol:5s} AUROC " + " ".join(f"{m} {v:.3f}" for m, v in shown.items()), flush=True)
    print(f"scores of rivals from the cache: {kept} of {total}; their seconds below are those of their first run")
    print("seconds of all fits and scores:", {name: round(value, 1) for name, value in seconds.items()})
    summary = {method: _summary(figures, method) for method in seconds}
    margins = _margins(figures, settings.seed)
    return Outcome(
        ours=summary.pop("ours"),
        rivals=summary,
        ratios={f"{protocol} {metric}": values for (protocol, metric), values in margins.items()},
        met=_met(figures),
        notes=[
            f"{len(sets)} sets, {seeds} seeds, at most {CAP:,} rows, cut and split alike for all; no fit sees a label",
            "rivals: PyOD's defaults on columns standardised with the training rows' mean and deviation; where test = "
            "train, the scores of the fit itself, so that no row is its own neighbour",
            "ours: the raw columns through its own contract, inferred from the training rows, every column then a "
            "number: standardised, continuous, normal with the optimal scale of its field (chosen on seven sets with "
            "another seed and cap; the default contract is worse here); anomaly_score of detect; a tenth of the rows "
            f"each for early stopping and calibration; at most {_steps(quick=settings.quick)} steps and {MOST_EPOCHS} "
            "epochs",
            f"cached scores of rivals: {kept} of {total}",
        ],
    )


def ours(split: Split, seed: int, *, quick: bool) -> NDArray[np.float64]:
    """Anomaly scores of the test rows; a row that the contract refuses is the strangest of all."""
    contract = Contract.infer(split.train)
    for name in contract.names("model"):
        contract = contract.replace(name, kind="number").replace(name, likelihood="gaussian", **COLUMN)
    rows = 0.8 * len(split.train)
    epochs = max(1, min(MOST_EPOCHS, round(_steps(quick=quick) * BATCH / rows)))
    model = fit(split.train, contract, seed=seed, epochs=epochs, max_seconds=MOST_SECONDS, progress=False, **OURS)

    def scored(rows: NDArray[np.float64]) -> NDArray[np.float64]:
        return model.detect(rows, alpha=0.5)["anomaly_score"].to_numpy()  # alpha does not enter the score

    try:
        return scored(split.test)
    except ContractError:
        fits = np.array([_fits(model.contract, row[None]) for row in split.test])
        scores = np.full(len(split.test), np.inf)
        scores[fits] = scored(split.test[fits])
        scores[~fits] = scores[fits].max() + 1.0
        return scores


def _steps(*, quick: bool) -> int:
    return STEPS // 2 if quick else STEPS


def _fits(contract: Contract, row: NDArray[np.float64]) -> bool:
    try:
        contract.validate(row)
    except ContractError:
        return False
    return True


def _scores(
    method: str, name: str, protocol: str, split: Split, seed: int, *, quick: bool
) -> tuple[NDArray[np.float64], float, bool]:
    """Scores, the seconds of fit and scoring, and whether they came from the cache."""
    if method == "ours":
        began = time.perf_counter()
        return ours(split, seed, quick=quick), time.perf_counter() - began, False
    content = hashlib.sha256(split.train.tobytes() + split.test.tobytes()).hexdigest()
    key = (VERSION, method, protocol, seed, content, *versions())
    return cached(
        f"A1.{name}.{protocol}.{seed}.{method}",
        key,
        lambda: detect(method, split, seed, resident=protocol == "unsup"),
    )


def _summary(figures: dict[tuple[str, str], Figures], method: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for (protocol, metric), values in figures.items():
        part = found.setdefault(protocol, {})
        part[metric] = round(float(values[method].mean()), 4)
        part[f"rank_{metric}"] = round(mean_ranks(values)[method], 2)
    return found


def _margins(figures: dict[tuple[str, str], Figures], seed: int) -> dict[tuple[str, str], dict[str, str]]:
    """Ours minus each rival with its 95 % interval; printed, and returned as text."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for (protocol, metric), values in figures.items():
        ranks = mean_ranks(values)
        print(f"\n{protocol} {metric}: mean, mean rank, ours minus rival [95 % of a paired bootstrap], share above 0")
        print(f"  {'ours':8s} {values['ours'].mean():.4f}  {ranks['ours']:.2f}")
        for rival in DETECTORS:
            gap = paired_bootstrap(values["ours"], values[rival], seed)
            text = f"{gap['difference']:+.3f} [{gap['low']:+.3f}, {gap['high']:+.3f}]"
            print(f"  {rival:8s} {values[rival].mean():.4f}  {ranks[rival]:.2f}  {text}  {gap['better']:.3f}")
            found.setdefault((protocol, metric), {})[rival] = text
    return found


def _met(figures: dict[tuple[str, str], Figures]) -> bool:
    """Ours above every rival in mean and in mean rank, for both metrics under both protocols."""
    for values in figures.values():
        ranks, means = mean_ranks(values), {name: v.mean() for name, v in values.items()}
        if any(means["ours"] <= means[r] or ranks["ours"] >= ranks[r] for r in DETECTORS):
            return False
    return True

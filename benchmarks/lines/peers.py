"""PEERS: pythae's own VAE, beta-VAE, IWAE and VampPrior beside ours: same networks, budget and seeds, one estimator."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch

import vaekit as vk
from benchmarks.cases import InCases, together
from benchmarks.data import pictures, vectors
from benchmarks.registry import Outcome, Settings
from benchmarks.rivals.pythaes import Budget, Peer, fit_peer, reported
from benchmarks.tools.pictures import bound_of
from vaekit.training import load_config, train
from vaekit.training.batches import Resident

GOAL = "-log p(x) of test images of binarised MNIST, by our estimator, at least as good as that of pythae on each model"

ROWS, QUICK_ROWS = 10_000, 2_000
BUDGET, QUICK_BUDGET = Budget(400, 20, 40, 100, 1e-3), Budget(100, 10, 3, 100, 1e-3)
SEEDS = 3
MODELS: dict[str, tuple[dict[str, Any], str, dict[str, Any]]] = {  # ours, and its name and options in pythae
    "VAE": ({}, "VAE", {}),
    "beta-VAE": ({"beta": 4.0}, "BetaVAE", {"beta": 4.0}),
    "IWAE": ({"objective": "iwae", "samples": 8}, "IWAE", {"number_samples": 8}),
    "VampPrior": ({"prior": {"name": "vamp", "components": 50}}, "VAMP", {"number_components": 50}),
}
WARMUP = 0.1  # of VampPrior, which pythae warms up, too


def run(settings: Settings) -> Outcome:
    """All cases, put together."""
    return together(cast(InCases, sys.modules[__name__]), settings)


def cases(settings: Settings) -> tuple[str, ...]:
    """Each model of each side with each seed."""
    seeds = [settings.seed + k for k in range(1 if settings.quick else SEEDS)]
    return tuple(f"{name}.{side}.{seed}" for seed in seeds for name in MODELS for side in ("ours", "pythae"))


def case(name: str, settings: Settings) -> dict[str, Any]:
    """Train one model, and evaluate it by the estimator that all are evaluated by."""
    torch.set_num_threads(1)
    model_name, side, told = name.split(".")
    seed, budget = int(told), QUICK_BUDGET if settings.quick else BUDGET
    data = pictures(settings.data, "mnist")
    bits = (data.x_train[: QUICK_ROWS if settings.quick else ROWS].reshape(-1, 784) > 127).astype(np.float32)
    rows, samples = (100, 50) if settings.quick else (1_000, 500)
    order = np.random.default_rng(0).permutation(len(data.x_test))[:rows]
    test = (data.x_test[order].reshape(-1, 784) > 127).astype(np.float32)
    ours, kind, options = MODELS[model_name]
    contract = vk.Contract.infer(vectors(bits)).fit(vectors(bits))
    blocks = Resident(contract.encode(vectors(test)), torch.device("cpu")).take(slice(None))
    if side == "pythae":
        if kind == "VAMP":
            options = options | {"linear_scheduling_steps": max(1, round(WARMUP * budget.epochs))}
        model, seconds = fit_peer(kind, bits, budget, seed, **options)
        nats, error, elbo = bound_of(Peer(model, budget.latent), blocks, samples, seed=0)
        own = {"own loss": round(reported(model, test), 3)}
    else:
        config = load_config(None).override(
            width=budget.width, depth=1, latent=budget.latent, epochs=budget.epochs, batch_size=budget.batch,
            learning_rate=budget.rate, rate_warmup=0.0, optimizer="adam", weight_decay=0.0, mask=0.0,
            valid=0.05, calibration=0.0, patience=1000, warmup=WARMUP if kind == "VAMP" else 0.0, seed=seed,
            device="cpu", threads=1, compile=False, choose=False, **ours,
        )  # fmt: skip
        trained = train(vectors(bits), contract, config, progress=False)
        seconds, own = trained.history[-1]["seconds"], {}
        blocks = Resident(trained.contract.encode(vectors(test)), torch.device("cpu")).take(slice(None))
        nats, error, elbo = bound_of(trained.vae.eval(), blocks, samples, seed=0)
    found = {"nats": round(nats, 3), "error": round(error, 3), "ELBO": round(elbo, 3)}
    return found | own | {"trained": round(seconds, 1)}


def gather(found: Mapping[str, dict[str, Any]], settings: Settings) -> Outcome:
    """Means over seeds, model by model."""
    sides: dict[str, dict[str, dict[str, float]]] = {"ours": {}, "pythae": {}}
    for name in MODELS:
        for side, table in sides.items():
            fits = [one for case, one in found.items() if case.startswith(f"{name}.{side}.")]
            if fits:
                table[name] = {key: round(float(np.mean([fit[key] for fit in fits])), 3) for key in fits[0]}
                table[name]["spread"] = round(float(np.std([fit["nats"] for fit in fits])), 3)
    both = [name for name in MODELS if name in sides["ours"] and name in sides["pythae"]]
    better = {name: round(sides["pythae"][name]["nats"] - sides["ours"][name]["nats"], 3) for name in both}
    budget = QUICK_BUDGET if settings.quick else BUDGET
    return Outcome(
        ours=sides["ours"],
        rivals={"pythae": sides["pythae"]},
        ratios={"nats below pythae": better},
        met=len(both) == len(MODELS) and all(gain >= 0.0 for gain in better.values()),
        notes=[
            f"784-{budget.width}-{budget.latent}, {budget}; Adam, half cosine to 1 % from the first step on, a "
            "twentieth of the rows for the choice of the best epoch, on both sides; nats: importance-weighted "
            "bound of 500 draws on 1,000 test rows",
            "own loss: what pythae tells of the test images: with beta-VAE weighted, with IWAE the weighted mean of "
            "log-weights, which is no bound; spread: standard deviation over seeds",
        ],
    )

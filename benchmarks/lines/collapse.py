"""COLLAPSE: a decoder so strong that a plain VAE collapses, and what restores the information in its code."""

from __future__ import annotations

import itertools
import math
import sys
import time
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

import vaekit as vk
from benchmarks.cases import InCases, together
from benchmarks.data import vectors
from benchmarks.registry import Outcome, Settings
from vaekit.arrays import Blocks
from vaekit.nn.autoregressive import Autoregressive
from vaekit.nn.build import build
from vaekit.nn.vae import VAE, Params
from vaekit.training.batches import Resident
from vaekit.training.config import Config
from vaekit.training.information import latent_figures
from vaekit.training.loop import Loop
from vaekit.training.stages import default_stages
from vaekit.training.validate import validate

__all__ = ["GOAL", "REMEDIES", "Chained", "case", "cases", "fitted", "gather", "rows", "run"]

GOAL = (
    "a plain VAE whose decoder sees the columns before each one collapses (below 0.1 nats of mutual information), and "
    "warm-up, cyclical warm-up, free bits, capacity, lagging inference and a weaker decoder each restore at least 1 nat"
)

BITS, FLIPPED = 4, 0.03
COUNT, EPOCHS, SEEDS = 4_000, 20, 3
BASE = {"batch_size": 128, "mask": 0.0, "warmup": 0.0, "patience": 999, "width": 64, "depth": 3, "latent": 8}
REMEDIES: dict[str, dict[str, Any]] = {
    "plain": {},
    "warm-up": {"warmup": 0.5},
    "cyclical": {"schedules": {"beta": {"kind": "cyclical", "cycles": 4}}},
    "free-bits": {"free_bits": 0.5},
    "capacity": {"objective": {"name": "capacity", "capacity": 4.0, "gamma": 5.0}, "warmup": 0.3},
    "lagging": {"lagging": 20},
    "hidden-context": {"hidden": 0.7},
    "narrow-context": {"window": 2},
}
LEAST = 1.0  # nats


class Chained(VAE):
    """A decoder that also sees, for each column, columns before it: it can do without the code.

    Two ways to weaken it: a share of the columns is hidden in training (Bowman et al., Generating sentences from
    a continuous space, 2016, section 3.2), or it sees the last few columns only.
    """

    past: nn.Module
    hidden: float = 0.0
    window: int | None = None

    def decode(self, z: Mapping[str, Tensor], blocks: Blocks) -> Params:
        """Logits from the code, and from the columns before."""
        found = super().decode(z, blocks)
        (name,) = self.names
        seen = blocks[name].values.flatten(1)
        if self.hidden:
            seen = 2.0 * seen - 1.0  # zero stands for what is hidden
            seen = seen * (torch.rand_like(seen) >= self.hidden) if self.training else seen
        if self.window is None:
            more = self.past(seen)[..., 0]
        else:
            last = F.pad(seen, (self.window, 0))[:, :-1].unfold(1, self.window, 1)  # shape: (B, columns, window)
            more = self.past(last.flatten(1)[..., None])[..., 0]
        return {name: {key: value + more.reshape(value.shape[1:]) for key, value in found[name].items()}}


def run(settings: Settings) -> Outcome:
    """Fit the plain model and each remedy on the same rows, networks and epochs."""
    return together(cast(InCases, sys.modules[__name__]), settings)


def cases(settings: Settings) -> tuple[str, ...]:
    """One case per remedy, all seeds of it."""
    return tuple(REMEDIES)


def case(name: str, settings: Settings) -> dict[str, Any]:
    """Figures of each seed."""
    seeds = [settings.seed + k for k in range(1 if settings.quick else SEEDS)]
    return {"fits": [fitted(COUNT, EPOCHS, seed, **REMEDIES[name]) for seed in seeds]}


def gather(found: Mapping[str, dict[str, Any]], settings: Settings) -> Outcome:
    """The table, and what each remedy restores."""
    figures = ("nats", "kl", "information", "active_units", "aggregate_gap")
    print(f"\n{'':16s} {'nats':>7s} {'KL':>6s} {'I(x; z)':>8s} {'active':>7s} {'gap':>6s} {'verdict':>10s} {'s':>5s}")
    for name, one in found.items():
        nats, kl, information, active, gap = (float(np.mean([fit[key] for fit in one["fits"]])) for key in figures)
        verdicts = "/".join(sorted({fit["verdict"] for fit in one["fits"]}))
        told = (
            f"{nats:7.3f} {kl:6.2f} {information:8.3f} {active:7.1f} {gap:6.2f} {verdicts:>10s} {one['seconds']:5.0f}"
        )
        print(f"{name:16s} {told}")
    told = {name: [fit["information"] for fit in one["fits"]] for name, one in found.items()}
    plain = told.pop("plain")
    restored = all(fit["verdict"] != "collapsed" for name in told for fit in found[name]["fits"])
    return Outcome(
        ours={
            name: {
                "information": float(np.mean(values)),
                "least": min(values),
                "nats": float(np.mean([fit["nats"] for fit in found[name]["fits"]])),
            }
            for name, values in told.items()
        },
        rivals={"plain": {"information": float(np.mean(plain)), "most": max(plain)}},
        ratios={name: float(np.mean(values) - np.mean(plain)) for name, values in told.items()},
        met=max(plain) < 0.1 and restored and all(min(values) >= LEAST for values in told.values()),
        notes=[
            f"rows: all {2**BITS - 1} parities of {BITS} random bits, each flipped with probability {FLIPPED}: columns "
            f"are independent in pairs, the row as a whole has {BITS * math.log(2):.2f} nats of code to know",
            "nats: importance-weighted bound of 50 draws on 1,000 held-out rows; I(x; z) and active units on the same",
            f"{len(found['plain']['fits'])} seed(s), {COUNT:,} rows, {EPOCHS} epochs each; hidden-context: 70 % of the "
            "columns before are hidden in training; narrow-context: the two columns before alone",
        ],
    )


def rows(count: int, seed: int) -> NDArray[np.float32]:
    """All parities of a few random bits, with noise: shape (count, 15)."""
    rng = np.random.default_rng(seed)
    masks = np.array([mask for mask in itertools.product((0, 1), repeat=BITS) if any(mask)])
    clean = rng.integers(0, 2, (count, BITS)) @ masks.T % 2
    return (clean ^ (rng.random(clean.shape) < FLIPPED)).astype(np.float32)


def fitted(
    count: int, epochs: int, seed: int, hidden: float = 0.0, window: int | None = None, **options: Any
) -> dict[str, Any]:
    """Figures of one fit, in nats per row, judged on 1,000 rows that it did not train on."""
    began = time.perf_counter()
    values = rows(count + 1_000, seed)
    contract = vk.Contract.infer(vectors(values)).fit(vectors(values[:count]))
    train, held = (
        Resident(contract.encode(vectors(part)), torch.device("cpu")) for part in (values[:count], values[count:])
    )
    config = Config().override(**{**BASE, "epochs": epochs, **options})
    architecture, training = config.architecture(count, values.shape[1]), config.training.sized(count)
    plain = build(contract.blocks(), architecture, seed)
    parts = {"encoder": plain.encoder, "latent": plain.latent, "decoder": plain.decoder}
    vae = Chained(contract.blocks(), heads=dict(zip(plain.names, plain.heads, strict=True)), **parts)
    vae.past, vae.hidden, vae.window = _past(values.shape[1], window, seed), hidden, window
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        loop = Loop(vae, train, held, training, seed)
        loop.run(default_stages(training, -(-count // training.batch_size)))
        nats = -validate(vae, held, seed, samples=50)["bound"]
        figures = latent_figures(vae, held.take(slice(None)), seed)
    finally:
        torch.set_num_threads(before)
    kl = float(sum(figures["kl"].values()))
    return {**figures, "kl": kl, "nats": nats, "seconds": round(time.perf_counter() - began, 1)}


def _past(columns: int, window: int | None, seed: int) -> nn.Module:
    """From columns before each one to a logit: of all of them, or of the last few."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if window is None:
            made = Autoregressive(columns, 1, 120)
            nn.init.kaiming_uniform_(made.leave.weight, a=math.sqrt(5.0))
            return made
        return nn.Sequential(
            nn.Conv1d(columns * window, columns * 16, 1, groups=columns),
            nn.SiLU(),
            nn.Conv1d(columns * 16, columns, 1, groups=columns),
        )

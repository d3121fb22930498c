"""COLLAPSE: a decoder so strong that a plain VAE collapses, and what restores the information in its code."""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import vaekit as vk
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

__all__ = ["GOAL", "REMEDIES", "Chained", "fitted", "rows"]

GOAL = (
    "a plain VAE whose decoder sees the columns before each one collapses (below 0.1 nats of mutual information), and "
    "warm-up, cyclical warm-up, free bits, capacity, lagging inference and a weaker decoder each restore at least 1 nat"
)

BITS, FLIPPED = 4, 0.03
BASE = {"batch_size": 128, "mask": 0.0, "warmup": 0.0, "patience": 999, "width": 64, "depth": 3, "latent": 8}
REMEDIES: dict[str, dict[str, Any]] = {
    "plain": {},
    "warm-up": {"warmup": 0.5},
    "cyclical": {"schedules": {"beta": {"kind": "cyclical", "cycles": 4}}},
    "free bits": {"free_bits": 0.5},
    "capacity": {"objective": {"name": "capacity", "capacity": 4.0, "gamma": 5.0}, "warmup": 0.3},
    "lagging": {"lagging": 20},
    "weaker decoder": {"strong": False},
}
LEAST = 1.0  # nats


class Chained(VAE):
    """A decoder that also sees, for each column, the columns before it: it can do without the code."""

    past: nn.Module

    def decode(self, z: dict[str, Tensor], blocks: Blocks) -> Params:
        """Logits from the code, and from the columns before."""
        found = super().decode(z, blocks)
        (name,) = self.names
        more = self.past(blocks[name].values.flatten(1))[..., 0]
        return {name: {key: value + more.reshape(value.shape[1:]) for key, value in found[name].items()}}


@dataclass(frozen=True)
class Fitted:
    """Figures of one fit on held-out rows, in nats per row."""

    nats: float
    figures: dict[str, Any]
    seconds: float


def run(settings: Settings) -> Outcome:
    """Fit the plain model and each remedy on the same rows, networks and epochs; print the table."""
    count, epochs = 4_000, 20
    seeds = [settings.seed] if settings.quick else [settings.seed + k for k in range(3)]
    found = {name: [fitted(count, epochs, seed, **options) for seed in seeds] for name, options in REMEDIES.items()}
    print(f"\n{'':16s} {'nats':>7s} {'KL':>6s} {'I(x; z)':>8s} {'active':>7s} {'gap':>6s} {'verdict':>10s} {'s':>5s}")
    for name, fits in found.items():
        kl, information, active, gap = (
            float(np.mean([value(one.figures) for one in fits]))
            for value in (_kl, lambda f: f["information"], lambda f: f["active_units"], lambda f: f["aggregate_gap"])
        )
        verdicts = "/".join(sorted({one.figures["verdict"] for one in fits}))
        nats, seconds = (float(np.mean([getattr(one, key) for one in fits])) for key in ("nats", "seconds"))
        told = f"{nats:7.3f} {kl:6.2f} {information:8.3f} {active:7.1f} {gap:6.2f} {verdicts:>10s} {seconds:5.0f}"
        print(f"{name:16s} {told}")
    told = {name: [one.figures["information"] for one in fits] for name, fits in found.items()}
    plain = told.pop("plain")
    return Outcome(
        ours={name: {"information": float(np.mean(values)), "least": min(values)} for name, values in told.items()},
        rivals={"plain": {"information": float(np.mean(plain)), "most": max(plain)}},
        ratios={name: float(np.mean(values) - np.mean(plain)) for name, values in told.items()},
        met=max(plain) < 0.1 and all(min(values) >= LEAST for values in told.values()),
        notes=[
            f"rows: all {2**BITS - 1} parities of {BITS} random bits, each flipped with probability {FLIPPED}: columns "
            f"are independent in pairs, the row as a whole has {BITS * math.log(2):.2f} nats of code to know",
            "nats: importance-weighted bound of 50 draws on 1,000 held-out rows; I(x; z) and active units on the same",
            f"{len(seeds)} seed(s), {epochs} epochs each; the weaker decoder sees the code alone",
        ],
    )


def _kl(figures: dict[str, Any]) -> float:
    return float(sum(figures["kl"].values()))


def rows(count: int, seed: int) -> NDArray[np.float32]:
    """All parities of a few random bits, with noise: shape (count, 15)."""
    rng = np.random.default_rng(seed)
    masks = np.array([mask for mask in itertools.product((0, 1), repeat=BITS) if any(mask)])
    clean = rng.integers(0, 2, (count, BITS)) @ masks.T % 2
    return (clean ^ (rng.random(clean.shape) < FLIPPED)).astype(np.float32)


def fitted(count: int, epochs: int, seed: int, strong: bool = True, **options: Any) -> Fitted:
    """One fit, judged on 1,000 rows that it did not train on."""
    began = time.perf_counter()
    values = rows(count + 1_000, seed)
    contract = vk.Contract.infer(vectors(values)).fit(vectors(values[:count]))
    train, held = (
        Resident(contract.encode(vectors(part)), torch.device("cpu")) for part in (values[:count], values[count:])
    )
    config = Config().override(**{**BASE, "epochs": epochs, **options})
    architecture, training = config.architecture(count, values.shape[1]), config.training.sized(count)
    vae = build(contract.blocks(), architecture, seed)
    if strong:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            past = Autoregressive(values.shape[1], 1, 120)
            nn.init.kaiming_uniform_(past.leave.weight, a=math.sqrt(5.0))
        parts = {"encoder": vae.encoder, "latent": vae.latent, "decoder": vae.decoder}
        vae = Chained(contract.blocks(), heads=dict(zip(vae.names, vae.heads, strict=True)), **parts)
        vae.past = past
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        loop = Loop(vae, train, held, training, seed)
        loop.run(default_stages(training, -(-count // training.batch_size)))
        nats = -validate(vae, held, seed, samples=50)["bound"]
        figures = latent_figures(vae, held.take(slice(None)), seed)
    finally:
        torch.set_num_threads(before)
    return Fitted(nats, figures, time.perf_counter() - began)

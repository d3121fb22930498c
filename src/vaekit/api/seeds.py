"""Models of several seeds on the same splits: how much of a figure is chance, and which of them to keep."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from vaekit.errors import ConfigError
from vaekit.files import write_file

if TYPE_CHECKING:
    from vaekit.api.model import Model
    from vaekit.fields.contract import Contract
    from vaekit.training import Config, Trained

    One = Callable[[Contract, Config, Path | None, bool], tuple[Trained, Model]]

__all__ = ["fit_seeds", "main_figures", "refuse_other_runs", "spread"]

_KEPT = ("contract.json", "run.json", "metrics.jsonl")  # of the best run, beside its bundle


def fit_seeds(
    one: One,
    contract: Contract,
    config: Config,
    seeds: int,
    folder: Path | None,
    *,
    resume: bool = False,
    progress: bool = False,
) -> tuple[Trained, Model]:
    """Fit a model for each of several seeds and keep the best by validation.

    Splits, held-out rows and the draws of their figures are those of the first seed throughout, and so are likelihoods
    that are chosen by pilot fits: models differ in first weights, order of rows and noise alone.

    Args:
        one: Fits one model, and writes its bundle: contract, configuration, run folder, whether it goes on with a run.
        contract: The contract.
        config: The configuration of the first seed.
        seeds: Number of models, at least 2.
        folder: Each run goes into its ``seed-<seed>``, a summary into ``seeds.json``.
        resume: Go on with runs that are there.
        progress: Say which seed is fitted on standard error.

    Returns:
        What was trained and its model; ``seeds`` of its evaluation holds `spread` of the main figures.

    Raises:
        ConfigError: If fewer than 2 models are asked for.
    """
    if not isinstance(seeds, int) or isinstance(seeds, bool) or seeds < 2:
        raise ConfigError(f"seeds is a number of models, at least 2: one has no spread; got {seeds!r}")
    told: dict[int, dict[str, float]] = {}
    kept: tuple[Trained, Model] | None = None
    best = config.seed
    for seed in range(config.seed, config.seed + seeds):
        if progress:
            print(f"seed {seed} ({len(told) + 1} of {seeds})", file=sys.stderr)
        own = msgspec.structs.replace(config, seed=seed, split_seed=config.rows_seed)
        if kept is not None:  # likelihoods are chosen once
            own = msgspec.structs.replace(own, training=msgspec.structs.replace(config.training, choose=False))
        home = None if folder is None else folder / f"seed-{seed}"
        trained, model = one(contract, own, home, resume and home is not None)
        contract = trained.contract
        told[seed] = main_figures(trained.history, model.evaluation)
        if kept is None or told[seed]["validation"] > told[best]["validation"]:
            kept, best = (trained, model), seed
    assert kept is not None
    kept[1].evaluation["seeds"] = {"best": best, **spread(told)}
    if folder is not None and kept[0].leads:
        for name in _KEPT:
            write_file(folder / name, (folder / f"seed-{best}" / name).read_bytes())
        write_file(folder / "seeds.json", msgspec.json.format(msgspec.json.encode(kept[1].evaluation["seeds"])))
    return kept


def main_figures(history: Sequence[dict[str, Any]], evaluation: dict[str, Any]) -> dict[str, float]:
    """What is compared between seeds.

    Args:
        history: Metrics of training, one mapping per validation.
        evaluation: Held-out figures.

    Returns:
        ``validation`` (what the best weights were chosen by), held-out ``elbo``, ``iwae_64`` and ``kl`` in nats per
        row, ``active_units``, and ``information`` where it is known.
    """
    latent = evaluation["latent"]
    found = {
        "validation": history[-1]["best"],
        "elbo": evaluation["elbo"],
        "iwae_64": evaluation["iwae_64"],
        "kl": sum(latent["kl"].values()),
        "active_units": float(latent["active_units"]),
    }
    return found if latent["information"] is None else found | {"information": latent["information"]}


def spread(told: dict[int, dict[str, float]]) -> dict[str, Any]:
    """Mean and standard deviation (of a sample: over n - 1) of each figure over seeds.

    Args:
        told: Seed to figures.

    Example:
        >>> spread({0: {"elbo": -1.0}, 1: {"elbo": -3.0}})["figures"]["elbo"]["mean"]
        -2.0
    """
    figures = {name: [one[name] for one in told.values()] for name in next(iter(told.values()))}
    return {
        "seeds": list(told),
        "figures": {
            name: {"mean": float(np.mean(values)), "std": float(np.std(values, ddof=1)), "values": values}
            for name, values in figures.items()
        },
    }


def refuse_other_runs(folder: Path | None, seeds: int | None) -> None:
    """Refuse a folder with a run of one seed where several are asked for, and the other way round.

    Raises:
        ConfigError: If it holds the other.
    """
    if folder is None:
        return
    one, several = (folder / "checkpoints").exists(), next(folder.glob("seed-*/checkpoints"), None) is not None
    if several and seeds is None:
        raise ConfigError(f"{folder} holds runs of several seeds; give seeds=N (--seeds N), or choose another folder")
    if one and seeds is not None:
        raise ConfigError(f"{folder} holds a run of one seed; leave seeds out, or choose another folder")

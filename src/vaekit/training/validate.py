"""Validation: the ELBO and its parts on held-out rows; every mean is over rows, whatever the batch size."""

from __future__ import annotations

import math
from typing import Any

import torch

from vaekit.arrays import draw
from vaekit.nn.vae import VAE
from vaekit.training.batches import Resident
from vaekit.training.information import latent_figures
from vaekit.training.ranks import Ranks

__all__ = ["validate"]

_LATENT_ROWS = 256  # every draw is compared with every row


def validate(
    vae: VAE, rows: Resident, seed: int, batch: int = 1024, samples: int = 1, ranks: Ranks | None = None
) -> dict[str, Any]:
    """ELBO, reconstruction, KL per dimension and nats per field, in nats per row, with one fixed draw of noise.

    Args:
        vae: The model.
        rows: Held-out rows, B of them.
        seed: Seed of the draw.
        batch: Rows at a time; the figures do not depend on it.
        ranks: The processes that share the rows.
        samples: Samples K of the bound; the other figures are means over them.

    Returns:
        ``bound`` (importance-weighted; the ELBO with one sample), ``elbo``, ``reconstruction`` (mean log p(x | z)),
        ``kl`` (mean over rows of the total), ``kl_per_dimension`` {group: [L]} where closed forms exist, ``nats``
        {field: mean of -log p(x_f | z)}, ``latent`` (what z tells of the first rows, see `latent_figures`).
    """
    noise = {
        name: torch.from_numpy(value).to(rows.device)
        for name, value in draw(vae.latent.noise, seed, samples, len(rows)).items()
    }
    sums: dict[str, torch.Tensor] = {}

    def add(name: str, value: torch.Tensor) -> None:
        total = value.double().sum(0)
        sums[name] = sums[name] + total if name in sums else total

    vae.eval()
    with torch.inference_mode():
        mine = ranks.part(len(rows)) if ranks and len(rows) >= ranks.count else slice(0, len(rows))
        for start in range(mine.start, mine.stop, batch):
            part = slice(start, min(start + batch, mine.stop))
            terms = vae(rows.take(part), {name: value[:, part] for name, value in noise.items()}).terms
            log_weight = terms.log_weight()
            add("bound", torch.logsumexp(log_weight, 0) - math.log(samples))
            add("elbo", log_weight.mean(0))
            add("reconstruction", terms.reconstruction().mean(0))
            for name, log_px in terms.log_px.items():
                add(f"nats:{name}", -log_px.mean(0))
            for name, kl in terms.kl.items():
                if kl is not None:
                    add(f"kl:{name}", kl)
        if ranks and len(rows) >= ranks.count:
            ranks.add(list(sums.values()))
    count = len(rows)
    mean: dict[str, Any] = {name: (total / count).tolist() for name, total in sums.items()}
    nats = {
        field: value
        for name, spec in vae.specs.items()
        if f"nats:{name}" in mean
        for field, value in zip(spec.fields, mean[f"nats:{name}"], strict=True)
    }
    found = {
        "bound": mean["bound"],
        "elbo": mean["elbo"],
        "reconstruction": mean["reconstruction"],
        "kl": mean["reconstruction"] - mean["elbo"],
        "kl_per_dimension": {name.removeprefix("kl:"): value for name, value in mean.items() if name.startswith("kl:")},
        "nats": nats,
        "latent": latent_figures(vae, rows.take(slice(0, _LATENT_ROWS)), seed),
    }
    return found if ranks is None else ranks.agree(found)

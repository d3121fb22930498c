"""What the latent space tells about rows, while it is trained: the figures by which a collapse shows."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from vaekit.arrays import Blocks, draw, middle
from vaekit.errors import ConfigError
from vaekit.metrics.latent import active_units, collapse
from vaekit.nn.vae import VAE

__all__ = ["latent_figures"]

_CELLS = 2**22  # values of pairs of draw and row at a time


@torch.inference_mode()
def latent_figures(vae: VAE, blocks: Blocks, seed: int) -> dict[str, Any]:
    """KL, active units, mutual information and aggregate gap of B rows, from one draw of each.

    The aggregate posterior is the mixture of the posteriors of these rows, ``q(z) = 1/B Σ_j q(z | x_j)``. With it
    ``E KL(q(z | x) || p(z)) = I(x; z) + KL(q(z) || p(z))``, so the two parts of the KL are what z tells of x, and how
    far codes of real rows lie from what the prior draws. The estimate of I is at most log B; where it comes near, more
    of the KL is information than it says.

    Args:
        vae: The model, in evaluation mode.
        blocks: The rows.
        seed: Seed of the draw.

    Returns:
        ``kl`` {group: nats per row}, ``active_units`` of ``units``, ``information`` and ``aggregate_gap`` (nats; None
        where the posterior knows the density of its own draws only), ``information_most`` (log B), what the structure
        reports of itself, and the ``verdict``: ``ok``, ``partial`` or ``collapsed``.

    References:
        Hoffman & Johnson, ELBO surgery, 2016, eq. 8. Burda, Grosse & Salakhutdinov 2016, section 5.2 (active units).
    """
    h, condition = vae.encoder(blocks), vae.conditioning(blocks)
    rows, noises = len(h), vae.latent.noise

    def on_device(spec: Any) -> dict[str, Tensor]:
        return {name: torch.from_numpy(value).to(h) for name, value in spec.items()}

    groups = vae.latent(h, condition, on_device(draw(noises, seed, 1, rows)))
    ratio = torch.stack([group.log_q - group.log_p for group in groups]).sum(0).mean()
    kl = {
        group.name: float((group.log_q - group.log_p).mean() if group.kl is None else group.kl.sum(-1).mean())
        for group in groups
    }
    centres = vae.latent(h, condition, on_device(middle(noises, 1, rows)))
    active = sum(int(active_units(group.z[0].cpu().numpy()).sum()) for group in centres)
    units = sum(vae.latent.groups.values())
    try:
        information = _information(vae, h, condition, {group.name: group.z[0] for group in groups})
    except ConfigError:  # densities of own draws only
        information = None
    own = vae.latent.figures()
    return {
        "kl": kl,
        "active_units": active,
        "units": units,
        "information": information,
        "information_most": math.log(rows),
        "aggregate_gap": None if information is None else float(ratio) - information,
        **own,
        "verdict": collapse(kl, active, units, information, own.get("dead_codes", 0.0)),
    }


def _information(vae: VAE, h: Tensor, condition: Tensor | None, z: dict[str, Tensor]) -> float:
    """Mean of log q(z_b | x_b) - log q(z_b) for one draw of each row, z (B, L)."""
    rows = len(h)
    step, total = max(1, _CELLS // (rows * h.shape[-1])), 0.0
    for start in range(0, rows, step):
        some = {name: value[start : start + step, None].expand(-1, rows, -1) for name, value in z.items()}
        table = vae.latent.log_q(h, condition, some)  # shape: (step, B), draw by row
        own = table[torch.arange(len(table)), torch.arange(start, start + len(table))]
        total += float((own - torch.logsumexp(table, 1) + math.log(rows)).double().sum())
    return total / rows

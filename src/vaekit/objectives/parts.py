"""What several objectives ask of a pass."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vaekit.errors import ConfigError
from vaekit.nn.posteriors import DiagonalNormal
from vaekit.nn.vae import Pass

__all__ = ["critic_net", "diagonal", "draws", "spread"]


def diagonal(passed: Pass, objective: str) -> DiagonalNormal:
    """The posteriors of all groups side by side, where each is a diagonal normal.

    Raises:
        ConfigError: If a group has another posterior.
    """
    for name, group in passed.groups.items():
        if not isinstance(group.q, DiagonalNormal):
            kind = "one that depends on draws above it, or none" if group.q is None else type(group.q).__name__
            raise ConfigError(f"{objective} needs diagonal normal posteriors; that of group {name!r} is {kind}")
    found = [group.q for group in passed.groups.values() if isinstance(group.q, DiagonalNormal)]
    return DiagonalNormal(torch.cat([q.mean for q in found], -1), torch.cat([q.log_std for q in found], -1))


def draws(passed: Pass, objective: str) -> Tensor:
    """One draw of all groups side by side, (B, L).

    Raises:
        ConfigError: If z was enumerated, so that there are no draws.
    """
    if passed.terms.weights is not None:
        raise ConfigError(f"{objective} works on draws of z, but this structure enumerates its codes in training")
    return torch.cat([group.z[0] for group in passed.groups.values()], -1)


def spread(value: Tensor, rows: int) -> Tensor:
    """A value of the whole batch as a term of every row, (B,)."""
    return value.expand(rows)


def critic_net(inputs: int, hidden: int, seed: int, normalise: bool = False) -> nn.Sequential:
    """A critic of three layers with one output, its first weights from a seed.

    Args:
        inputs: Width of what it looks at.
        hidden: Width of its two hidden layers.
        seed: The seed.
        normalise: Whether each layer has spectral norm 1.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = [nn.Linear(inputs, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, 1)]
        if normalise:
            layers = [torch.nn.utils.parametrizations.spectral_norm(layer) for layer in layers]
        return nn.Sequential(layers[0], nn.LeakyReLU(0.2), layers[1], nn.LeakyReLU(0.2), layers[2])

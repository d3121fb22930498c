"""The VAE: blocks in, one `Pass` out; every part of it can be exchanged without touching this file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from vaekit.arrays import Block, Blocks, BlockSpec
from vaekit.nn.latents import Group, Latent
from vaekit.nn.likelihoods.base import Likelihood

__all__ = ["VAE", "Pass", "Terms"]

Params = dict[str, dict[str, Tensor]]


@dataclass(frozen=True)
class Terms:
    """The log-densities of one forward pass, in nats, summed over event dimensions and never averaged.

    Args:
        log_px: Per block, log p(x_f | z) of each field, shape (K, B, F); zero where nothing was observed.
        log_pz: Per group, shape (K, B).
        log_qz: Per group, shape (K, B).
        kl: Per group, closed-form KL per dimension (B, L), or None.
        weights: Probabilities of the K draws, shape (K, B), where z was enumerated; None where draws count alike.
    """

    log_px: dict[str, Tensor]
    log_pz: dict[str, Tensor]
    log_qz: dict[str, Tensor]
    kl: dict[str, Tensor | None]
    weights: Tensor | None = None

    def expect(self, value: Tensor) -> Tensor:
        """Mean over the posterior of a value (K, B, ...): shape (B, ...)."""
        if self.weights is None:
            return value.mean(0)
        return (self.weights.reshape(*self.weights.shape, *[1] * (value.dim() - 2)) * value).sum(0)

    def reconstruction(self) -> Tensor:
        """Log p(x | z), summed over all fields: shape (K, B)."""
        return torch.stack([term.sum(-1) for term in self.log_px.values()]).sum(0)

    def log_weight(self) -> Tensor:
        """Importance weight log p(x, z) - log q(z | x): shape (K, B)."""
        prior = torch.stack([self.log_pz[name] - self.log_qz[name] for name in self.log_pz]).sum(0)
        return self.reconstruction() + prior


@dataclass(frozen=True)
class Pass:
    """Everything that an objective may look at: one forward pass.

    Args:
        blocks: The rows.
        groups: The latent groups.
        likelihoods: Parameters of the likelihoods.
        terms: The log-densities.
        prior: Draws of every group from the prior (K, B, L), where an objective asked for them.
        imagined: Parameters of the likelihoods at these draws, likewise.
    """

    blocks: Blocks
    groups: dict[str, Group]
    likelihoods: Params
    terms: Terms
    prior: dict[str, Tensor] | None = None
    imagined: Params | None = None


class VAE(nn.Module):
    """Encoder × latent structure × decoder × likelihoods over blocks of fields.

    Args:
        specs: The blocks, of role ``model`` and ``condition``.
        encoder: Maps blocks to a hidden vector (B, H).
        latent: The latent structure.
        decoder: Maps a dict of groups z (K, B, L) and the condition (B, H) or None to a hidden vector (K, B, H).
        heads: One likelihood per model block, by block name.
        condition: Maps condition blocks to a hidden vector (B, H); None without condition fields.

    References:
        Kingma & Welling, Auto-Encoding Variational Bayes, 2014, eq. 3.
    """

    def __init__(
        self,
        specs: Sequence[BlockSpec],
        *,
        encoder: nn.Module,
        latent: Latent,
        decoder: nn.Module,
        heads: Mapping[str, Likelihood],
        condition: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.specs = {spec.name: spec for spec in specs}
        self.encoder, self.latent, self.decoder, self.condition = encoder, latent, decoder, condition
        self.names = tuple(heads)  # module names cannot hold dots, block names do
        self.heads = nn.ModuleList(heads.values())

    def head(self, block: str) -> Likelihood:
        """The likelihood of a block."""
        return cast(Likelihood, self.heads[self.names.index(block)])

    def conditioning(self, blocks: Blocks) -> Tensor | None:
        """The hidden vector of the condition fields (B, H), or None."""
        return None if self.condition is None else self.condition(blocks)

    def encode(self, blocks: Blocks, noise: Mapping[str, Tensor]) -> list[Group]:
        """Draw K samples of every latent group from q(z | x); noise has shape (K, B, *shape)."""
        h, condition = _exact(self.encoder(blocks)), self.conditioning(blocks)
        with torch.autocast(h.device.type, enabled=False):  # densities of z need their digits
            return self.latent(h, None if condition is None else _exact(condition), noise)

    def prior(self, noise: Mapping[str, Tensor], blocks: Blocks) -> dict[str, Tensor]:
        """Draw every latent group from p(z | condition): shapes (K, B, L)."""
        condition = self.conditioning(blocks)
        with torch.autocast(next(iter(noise.values())).device.type, enabled=False):
            return self.latent.sample(None if condition is None else _exact(condition), noise)

    def decode(self, z: Mapping[str, Tensor], blocks: Blocks) -> Params:
        """Likelihood parameters of every model block given z (K, B, L) and the condition blocks.

        The decoder sees the groups in the order of the structure, in whatever order they come.
        """
        h = self.decoder({name: z[name] for name in self.latent.groups}, self.conditioning(blocks))
        return {name: head(h) for name, head in zip(self.names, self.heads, strict=True)}

    def log_density(self, params: Params, blocks: Blocks) -> dict[str, Tensor]:
        """Log p(x_f | z) per block, shape (K, B, F); missing cells give exactly zero value and gradient."""
        return {name: self._log_px(name, params[name], blocks[name]) for name in params}

    def _log_px(self, name: str, params: dict[str, Tensor], block: Block) -> Tensor:
        log_p = self.head(name).log_prob(params, block.values, block.half)
        if block.constant is not None:
            log_p = log_p + block.constant
        if not block.whole:
            log_p = torch.where(block.observed, log_p, 0.0)
        return log_p.flatten(3).sum(-1) if log_p.dim() > 3 else log_p  # shape: (K, B, F)

    def part_of(self, parameter: str) -> str:
        """What a parameter, by its name, belongs to: ``inference``, ``prior`` or ``decoder``."""
        if parameter.startswith("latent."):
            mine = parameter.removeprefix("latent.").startswith(self.latent.generative)
            return "prior" if mine else "inference"
        return "inference" if parameter.startswith("encoder.") else "decoder"

    def forward(
        self,
        blocks: Blocks,
        noise: Mapping[str, Tensor],
        prior_noise: Mapping[str, Tensor] | None = None,
        imagine: bool = False,
    ) -> Pass:
        """One forward pass with K samples per row, and draws from the prior if given their noise.

        Args:
            blocks: The rows.
            noise: Noise of inference, (K, B, *shape).
            prior_noise: Noise of draws from the prior, likewise.
            imagine: Decode these draws.
        """
        groups = {group.name: group for group in self.encode(blocks, noise)}
        params = self.decode({name: group.z for name, group in groups.items()}, blocks)
        if self.training:
            params = {name: self._observe(name, value, blocks[name]) for name, value in params.items()}
        terms = Terms(
            log_px=self.log_density(params, blocks),
            log_pz={name: group.log_p for name, group in groups.items()},
            log_qz={name: group.log_q for name, group in groups.items()},
            kl={name: group.kl for name, group in groups.items()},
            weights=next((group.weights for group in groups.values() if group.weights is not None), None),
        )
        prior = self.prior(prior_noise, blocks) if prior_noise else None
        return Pass(blocks, groups, params, terms, prior, self.decode(prior, blocks) if prior and imagine else None)

    def _observe(self, name: str, params: dict[str, Tensor], block: Block) -> dict[str, Tensor]:
        return self.head(name).observe(params, block.values, block.observed)


def _exact(h: Tensor) -> Tensor:
    """A hidden vector that was computed in half precision, in single precision; any other as it is."""
    return h.float() if h.dtype in (torch.float16, torch.bfloat16) else h

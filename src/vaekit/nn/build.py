"""From block specs and a small configuration to a VAE; sizes come from presets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import msgspec
import torch
from torch import Tensor, nn

from vaekit.arrays import Blocks, BlockSpec
from vaekit.errors import ConfigError
from vaekit.nn import likelihoods
from vaekit.nn.images import IMAGES
from vaekit.nn.images.conv import Convolutional
from vaekit.nn.images.maps import MapDecoder, MapEncoder, map_shapes, project
from vaekit.nn.latents import LATENTS
from vaekit.nn.parts import Around, Part, make, named, options_of
from vaekit.nn.posteriors import POSTERIORS
from vaekit.nn.priors import PRIORS
from vaekit.nn.stems import Stems
from vaekit.nn.trunks import MLP
from vaekit.nn.vae import VAE

__all__ = ["PRESETS", "VERSION", "Decoder", "Encoder", "ModelConfig", "build", "preset"]

VERSION = 1
"""Version of the networks: raise it with every change by which stored weights would answer differently."""


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The architecture: names of parts and their sizes.

    Args:
        width: Hidden width H of encoder and decoder.
        depth: Hidden layers of each; 0 for linear maps.
        latent: Latent width L.
        dropout: Dropout rate.
        structure: Latent structure: its name, or a mapping with its name and options.
        posterior: Posterior family, likewise.
        prior: Prior family, likewise.
        images: Networks for fields of kind image, likewise: ``conv`` or ``dense``.
        encoder: ``default``, or an encoder of one's own as ``package.module:Class``, made from the blocks and this
            configuration; it maps blocks to (B, H).
        decoder: ``default``, or one's own, made from the widths of the latent groups and this configuration; it maps
            these groups (K, B, L) and the condition to (K, B, H).
        likelihoods: Likelihoods of one's own by block, such as ``number.gaussian``, made from the block and the width
            H; the family that draws stays that of the block.
    """

    width: int = 128
    depth: int = 2
    latent: int = 8
    dropout: float = 0.0
    structure: Part = "flat"
    posterior: Part = "diagonal"
    prior: Part = "standard"
    images: Part = "conv"
    encoder: Part = "default"
    decoder: Part = "default"
    likelihoods: dict[str, Part] = {}

    def __post_init__(self) -> None:
        for name, least in (("width", 1), ("depth", 0), ("latent", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not 0.0 <= self.dropout < 1.0:
            raise ConfigError(f"dropout must be in [0, 1), got {self.dropout}")
        if self.dropout and not self.depth:
            raise ConfigError("dropout needs hidden layers; with depth=0 there are none")
        for name, known in (("structure", LATENTS), ("posterior", POSTERIORS), ("prior", PRIORS), ("images", IMAGES)):
            options_of(name, getattr(self, name), known)
        for name, part in (("encoder", self.encoder), ("decoder", self.decoder)):
            if part != "default":
                options_of(name, part, {})
        for part in self.likelihoods.values():
            options_of("likelihood", part, {})


PRESETS = {
    "small": ModelConfig(width=64, depth=2, latent=6),
    "medium": ModelConfig(width=128, depth=3, latent=12),
    "large": ModelConfig(width=256, depth=3, latent=24),
}


def preset(name: str, rows: int, width: int) -> ModelConfig:
    """The architecture of a preset; ``auto`` chooses by the size of the data.

    Args:
        name: ``small``, ``medium``, ``large`` or ``auto``.
        rows: Training rows.
        width: Scalar values per row.

    Returns:
        The configuration.

    Raises:
        ConfigError: If the preset is unknown.

    Example:
        >>> preset("auto", rows=200, width=5).width
        64
    """
    if name == "auto":
        name = "small" if rows < 2_000 else "medium" if rows < 500_000 and width < 200 else "large"
    if name not in PRESETS:
        raise ConfigError(f"unknown preset {name!r}; known: auto, {', '.join(PRESETS)}")
    return PRESETS[name]


class Encoder(nn.Module):
    """Stems, then a trunk: blocks to (B, H)."""

    experts = 0

    def __init__(self, specs: Sequence[BlockSpec], config: ModelConfig) -> None:
        super().__init__()
        self.stems = Stems(specs, config.width, config.images)
        self.trunk = MLP(config.width, config.depth, config.dropout)

    def forward(self, blocks: Blocks) -> Tensor:
        """Map blocks to (B, H)."""
        return self.trunk(self.stems(blocks))

    @property
    def trunk_of_rows(self) -> Callable[[Tensor], Tensor] | None:
        """The half after the stems, as a function, for parts that send vectors of their own through it."""
        return self.trunk.forward


class ExpertEncoder(nn.Module):
    """One encoder per group of fields, which sees no other: blocks to (B, G, H + 1).

    The last channel says whether any model field of the group was observed. Condition fields go to every expert.

    Args:
        specs: The blocks.
        config: The architecture; option ``groups`` of its structure names the fields of each expert.

    Raises:
        ConfigError: If the groups do not hold every model field exactly once.
    """

    trunk_of_rows = None

    def __init__(self, specs: Sequence[BlockSpec], config: ModelConfig) -> None:
        super().__init__()
        modelled = [spec for spec in specs if spec.role == "model"]
        fields = [name for spec in modelled for name in spec.fields]
        options = options_of("structure", config.structure, LATENTS)
        groups = options.get("groups") or {spec.name: spec.fields for spec in modelled}
        if sorted(name for group in groups.values() for name in group) != sorted(fields):
            raise ConfigError(
                f"groups of experts must hold every model field exactly once; got {dict(groups)} for the fields "
                f"{', '.join(fields)}"
            )
        self.experts = len(groups)
        given = [spec for spec in specs if spec.role == "condition"]
        self.seen = [[spec for spec in modelled if set(spec.fields) & set(group)] for group in groups.values()]
        self.encoders = nn.ModuleList([Encoder([*some, *given], config) for some in self.seen])
        for index, (group, some) in enumerate(zip(groups.values(), self.seen, strict=True)):
            for place, spec in enumerate(some):
                mine = torch.tensor([name in group for name in spec.fields])
                self.register_buffer(f"mine_{index}_{place}", mine, persistent=False)

    def forward(self, blocks: Blocks) -> Tensor:
        """Map blocks to (B, G, H + 1)."""
        found = []
        for index, encoder in enumerate(self.encoders):
            own, seen = dict(blocks), []
            for place, spec in enumerate(self.seen[index]):
                observed = blocks[spec.name].observed
                mine = getattr(self, f"mine_{index}_{place}")
                observed = observed & mine.reshape(-1, *[1] * (observed.dim() - 2))
                own[spec.name] = blocks[spec.name].seen(observed)
                seen.append(observed.flatten(1).any(-1))
            h = encoder(own)
            found.append(torch.cat([h, torch.stack(seen).any(0)[:, None].to(h.dtype)], -1))
        return torch.stack(found, 1)


class Decoder(nn.Module):
    """Latent groups and condition to (K, B, H)."""

    def __init__(self, groups: Mapping[str, int], config: ModelConfig) -> None:
        super().__init__()
        self.linear = nn.Linear(sum(groups.values()), config.width)
        self.trunk = MLP(config.width, config.depth, config.dropout)

    def forward(self, z: Mapping[str, Tensor], condition: Tensor | None) -> Tensor:
        """Map z (K, B, L) and the condition (B, H) to (K, B, H)."""
        h = self.linear(torch.cat(list(z.values()), dim=-1) if len(z) > 1 else next(iter(z.values())))
        return self.trunk(h if condition is None else h + condition)


def _encoder(specs: Sequence[BlockSpec], config: ModelConfig) -> nn.Module:
    """The encoder that the structure needs, or the user's own."""
    if config.encoder != "default":
        own: nn.Module = make("encoder", config.encoder, {}, specs, config)
        return own
    if named(config.structure) == "spatial":
        layers = options_of("structure", config.structure, LATENTS).get("layers", 2)
        net = make("images", config.images, IMAGES)
        map_shapes(specs, net, layers)  # refuses what has no maps
        return MapEncoder(specs, config, cast(Convolutional, net), layers)
    return (ExpertEncoder if named(config.structure) == "experts" else Encoder)(specs, config)


def _decoder(groups: Mapping[str, int], around: Around, config: ModelConfig) -> nn.Module:
    """The decoder that the structure needs, or the user's own."""
    if config.decoder != "default":
        own: nn.Module = make("decoder", config.decoder, {}, groups, config)
        return own
    return MapDecoder(groups, around.maps, config) if around.maps else Decoder(groups, config)


def _head(spec: BlockSpec, around: Around, config: ModelConfig) -> likelihoods.Likelihood:
    """The likelihood of a block: of an image with a network, of other kinds with a linear map, or the user's own."""
    if spec.name in config.likelihoods:
        own: likelihoods.Likelihood = make("likelihood", config.likelihoods[spec.name], {}, spec, config.width)
        return own
    net = make("images", config.images, IMAGES)
    if around.maps:
        return likelihoods.make(spec, config.width, project(spec, cast(Convolutional, net), around.maps))
    if spec.kind != "image":
        return likelihoods.make(spec, config.width)
    return likelihoods.make(spec, config.width, lambda width, outputs: net.head(spec, width, outputs))


def build(specs: Sequence[BlockSpec], config: ModelConfig, seed: int = 0) -> VAE:
    """Build a VAE with weights initialised from a seed, leaving the global random state as it was.

    Args:
        specs: The blocks of a contract.
        config: The architecture.
        seed: Seed of the initial weights.

    Returns:
        The model, in training mode.

    Raises:
        ConfigError: If there is nothing to model.
    """
    modelled = [spec for spec in specs if spec.role == "model"]
    conditions = [spec for spec in specs if spec.role == "condition"]
    if not modelled:
        raise ConfigError("no block has role 'model'; give at least one field that role")
    if unknown := sorted(set(config.likelihoods) - {spec.name for spec in modelled}):
        there = ", ".join(spec.name for spec in modelled)
        raise ConfigError(f"likelihoods names {', '.join(unknown)}, which are no blocks of the model; it has: {there}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = _encoder(specs, config)
        around = Around(
            config.width,
            config.width if conditions else 0,
            getattr(encoder, "trunk_of_rows", None),
            getattr(encoder, "experts", 0),
            tuple(getattr(encoder, "maps", ())),
        )
        latent = make("structure", config.structure, LATENTS, around, config.latent, config.posterior, config.prior)
        return VAE(
            specs,
            encoder=encoder,
            latent=latent,
            decoder=_decoder(latent.groups, around, config),
            heads={spec.name: _head(spec, around, config) for spec in modelled},
            condition=Stems(conditions, config.width, config.images) if conditions else None,
        )

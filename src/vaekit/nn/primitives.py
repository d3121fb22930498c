"""The graph primitives: the few functions of a model that every query is written over.

Each is a module from named arrays to named arrays, so that the torch backend calls it and the exporter traces it: one
definition, two backends. Names: ``<block>.<array>``, ``noise.<name>``, ``z.<group>``, ``params.<block>.<name>``.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vaekit.arrays import Block, BlockSpec, NoiseSpec
from vaekit.fields.datetime import CHANNELS
from vaekit.nn.vae import VAE, Params

__all__ = ["PRIMITIVES", "Decode", "Encode", "LogDensity", "Primitive", "PriorDraw", "Ratio", "Score"]

Arrays = Mapping[str, Tensor]
_TYPES = {"category": torch.int64, "image": torch.uint8}


class Primitive(nn.Module):
    """Base class: a function of a VAE over named arrays.

    Args:
        vae: The model.
    """

    def __init__(self, vae: VAE) -> None:
        super().__init__()
        self.vae = vae

    def specs(self, role: str | None = None) -> list[BlockSpec]:
        """The blocks, of one role if given."""
        return [spec for spec in self.vae.specs.values() if role is None or spec.role == role]

    def examples(self, samples: int, rows: int) -> dict[str, Tensor]:
        """Example inputs with K samples and B rows; their names are the inputs of the primitive."""
        raise NotImplementedError

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Named arrays in, named arrays out."""
        raise NotImplementedError

    def block_examples(self, role: str | None, rows: int) -> dict[str, Tensor]:
        """Example arrays of the blocks of one role, or of all."""
        found: dict[str, Tensor] = {}
        for spec in self.specs(role):
            for name in spec.inputs:
                values = torch.zeros(rows, *spec.shape)
                whole = values if spec.kind != "image" else values[:, :, :1, :1, :1]  # an image is missing as a whole
                typed = {"values": values.to(_TYPES.get(spec.kind, values.dtype)), "observed": whole == 0}
                typed["calendar"] = torch.zeros(rows, len(spec.fields), CHANNELS)
                found[f"{spec.name}.{name}"] = typed.get(name, values)
        return found

    def noise_examples(self, spec: NoiseSpec, samples: int, rows: int) -> dict[str, Tensor]:
        """Example noise."""
        return {f"noise.{name}": torch.zeros(samples, rows, *noise.shape) for name, noise in spec.items()}

    def z_examples(self, samples: int, rows: int) -> dict[str, Tensor]:
        """Example latent groups."""
        return {f"z.{name}": torch.zeros(samples, rows, size) for name, size in self.vae.latent.groups.items()}


def under(prefix: str, arrays: Arrays) -> dict[str, Tensor]:
    """The arrays whose names start with a prefix, without it."""
    return {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}


class Encode(Primitive):
    """``encode``: blocks and noise to ``z.*``, ``log_q.*`` and ``log_p.*`` per group."""

    def examples(self, samples: int, rows: int) -> dict[str, Tensor]:
        """All blocks and the noise."""
        return self.block_examples(None, rows) | self.noise_examples(self.vae.latent.noise, samples, rows)

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Infer the latent groups."""
        found: dict[str, Tensor] = {}
        for group in self.vae.encode(gather(self.specs(), inputs), under("noise.", inputs)):
            found |= {
                f"z.{group.name}": group.z,
                f"log_q.{group.name}": group.log_q,
                f"log_p.{group.name}": group.log_p,
            }
        return found


class PriorDraw(Primitive):
    """``prior``: noise and condition to ``z.*``."""

    def examples(self, samples: int, rows: int) -> dict[str, Tensor]:
        """Condition blocks and the noise of the prior."""
        noise = self.noise_examples(self.vae.latent.prior_noise, samples, rows)
        return self.block_examples("condition", rows) | noise

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Draw the latent groups from the prior."""
        z = self.vae.prior(under("noise.", inputs), gather(self.specs("condition"), inputs))
        return {f"z.{name}": value.clone() for name, value in z.items()}  # an output that is an input does not export


class Decode(Primitive):
    """``decode``: z and condition to ``params.<block>.<name>``."""

    def examples(self, samples: int, rows: int) -> dict[str, Tensor]:
        """Condition blocks and the latent groups."""
        return self.block_examples("condition", rows) | self.z_examples(samples, rows)

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Likelihood parameters."""
        return flatten(self.vae.decode(under("z.", inputs), gather(self.specs("condition"), inputs)))


class LogDensity(Primitive):
    """``log_density``: likelihood parameters and blocks to ``log_px.<block>`` (K, B, F)."""

    def examples(self, samples: int, rows: int) -> dict[str, Tensor]:
        """Model blocks and the likelihood parameters."""
        condition = gather(self.specs("condition"), self.block_examples("condition", rows))
        with torch.no_grad():
            params = flatten(self.vae.decode(under("z.", self.z_examples(samples, rows)), condition))
        return self.block_examples("model", rows) | params

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Log-density of each field."""
        params: Params = {name: under(f"params.{name}.", inputs) for name in self._names()}
        log_px = self.vae.log_density(params, gather(self.specs("model"), inputs))
        return {f"log_px.{name}": value for name, value in log_px.items()}

    def _names(self) -> list[str]:
        return [spec.name for spec in self.specs("model")]


class Score(Primitive):
    """``score``: encode, decode and log_density in one graph: ``log_px.<block>`` (K, B, F) and ``log_ratio`` (K, B).

    ``log_ratio`` is log p(z) - log q(z | x), summed over groups; with the log-densities it is the importance weight.
    """

    def examples(self, samples: int, rows: int) -> dict[str, Tensor]:
        """All blocks and the noise."""
        return self.block_examples(None, rows) | self.noise_examples(self.vae.latent.noise, samples, rows)

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Log-densities of one pass."""
        terms = self.vae(gather(self.specs(), inputs), under("noise.", inputs)).terms
        log_px = {f"log_px.{name}": value for name, value in terms.log_px.items()}
        return log_px | {"log_ratio": _ratio(terms.log_pz, terms.log_qz)}


class Ratio(Primitive):
    """``log_q.*`` and ``log_p.*`` of `Encode` to ``log_ratio``: what `Score` has beyond the other three."""

    def examples(self, samples: int, rows: int) -> dict[str, Tensor]:
        """The log-densities of each latent group."""
        names = [f"{kind}.{name}" for name in self.vae.latent.groups for kind in ("log_q", "log_p")]
        return {name: torch.zeros(samples, rows) for name in names}

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Sum over groups."""
        return {"log_ratio": _ratio(under("log_p.", inputs), under("log_q.", inputs))}


def _ratio(log_p: Arrays, log_q: Arrays) -> Tensor:
    """Log p(z) - log q(z | x), summed over groups, shape (K, B)."""
    return torch.stack([log_p[name] - log_q[name] for name in log_p]).sum(0)


def gather(specs: list[BlockSpec], inputs: Arrays) -> dict[str, Block]:
    """Blocks from named arrays."""
    return {spec.name: Block(**{name: inputs[f"{spec.name}.{name}"] for name in spec.inputs}) for spec in specs}


def flatten(params: Params) -> dict[str, Tensor]:
    """Likelihood parameters as named arrays."""
    return {f"params.{block}.{name}": value for block, group in params.items() for name, value in group.items()}


PRIMITIVES: dict[str, type[Primitive]] = {
    "encode": Encode,
    "prior": PriorDraw,
    "decode": Decode,
    "log_density": LogDensity,
    "score": Score,
}

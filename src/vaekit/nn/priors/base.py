"""What a prior is: a density over one latent group, and draws from noise that it declares itself."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from vaekit.arrays import Noise
from vaekit.nn.parts import Around
from vaekit.nn.posteriors import Distribution, Posterior

__all__ = ["Prior"]


class Prior(nn.Module):
    """A distribution p(z) or p(z | condition) over one latent group of width L.

    Args:
        size: Latent width L.
        around: What it may lean on.
        posterior: The posterior of the same group.

    Attributes:
        noise: What a draw consumes. Keys are appended to the name of the group; the main source has the key ``""``.
    """

    noise: dict[str, Noise]

    def __init__(self, size: int, around: Around | None = None, posterior: Posterior | None = None) -> None:
        super().__init__()
        self.size = size
        self.noise = {"": Noise("normal", (size,))}

    def log_prob(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Log-density of z (K, B, L), summed over L: shape (K, B)."""
        raise NotImplementedError

    def sample(self, noise: Mapping[str, Tensor], condition: Tensor | None = None) -> Tensor:
        """A draw of shape (K, B, L) from the noise that the prior declares."""
        raise NotImplementedError

    def kl(self, posterior: Distribution, condition: Tensor | None = None) -> Tensor | None:
        """Closed-form KL(posterior || self) per dimension (B, L), or None where there is none."""
        return None

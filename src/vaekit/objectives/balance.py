"""Balance: while training, fields weigh alike, whatever nats they come with; what is reported stays in nats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from vaekit.errors import ConfigError
from vaekit.nn.vae import Pass
from vaekit.objectives.base import Objective

__all__ = ["Balance"]


class Balance(Objective):
    """A term to add to an ELBO that gives field f the weight w_f: ``-balance · Σ_f (w_f - 1) E_q[log p(x_f | z)]``.

    It is a term of its own, so ``reconstruction`` and ``kl`` of the ELBO stay what they are, and it vanishes with its
    weight: a schedule that takes ``balance`` to 0 lets training end at the ELBO itself.

    Args:
        weights: Weight of each field, by block (F of them).
        balance: How far the weights count; a schedule may drive it.

    Raises:
        ConfigError: If a weight is not a positive number.

    References:
        Javaloy, Meghdadi & Valera, Mitigating modality collapse in multimodal VAEs via impartial optimization, 2022
        (that fields compete for the shared parameters by the size of their gradients). Kendall, Gal & Cipolla 2018,
        Chen et al., GradNorm, 2018 (weights of tasks).

    Example:
        >>> Balance({"category.bernoulli": [4.0, 1.0]}).weight("balance")
        1.0
    """

    def __init__(self, weights: Mapping[str, Sequence[float]], balance: float = 1.0) -> None:
        super().__init__()
        self.weights = ("balance",)
        self.balance = float(balance)
        self.blocks = tuple(weights)
        for index, values in enumerate(weights.values()):
            made = torch.as_tensor(values, dtype=torch.float32)
            if not bool((torch.isfinite(made) & (made > 0)).all()):
                raise ConfigError(f"weights of fields are positive numbers, got {list(values)}")
            self.register_buffer(f"weight_{index}", made)

    def forward(self, passed: Pass) -> dict[str, Tensor]:
        """The term ``balance``, shape (B,)."""
        extra = [
            (passed.terms.expect(passed.terms.log_px[name]) * (getattr(self, f"weight_{index}") - 1.0)).sum(-1)
            for index, name in enumerate(self.blocks)
        ]
        return {"balance": -self.balance * torch.stack(extra).sum(0)}

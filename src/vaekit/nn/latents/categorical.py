"""Categorical latent variables: enumerated where there are few, Gumbel-softmax where there are many."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vaekit.arrays import Noise
from vaekit.errors import ConfigError
from vaekit.nn.latents.base import Group, Latent, refuse_parts
from vaekit.nn.parts import Around, Part

__all__ = ["Categorical"]


class Categorical(Latent):
    """M variables of C categories each, ``z`` being their one-hot codes side by side; the prior is learned.

    A trained model is exactly discrete: codes are drawn by the largest of log-probability plus Gumbel noise, and log q
    and log p are log-masses. Training takes the expectation over z exactly where there are no more than `enumerated`
    codes: all are decoded and weighed, so its gradient has neither bias nor variance. Beyond that the forward pass
    uses a hard code, so the value of the loss is unbiased, while the gradient goes through the softmax of the same
    scores at `temperature` (straight-through Gumbel-softmax): it is biased, less so and with more variance the lower
    the temperature. The KL is exact in any case.

    Args:
        around: What it leans on.
        size: Number M of variables.
        posterior: Left at its default; the structure has its own.
        prior: Left at its default; the structure has its own.
        categories: Number C of categories.
        temperature: Temperature of the softmax; a schedule may drive it as ``latent.temperature``.
        enumerated: Largest number of codes that training enumerates.

    Raises:
        ConfigError: If there are fewer than two categories, the temperature is not above 0, or a posterior or prior is
            given.

    References:
        Jang, Gu & Poole, Categorical reparameterization with Gumbel-softmax, 2017. Maddison, Mnih & Teh, The concrete
        distribution, 2017.
    """

    generative = ("prior", "given.")
    knobs = ("temperature",)
    codes: Tensor
    eye: Tensor

    def __init__(
        self,
        around: Around,
        size: int,
        posterior: Part = "diagonal",
        prior: Part = "standard",
        *,
        categories: int = 8,
        temperature: float = 1.0,
        enumerated: int = 64,
    ) -> None:
        super().__init__()
        refuse_parts("categorical", posterior, prior)
        if categories < 2 or not temperature > 0:
            raise ConfigError(
                f"structure 'categorical' needs categories of at least 2 and temperature above 0, got {categories} and "
                f"{temperature}"
            )
        self.shape, self.temperature = (size, categories), float(temperature)
        self.noise, self.groups = {"z": Noise("gumbel", self.shape)}, {"z": size * categories}
        self.posterior = nn.Linear(around.width, size * categories)
        self.prior = nn.Parameter(torch.zeros(self.shape))
        self.given = nn.Linear(around.condition, size * categories) if around.condition else None
        self.register_buffer("eye", torch.eye(categories), persistent=False)
        all_codes = categories**size <= enumerated
        chosen = list(itertools.product(range(categories), repeat=size)) if all_codes else []
        codes = torch.eye(categories)[torch.tensor(chosen, dtype=torch.long)] if chosen else torch.zeros(0)
        self.register_buffer("codes", codes, persistent=False)  # shape: (E, M, C)

    def log_prior(self, condition: Tensor | None) -> Tensor:
        """Log-probabilities, shape (M, C), or (B, M, C) given a condition."""
        moved = 0.0 if self.given is None or condition is None else self.given(condition).unflatten(-1, self.shape)
        return torch.log_softmax(self.prior + moved, -1)

    def forward(self, h: Tensor, condition: Tensor | None, noise: Mapping[str, Tensor]) -> list[Group]:
        """Infer the codes."""
        log_q = torch.log_softmax(self.posterior(h).unflatten(-1, self.shape), -1)
        log_p = self.log_prior(condition)
        kl = (torch.exp(log_q) * (log_q - log_p)).sum(-1)  # shape: (B, M)
        if self.training and len(self.codes):
            hard = self.codes[:, None].expand(-1, len(h), -1, -1)  # shape: (E, B, M, C)
            weights = torch.exp((hard * log_q).sum((-2, -1)))
        else:
            hard, weights = self.draw(log_q + noise["z"]), None
        masses = ((hard * log_q).sum((-2, -1)), (hard * log_p).sum((-2, -1)))
        z = hard
        if self.training and weights is None:
            soft = torch.softmax((log_q + noise["z"]) / self.temperature, -1)
            z = hard + soft - soft.detach()
        return [Group("z", z.flatten(2), *masses, kl, weights=weights)]

    def log_q(self, h: Tensor, condition: Tensor | None, z: Mapping[str, Tensor]) -> Tensor:
        """Log-mass of codes."""
        log_q = torch.log_softmax(self.posterior(h).unflatten(-1, self.shape), -1)
        return (z["z"].unflatten(-1, self.shape) * log_q).sum((-2, -1))

    def codes_of(self, condition: Tensor | None, rows: int, most: int) -> tuple[dict[str, Tensor], Tensor] | None:
        """All combinations of categories."""
        size, categories = self.shape
        if categories**size > most:
            return None
        places = torch.cartesian_prod(*[torch.arange(categories)] * size).reshape(-1, size)
        hard = self.eye[places.to(self.eye.device)][:, None].expand(-1, rows, -1, -1)  # shape: (E, B, M, C)
        return {"z": hard.flatten(2)}, (hard * self.log_prior(condition)).sum((-2, -1))

    def sample(self, condition: Tensor | None, noise: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Draw codes from the prior."""
        return {"z": self.draw(self.log_prior(condition) + noise["z"]).flatten(2)}

    def draw(self, scores: Tensor) -> Tensor:
        """One-hot codes of the largest scores."""
        return self.eye[scores.argmax(-1)]

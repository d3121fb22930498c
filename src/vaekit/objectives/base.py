"""What an objective is: named terms per row whose sum is minimised; objectives add up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from vaekit.errors import ConfigError
from vaekit.nn.vae import VAE, Pass

__all__ = ["Objective", "Sum"]


class Objective(nn.Module):
    """A function of one forward pass. Its tensors (critics, running values) live in `state_dict` and are checkpointed.

    Attributes:
        samples: Importance samples K that it needs per row.
        row_separable: Whether the loss of a row depends on that row alone (what private training needs).
        weights: Names of scalar attributes that a schedule may drive.
        prior_draws: Whether it looks at draws from the prior, `Pass.prior`.
        prior_rows: Whether it looks at their likelihood parameters as well, `Pass.imagined`.
        addable: Whether other objectives can be added; not if it changes gradients that they would share.
        critic_rate: Peak learning rate of its own parameters, if it has any; of a sum each part has its own.
    """

    samples: int = 1
    weights: tuple[str, ...] = ()
    prior_draws: bool = False
    prior_rows: bool = False
    addable: bool = True
    critic_rate: float = 1e-3

    @property
    def row_separable(self) -> bool:
        """Whether the loss of a row depends on that row alone."""
        return True

    @property
    def importance(self) -> int:
        """Samples of the bound by which training rows, and the model on held-out rows, are judged; 1 for the ELBO."""
        return 1

    @property
    def criterion(self) -> str:
        """The figure of validation by which the best weights are chosen: ``bound`` or ``reconstruction``."""
        return "bound"

    def prepare(self, vae: VAE, passed: Pass, rows: int, seed: int) -> None:
        """Look at a pass of the model before training: make critics, refuse what the objective cannot work with.

        Args:
            vae: The model.
            passed: A forward pass of it over a few rows.
            rows: Training rows N.
            seed: Seed of first weights.

        Raises:
            ConfigError: If the model lacks what the objective needs.
        """

    def forward(self, passed: Pass) -> dict[str, Tensor]:
        """Named terms to be minimised, each of shape (B,); the loss is the mean over rows of their sum."""
        raise NotImplementedError

    def criticise(self, passed: Pass) -> dict[str, Tensor]:
        """Named terms that the objective's own parameters minimise, in a phase after the model's; each (B,).

        The pass is that of the model's phase, and has to be detached.
        """
        return {}

    def set_weight(self, name: str, value: float | Tensor) -> None:
        """Set a weight that a schedule drives.

        Raises:
            ConfigError: If the objective has no such weight.
        """
        if name not in self.weights:
            raise ConfigError(
                f"{type(self).__name__} has no weight {name!r}; it has: {', '.join(self.weights) or 'none'}"
            )
        setattr(self, name, value)

    def weight(self, name: str) -> float:
        """The present value of a weight."""
        return float(getattr(self, name))

    def leaves(self) -> list[Objective]:
        """The objectives that this one is the sum of: itself."""
        return [self]

    def __add__(self, other: Objective) -> Sum:
        return Sum(self, other)


class Sum(Objective):
    """The sum of objectives over one shared pass.

    Args:
        parts: The objectives.

    Raises:
        ConfigError: If two parts define a term or a weight of the same name.
    """

    def __init__(self, *parts: Objective) -> None:
        super().__init__()
        flat = [leaf for part in parts for leaf in part.leaves()]
        self.parts = nn.ModuleList(flat)
        self.samples = max(part.samples for part in flat)
        names = [name for part in flat for name in part.weights]
        if len(set(names)) < len(names):
            raise ConfigError(f"objectives that are added must not share weights; got {names}")
        self.weights = tuple(names)
        self.prior_draws = any(part.prior_draws for part in flat)
        self.prior_rows = any(part.prior_rows for part in flat)
        if alone := [type(part).__name__ for part in flat if not part.addable]:
            raise ConfigError(
                f"{alone[0]} changes the gradient that goes through z, so no other objective can share it; leave out "
                f"{', '.join(type(part).__name__ for part in flat if part.addable) or 'the second one'}"
            )

    @property
    def row_separable(self) -> bool:
        """True if every part is."""
        return all(part.row_separable for part in self.leaves())

    @property
    def importance(self) -> int:
        """The most that a part has."""
        return max(part.importance for part in self.leaves())

    @property
    def criterion(self) -> str:
        """``reconstruction`` if a part asks for it."""
        return "reconstruction" if any(part.criterion == "reconstruction" for part in self.leaves()) else "bound"

    def prepare(self, vae: VAE, passed: Pass, rows: int, seed: int) -> None:
        """Let every part look."""
        for part in self.leaves():
            part.prepare(vae, passed, rows, seed)

    def forward(self, passed: Pass) -> dict[str, Tensor]:
        """The terms of all parts."""
        return self._merged([part(passed) for part in self.leaves()])

    def criticise(self, passed: Pass) -> dict[str, Tensor]:
        """The terms of all critics."""
        return self._merged([part.criticise(passed) for part in self.leaves()])

    def set_weight(self, name: str, value: float | Tensor) -> None:
        """Set a weight of the part that has it."""
        self._owner(name).set_weight(name, value)

    def weight(self, name: str) -> float:
        """The present value of a weight of the part that has it."""
        return self._owner(name).weight(name)

    def leaves(self) -> list[Objective]:
        """The parts."""
        return [cast(Objective, part) for part in self.parts]

    def _merged(self, found: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        terms: dict[str, Tensor] = {}
        for some in found:
            if shared := terms.keys() & some.keys():
                raise ConfigError(f"objectives that are added must not share terms; got {sorted(shared)} twice")
            terms |= some
        return terms

    def _owner(self, name: str) -> Objective:
        for part in self.leaves():
            if name in part.weights:
                return part
        known = ", ".join(self.weights) or "none"
        raise ConfigError(f"no part of the objective has a weight {name!r}; known: {known}")

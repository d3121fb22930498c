"""What a latent structure is: it owns the walk from a hidden vector to latent groups with their log-densities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from vaekit.arrays import Noise, NoiseSpec
from vaekit.errors import ConfigError
from vaekit.nn.parts import Part, named
from vaekit.nn.posteriors import Distribution

__all__ = ["Group", "Latent", "noise_of", "own_noise", "refuse_parts"]


@dataclass(frozen=True)
class Group:
    """One latent group of a forward pass: a draw and its log-densities belong together.

    Args:
        name: Name of the group.
        z: Draws, shape (K, B, L).
        log_q: Log-density of z under the posterior, shape (K, B).
        log_p: Log-density of z under the prior (given the groups above it), shape (K, B).
        kl: Closed-form KL per dimension, shape (B, L), or None where there is none.
        q: The posterior itself, for objectives that ask more of it; None where it depends on a draw above it, or is
            no distribution over z.
        weights: Probabilities of the K draws given the row, shape (K, B), where they are all values that z can take;
            None where they are draws from the posterior, which count alike.
        commitment: Squared distance of the row from its codes, shape (B,), where there are codes.
    """

    name: str
    z: Tensor
    log_q: Tensor
    log_p: Tensor
    kl: Tensor | None = None
    q: Distribution | None = None
    weights: Tensor | None = None
    commitment: Tensor | None = None


class Latent(nn.Module):
    """Base class of latent structures.

    Attributes:
        noise: The noise that one walk of inference consumes, by name.
        groups: Width L of each group, by name, in the order of the walk.
        generative: How the names of the parameters begin that belong to the prior; all others belong to inference.
        knobs: Names of scalar attributes that a schedule may drive, as ``latent.<name>``.
    """

    noise: NoiseSpec
    groups: dict[str, int]
    generative: tuple[str, ...] = ("prior",)
    knobs: tuple[str, ...] = ()

    @property
    def prior_noise(self) -> NoiseSpec:
        """The noise that one draw from the prior consumes; by default the same as one walk of inference."""
        return self.noise

    def forward(self, h: Tensor, condition: Tensor | None, noise: Mapping[str, Tensor]) -> list[Group]:
        """Infer every group.

        Args:
            h: Hidden vector of the encoder, shape (B, H).
            condition: Hidden vector of the condition fields, shape (B, H), or None.
            noise: Draws of the declared noise, shapes (K, B, *shape).

        Returns:
            The groups in order.
        """
        raise NotImplementedError

    def log_q(self, h: Tensor, condition: Tensor | None, z: Mapping[str, Tensor]) -> Tensor:
        """Log-density of any z of all groups under the posterior of each row, shape (K, B).

        Args:
            h: Hidden vector of the encoder, shape (B, H).
            condition: Hidden vector of the condition fields, shape (B, H), or None.
            z: Every group, shapes (K, B, L).

        Raises:
            ConfigError: If it is only known for z that the posterior drew itself.
        """
        raise ConfigError(f"{type(self).__name__} knows the log-density of its own draws only, not of a foreign z")

    def sample(self, condition: Tensor | None, noise: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Draw every group from the prior: group name to z (K, B, L)."""
        raise NotImplementedError

    def codes_of(self, condition: Tensor | None, rows: int, most: int) -> tuple[dict[str, Tensor], Tensor] | None:
        """All values that z can take, and their log-masses a priori: (E, B, L) by group, and (E, B).

        Args:
            condition: Hidden vector of the condition fields, shape (B, H), or None.
            rows: Number of rows B.
            most: Most values that are wanted.

        Returns:
            None where z is continuous, or has more values than that.
        """
        return None

    def figures(self) -> dict[str, float]:
        """What validation reports of the structure itself, for example how many codes are in use."""
        return {}

    def set_knob(self, name: str, value: float | Tensor) -> None:
        """Set an attribute that a schedule drives.

        Raises:
            ConfigError: If the structure has no such attribute.
        """
        if name not in self.knobs:
            known = ", ".join(self.knobs) or "none"
            raise ConfigError(f"{type(self).__name__} has no attribute {name!r} to schedule; it has: {known}")
        setattr(self, name, value)


def refuse_parts(structure: str, posterior: Part, prior: Part) -> None:
    """Check that nobody chose a posterior or a prior for a structure that has its own.

    Raises:
        ConfigError: If somebody did.
    """
    if posterior != "diagonal" or prior != "standard":
        raise ConfigError(
            f"structure {structure!r} has a posterior and a prior of its own; leave them at their defaults, got "
            f"posterior {named(posterior)!r} and prior {named(prior)!r}"
        )


def noise_of(group: str, prior: Mapping[str, Noise]) -> dict[str, Noise]:
    """What the prior of a group declares, under the names of the walk.

    Example:
        >>> list(noise_of("z", {"": Noise("normal", (2,)), ".component": Noise("gumbel", (3,))}))
        ['z', 'z.component']
    """
    return {group + key: noise for key, noise in prior.items()}


def own_noise(group: str, prior: Mapping[str, Noise], noise: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The noise of the prior of a group, under its own names."""
    return {key: noise[group + key] for key in prior}

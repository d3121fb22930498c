"""Likelihoods p(x | z): one per family, each for all fields of a block at once."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from vaekit.arrays import BlockSpec
from vaekit.errors import ConfigError
from vaekit.nn.likelihoods.base import Likelihood
from vaekit.nn.likelihoods.bernoulli import Bernoulli
from vaekit.nn.likelihoods.calendar import Calendar
from vaekit.nn.likelihoods.categorical import Categorical
from vaekit.nn.likelihoods.counts import (
    NegativeBinomial,
    Poisson,
    ZeroInflatedNegativeBinomial,
    ZeroInflatedPoisson,
)
from vaekit.nn.likelihoods.gaussian import Gaussian
from vaekit.nn.likelihoods.levels import DiscretisedGaussian, LogisticMixture
from vaekit.nn.likelihoods.mixture import Mixture
from vaekit.nn.likelihoods.ordinal import Ordinal
from vaekit.nn.likelihoods.student_t import StudentT

__all__ = ["LIKELIHOODS", "Likelihood", "make"]

LIKELIHOODS: dict[str, type[Likelihood]] = {
    "gaussian": Gaussian,
    "student_t": StudentT,
    "mixture": Mixture,
    "calendar": Calendar,
    "bernoulli": Bernoulli,
    "categorical": Categorical,
    "ordinal": Ordinal,
    "poisson": Poisson,
    "negative_binomial": NegativeBinomial,
    "zero_inflated_poisson": ZeroInflatedPoisson,
    "zero_inflated_negative_binomial": ZeroInflatedNegativeBinomial,
    "logistic_mixture": LogisticMixture,
    "discretised_gaussian": DiscretisedGaussian,
}


def make(spec: BlockSpec, width: int, project: Callable[[int, int], nn.Module] | None = None) -> Likelihood:
    """The likelihood of a block.

    Args:
        spec: The block.
        width: Width H of the decoder's hidden vector.
        project: Makes what maps that vector to so many outputs; a linear map if not given.

    Returns:
        A module with `forward`, `observe` and `log_prob`.

    Raises:
        ConfigError: There is no such likelihood, or it cannot model the block with these options.

    Example:
        >>> make(BlockSpec(name="c", kind="count", likelihood="poisson", fields=("n",)), 8).family.params
        ('rate',)
    """
    if spec.likelihood not in LIKELIHOODS:
        choice = ", ".join(LIKELIHOODS)
        raise ConfigError(f"block {spec.name!r}: expected a likelihood of {choice}; got {spec.likelihood!r}")
    made = LIKELIHOODS[spec.likelihood](spec, width)
    if project is not None:
        made.add_module("head", project(width, made.outputs(spec)))
    return made

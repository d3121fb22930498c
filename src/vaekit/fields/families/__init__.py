"""The torch-free half of every likelihood: data-only constants, quantile functions, point predictions and means.

A draw is ``ppf(params, U)`` with U uniform from Philox, so both backends draw the same rows. Parameters are what the
decode graph returns, after the domain map; their leading dimensions are arbitrary (usually (K, B)) and the last are F
fields and the event. Everything is computed in float64, for all fields of a block at once.
"""

from __future__ import annotations

from vaekit.arrays import BlockSpec
from vaekit.errors import ConfigError
from vaekit.fields.families.base import Family
from vaekit.fields.families.calendar import Calendar
from vaekit.fields.families.categories import Bernoulli, Categorical, Ordinal
from vaekit.fields.families.continuous import Gaussian, Mixture, StudentT
from vaekit.fields.families.counts import (
    NegativeBinomial,
    Poisson,
    ZeroInflatedNegativeBinomial,
    ZeroInflatedPoisson,
)
from vaekit.fields.families.levels import DiscretisedGaussian, LogisticMixture

__all__ = ["FAMILIES", "Family", "family"]

FAMILIES: dict[str, Family] = {
    entry.name: entry
    for entry in (
        Gaussian(),
        StudentT(),
        Mixture(),
        Calendar(),
        Bernoulli(),
        Categorical(),
        Ordinal(),
        Poisson(),
        NegativeBinomial(),
        ZeroInflatedPoisson(),
        ZeroInflatedNegativeBinomial(),
        LogisticMixture(),
        DiscretisedGaussian(),
    )
}


def family(spec: BlockSpec) -> Family:
    """The family of a block, checked against it.

    Args:
        spec: The block.

    Returns:
        The entry of `FAMILIES`.

    Raises:
        ConfigError: There is no such family, or it cannot model the block with these options.

    Example:
        >>> family(BlockSpec(name="n", kind="number", likelihood="gaussian", fields=("a",))).params
        ('loc', 'scale')
    """
    if spec.likelihood not in FAMILIES:
        choice = ", ".join(FAMILIES)
        raise ConfigError(f"block {spec.name!r}: expected a likelihood of {choice}; got {spec.likelihood!r}")
    found = FAMILIES[spec.likelihood]
    found.check(spec)
    return found

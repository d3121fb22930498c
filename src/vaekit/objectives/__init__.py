"""Objectives: functions of one forward pass, and the schedules that drive their weights."""

from __future__ import annotations

from collections.abc import Callable

from vaekit.objectives.adversarial import Adversarial
from vaekit.objectives.balance import Balance
from vaekit.objectives.base import Objective, Sum
from vaekit.objectives.capacity import Capacity
from vaekit.objectives.commitment import Commitment
from vaekit.objectives.density_ratio import DensityRatio
from vaekit.objectives.dip import DIP
from vaekit.objectives.elbo import ELBO
from vaekit.objectives.importance import ImportanceWeighted
from vaekit.objectives.mmd import MMD
from vaekit.objectives.schedules import Cyclical, Linear, Schedule, Sigmoid
from vaekit.objectives.total_correlation import TotalCorrelation

__all__ = [
    "ELBO",
    "TERMS",
    "Balance",
    "Capacity",
    "Cyclical",
    "ImportanceWeighted",
    "Linear",
    "Objective",
    "Schedule",
    "Sigmoid",
    "Sum",
]

TERMS: dict[str, Callable[..., Objective]] = {
    "total_correlation": TotalCorrelation,
    "density_ratio": DensityRatio,
    "dip": DIP,
    "mmd": MMD,
    "commitment": Commitment,
    "adversarial": Adversarial,
}
"""Objectives that are added to a bound."""

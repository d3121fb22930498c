"""Objectives: functions of one forward pass, and the schedules that drive their weights."""

from vaekit.objectives.balance import Balance
from vaekit.objectives.base import Objective, Sum
from vaekit.objectives.elbo import ELBO
from vaekit.objectives.schedules import Linear, Schedule

__all__ = ["ELBO", "Balance", "Linear", "Objective", "Schedule", "Sum"]

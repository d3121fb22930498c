"""Objectives: functions of one forward pass, and the schedules that drive their weights."""

from vaekit.objectives.balance import Balance
from vaekit.objectives.base import Objective, Sum
from vaekit.objectives.elbo import ELBO
from vaekit.objectives.importance import ImportanceWeighted
from vaekit.objectives.schedules import Linear, Schedule

__all__ = ["ELBO", "Balance", "ImportanceWeighted", "Linear", "Objective", "Schedule", "Sum"]

"""Sweeps: the settings of a fit that answer best, found by many fits in several processes."""

from __future__ import annotations

from vaekit.sweeps.plan import Plan, load_plan
from vaekit.sweeps.result import Sweep
from vaekit.sweeps.run import sweep

__all__ = ["Plan", "Sweep", "load_plan", "sweep"]

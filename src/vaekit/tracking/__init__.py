"""Trackers of runs: each in one file, behind a bounded queue of its own, so that none can hold up a run."""

from __future__ import annotations

from vaekit.tracking.base import End, Look, Run, Tracker
from vaekit.tracking.find import known_trackers, make_trackers
from vaekit.tracking.lane import Lane

__all__ = ["End", "Lane", "Look", "Run", "Tracker", "known_trackers", "make_trackers"]

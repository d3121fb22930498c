"""A file with a line of figures per validation; after a kill it has no line more or less than the run had."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from vaekit.training.saving import unwritten, write_run

__all__ = ["MetricsLog"]


class MetricsLog:
    """Figures of all validations, in memory and as JSON lines.

    Args:
        path: The file; None for memory only.
        kept: Lines of the file that belong to the run; later ones were written after the last checkpoint, and will be
            written again.

    Raises:
        TrainingError: If the file cannot be written.
    """

    def __init__(self, path: Path | None, kept: int = 0) -> None:
        self.path = path
        self.history: list[dict[str, Any]] = []
        if path is None:
            return
        if kept and path.exists():
            for line in path.read_text().splitlines()[:kept]:
                try:
                    self.history.append(json.loads(line))
                except json.JSONDecodeError:
                    break  # a line that was being written when the machine went down
        write_run(path, "".join(json.dumps(metrics) + "\n" for metrics in self.history).encode())

    def add(self, metrics: dict[str, Any]) -> None:
        """Take the metrics of a validation."""
        self.history.append(metrics)
        if self.path is None:
            return
        with unwritten(self.path), self.path.open("a") as file:
            file.write(json.dumps(metrics) + "\n")
            file.flush()
            os.fsync(file.fileno())

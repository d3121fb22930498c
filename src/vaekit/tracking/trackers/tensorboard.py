"""TensorBoard: curves, histograms of the latent space, its map in the projector, pictures and drawn rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vaekit.errors import ConfigError
from vaekit.tracking.base import End, Look, Run, Tracker

__all__ = ["TensorBoard"]


class TensorBoard(Tracker):
    """Writes event files; looked at with ``tensorboard --logdir FOLDER``.

    Args:
        folder: Where they go; ``tensorboard`` in the folder of the run by default.
    """

    name = "tensorboard"
    needs = "tensorboardX"

    def __init__(self, *, folder: str | None = None) -> None:
        self._folder = folder
        self._writer: Any = None
        self._map: tuple[int, Look] | None = None

    @property
    def hosted(self) -> bool:
        """It writes files."""
        return False

    @property
    def address(self) -> str:
        """The folder."""
        return self._folder or ""

    def start(self, run: Run) -> None:
        """Open the event file; of a run that is resumed, steps after the checkpoint are purged."""
        from tensorboardX import SummaryWriter

        if self._folder is None and run.folder is None:
            raise ConfigError("a run without a folder needs track.tensorboard.folder")
        self._folder = self._folder or str(Path(str(run.folder)) / "tensorboard")
        purge = {"purge_step": run.begun + 1} if run.begun else {}
        self._writer = SummaryWriter(self._folder, **purge)
        self._writer.add_text("settings", _table(run.settings), run.begun)
        self._writer.add_text("lineage", _table(run.facts), run.begun)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """One point of each curve."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def look(self, step: int, look: Look) -> None:
        """Histograms of centres and scales, pictures, drawn rows."""
        for kind, groups in (("mu", look.means), ("sigma", look.scales)):
            for name, values in groups.items():
                self._writer.add_histogram(f"latent/{name}/{kind}", values, step)
                for index in range(min(values.shape[1], 32)):
                    self._writer.add_histogram(f"latent/{name}/{kind}/{index}", values[:, index], step)
        for name, png in look.pictures.items():
            self._writer.add_image(f"images/{name}", _pixels(png), step, dataformats="HWC")
        if look.sampled:
            self._writer.add_text("sampled rows", _rows(look.sampled), step)
        self._map = step, look
        self._writer.flush()

    def finish(self, end: End) -> None:
        """The map of the latent space, and the held-out figures."""
        if self._map is not None:
            step, look = self._map
            for name, values in look.means.items():
                labels = list(look.labels) or None
                self._writer.add_embedding(np.asarray(values, np.float32), labels, tag=name, global_step=step)
        if end.figures:
            self._writer.add_text("held-out figures", _table(end.figures))
        self._writer.close()


def _pixels(png: bytes) -> Any:
    import io

    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def _table(values: Mapping[str, Any]) -> str:
    return "\n".join(["| name | value |", "|---|---|", *(f"| {name} | {_cell(v)} |" for name, v in values.items())])


def _rows(columns: Mapping[str, Any]) -> str:
    lines = [f"| {' | '.join(map(_cell, columns))} |", "|" + "---|" * len(columns)]
    return "\n".join(lines + [f"| {' | '.join(map(_cell, row))} |" for row in zip(*columns.values(), strict=True)])


def _cell(value: Any) -> str:
    return (f"{value:.6g}" if isinstance(value, float) else str(value)).replace("|", "\\|").replace("\n", " ")


TRACKER = TensorBoard

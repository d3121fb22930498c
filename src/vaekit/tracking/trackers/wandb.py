"""Weights & Biases, offline unless the environment says otherwise: figures, histograms, lineage of artefacts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from vaekit.tracking.base import End, Look, Run, Tracker

__all__ = ["WandB"]


class WandB(Tracker):
    """A run of Weights & Biases per run; one that is resumed goes on with its own.

    It stays offline, to be sent with ``wandb sync`` later, unless ``WANDB_MODE=online`` is set. Rows, drawn ones and
    pictures included, are only shown to it if ``allow_rows`` is set: what it is told is made to be sent away.

    Args:
        project: The project.
        entity: Whose it is; that of the key by default.
    """

    name = "wandb"
    needs = "wandb"

    def __init__(self, *, project: str = "vaekit", entity: str | None = None) -> None:
        self._project, self._entity = project, entity
        self._run: Any = None
        self._address = ""
        self._id = ""

    @property
    def address(self) -> str:
        """The folder of the run, or its page."""
        return self._address

    def start(self, run: Run) -> None:
        """Begin the run, or go on with it; the rows that it was made from are named by their hash."""
        import wandb

        self._id = run.id
        mode: Any = os.environ.get("WANDB_MODE", "offline")
        self._run = wandb.init(
            project=self._project,
            entity=self._entity,
            id=run.id,
            name=run.id,
            resume="allow" if mode != "offline" else None,
            mode=mode,
            dir=str(run.folder) if run.folder else None,
            config={**run.settings, "lineage": dict(run.facts)},
            # no console, no code, no machine: only what is told here
            settings=wandb.Settings(
                silent=True, console="off", disable_git=True, save_code=False, x_disable_stats=True, x_disable_meta=True
            ),
        )
        self._address = self._run.url or str(self._run.dir)
        sha = run.facts.get("data", "")
        data = wandb.Artifact(f"data-{sha[:12]}", "dataset", metadata={"sha256": sha})
        if self._run.offline:  # what is used has to be there, and nobody can look
            self._run.log_artifact(data)
        else:
            self._run.use_artifact(data)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """One point of each curve."""
        self._run.log(dict(values), step=step)

    def look(self, step: int, look: Look) -> None:
        """Histograms, and what shows rows as far as this is here at all."""
        import io

        import wandb
        from PIL import Image

        told: dict[str, Any] = {}
        for kind, groups in (("mu", look.means), ("sigma", look.scales)):
            told |= {
                f"latent/{name}/{kind}": wandb.Histogram(values.ravel().tolist()) for name, values in groups.items()
            }
        told |= {f"images/{name}": wandb.Image(Image.open(io.BytesIO(png))) for name, png in look.pictures.items()}
        if look.sampled:
            rows = [list(row) for row in zip(*look.sampled.values(), strict=True)]
            told["sampled rows"] = wandb.Table(columns=list(look.sampled), data=rows, allow_mixed_types=True)
        self._run.log(told, step=step)

    def finish(self, end: End) -> None:
        """The bundle as an artefact, held-out figures, and how it ended."""
        import wandb

        self._run.summary.update({f"held_out/{name}": value for name, value in end.figures.items()})
        self._run.summary["outcome"] = end.outcome
        if end.bundle is not None:
            made = wandb.Artifact(f"bundle-{self._id}", "model", metadata=dict(end.figures))
            made.add_dir(str(end.bundle))
            self._run.log_artifact(made)
        if end.report is not None:
            page = wandb.Artifact(f"report-{self._id}", "report")
            page.add_file(str(end.report))
            self._run.log_artifact(page)
        self._run.finish(exit_code=1 if end.outcome == "failed" else 0)


TRACKER = WandB

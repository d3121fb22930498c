"""When a number is not finite: which term, which field, which rows, which step, and what was kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vaekit.nn.vae import VAE, Pass

if TYPE_CHECKING:
    from vaekit.training.checkpoint import Position
    from vaekit.training.stages import Stage

__all__ = ["explain_gradient", "explain_loss"]


def explain_loss(terms: Mapping[str, Tensor], passed: Pass, vae: VAE, stage: Stage, at: Position, kept: str) -> str:
    """A message for a loss that is not finite.

    Args:
        terms: The objective's terms, each (B,).
        passed: The forward pass.
        vae: The model.
        stage: The stage.
        at: The position of the run.
        kept: What was saved.

    Returns:
        One sentence naming terms, fields, latent groups, batch rows and step.
    """
    bad = [name for name, value in terms.items() if not bool(torch.isfinite(value).all())]
    places = []
    for name, log_px in passed.terms.log_px.items():
        broken = ~torch.isfinite(log_px).all(0)  # shape: (B, F)
        fields = vae.specs[name].fields
        for index in broken.any(0).nonzero().ravel().tolist():
            rows = broken[:, index].nonzero().ravel().tolist()
            places.append(f"log p(x | z) of field {fields[index]!r} in {_rows(rows)}")
    for name, group in passed.groups.items():
        for label, value in (("log q", group.log_q), ("log p", group.log_p)):
            rows = (~torch.isfinite(value).all(0)).nonzero().ravel().tolist()
            if rows:
                places.append(f"{label} of latent group {name!r} in {_rows(rows)}")
    return (
        f"the loss is not finite at step {at.step} (stage {stage.name!r}, epoch {at.epoch}, batch {at.batch}): "
        f"term {', '.join(bad) or 'loss'}; first seen in {'; '.join(places[:5]) or 'no single field or group'}. "
        f"Training stopped before the weights changed; {kept}. Lower the learning rate, or look at the field's values"
    )


def explain_gradient(vae: VAE, stage: Stage, at: Position, kept: str) -> str:
    """A message for a gradient that is not finite, naming the first parameters that have one."""
    bad = [name for name, p in vae.named_parameters() if p.grad is not None and not bool(torch.isfinite(p.grad).all())]
    return (
        f"the gradient is not finite at step {at.step} (stage {stage.name!r}, epoch {at.epoch}, batch {at.batch}) in "
        f"{', '.join(bad[:5])}. Training stopped before the weights changed; {kept}. Lower the learning rate"
    )


def _rows(rows: list[int]) -> str:
    shown = ", ".join(str(row) for row in rows[:5])
    return f"batch row{'s' if len(rows) > 1 else ''} {shown}{' …' if len(rows) > 5 else ''}"

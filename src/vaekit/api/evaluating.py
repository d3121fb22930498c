"""Held-out figures of a model, again or on other rows, and the parts of its gap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vaekit.api.reporting import rows_of
from vaekit.api.rows import known_rows
from vaekit.errors import ConfigError
from vaekit.queries.evaluate import evaluate, some_rows
from vaekit.runtime import Engine

if TYPE_CHECKING:
    from vaekit.api.model import Model

__all__ = ["figures_of"]

_LATENT_ROWS, _GAP_ROWS = 500, 200


def figures_of(model: Model, data: Any = None, *, gaps: bool = False, seed: int = 0) -> dict[str, Any]:
    """Likelihood, reconstruction and latent figures of a model.

    Args:
        model: The model.
        data: Real rows; of the table of the fit those that training did not see are used. Without rows the figures are
            those from the end of the fit.
        gaps: Also the marginal likelihood by annealing, and how the gap of the ELBO is split, on 200 rows; takes torch,
            rows, and a minute.
        seed: Seed of every draw.

    Returns:
        Figures by name, see `vaekit.queries.evaluate.evaluate`; ``latent`` as at every validation; ``gap_parts``, and
        ``bits_per_dimension`` of log_p over the scalar values of a row.

    Raises:
        ConfigError: If the gaps are asked for without rows, or the model's code is of a kind that cannot be annealed.
        BundleError: If the bundle holds no weights.
    """
    if data is None:
        if gaps:
            raise ConfigError("the parts of the gap are measured on rows; give some")
        return dict(model.evaluation)
    import pyarrow as pa
    import torch

    from vaekit.runtime.torch_backend import TorchBackend
    from vaekit.training.batches import Resident
    from vaekit.training.information import latent_figures
    from vaekit.training.marginal import gap_parts

    table = model.contract.table(data)
    splits = known_rows(model.bundle, table).splits
    held_out = rows_of(model.bundle, table).table
    home = held_out if splits is None else table.take(pa.array(splits.train))
    engine = Engine(model.contract, model.bundle.architecture, model.engine.backend, model.bundle.calibration)
    found = evaluate(engine, held_out, home, seed)
    vae = TorchBackend.from_bundle(model.bundle).vae
    few = Resident(model.contract.encode(some_rows(held_out, _LATENT_ROWS, seed)), torch.device("cpu"))
    found["latent"] = latent_figures(vae, few.take(slice(None)), seed)
    if gaps:
        parts = gap_parts(vae, few.take(slice(0, _GAP_ROWS)), seed)
        width = sum(spec.width for spec in model.bundle.architecture.blocks if spec.role == "model")
        found["gap_parts"] = parts
        found["bits_per_dimension"] = float(-parts["log_p"] / (width * np.log(2.0)))
    return found

"""Held-out figures of a model, again or on other rows, and the parts of its gap."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from vaekit.api.reporting import rows_of
from vaekit.api.rows import known_rows
from vaekit.errors import ConfigError
from vaekit.queries.evaluate import evaluate, some_rows
from vaekit.queries.factors import disentangled
from vaekit.queries.fidelity import fidelity
from vaekit.queries.groups import by_group
from vaekit.queries.sample import sampled_like
from vaekit.runtime import Engine

if TYPE_CHECKING:
    import pyarrow as pa

    from vaekit.api.model import Model

__all__ = ["figures_of"]

_LATENT_ROWS, _GAP_ROWS, _GROUP_ROWS, _MOST_ROWS = 500, 200, 4_000, 10_000


def figures_of(
    model: Model,
    data: Any = None,
    *,
    gaps: bool = False,
    factors: Sequence[str] = (),
    by: Sequence[str] = (),
    samples: int = 0,
    seed: int = 0,
    modules: Collection[str] = (),
) -> dict[str, Any]:
    """Likelihood, reconstruction and latent figures of a model.

    Args:
        model: The model.
        data: Real rows; of the table of the fit those that training did not see are used. Without rows the figures are
            those from the end of the fit.
        gaps: Also the marginal likelihood by annealing, and how the gap of the ELBO is split, on 200 rows; takes torch,
            rows, and a minute.
        factors: Columns of factors, for scores of disentanglement; see `vaekit.queries.factors.disentangled`.
        by: Columns of groups, for figures of each group; see `vaekit.queries.groups.by_group`.
        samples: Rows to draw, for their quality and diversity; see `vaekit.queries.fidelity.fidelity`.
        seed: Seed of every draw.
        modules: Names of modules that parts of the model may be imported from, see `vaekit.load`.

    Returns:
        Figures by name, see `vaekit.queries.evaluate.evaluate`; ``latent`` as at every validation, where there are
        weights and torch; ``disentanglement``, ``by``, ``samples`` and ``gap_parts`` where they are asked for, the last
        with ``bits_per_dimension`` of log_p over the scalar values of a row.

    Raises:
        ConfigError: If something is asked for that takes rows, and there are none, or the model's code is of a kind
            that cannot be annealed.
        BundleError: If the gaps are asked for and the bundle holds no weights.
    """
    if data is None:
        if gaps or factors or by or samples:
            raise ConfigError("gaps, disentanglement, groups and samples are measured on rows; give some")
        return dict(model.evaluation)
    import pyarrow as pa

    if samples < 0:
        raise ConfigError(f"samples is a number of rows to draw, got {samples}")
    table = model.contract.table(data)
    known = known_rows(model.bundle, table)
    held_out = rows_of(model.bundle, table).table
    seen = None if known.splits is None or known.rows is None else known.rows.take(pa.array(known.splits.train))
    home = held_out if seen is None else seen
    engine = Engine(model.contract, model.bundle.architecture, model.engine.backend, model.bundle.calibration)
    found = evaluate(engine, held_out, home, seed)
    if gaps or _networks_at_hand(model, modules):
        found |= _with_torch(model, held_out, gaps, seed, modules)
    if factors:
        found["disentanglement"] = disentangled(engine, some_rows(held_out, _MOST_ROWS, seed), factors, seed)
    if by:
        found["by"] = by_group(engine, some_rows(held_out, _GROUP_ROWS, seed), home, by, seed)
    if samples:
        real = some_rows(held_out, samples, seed)
        drawn = sampled_like(engine, real, min(samples, real.num_rows), seed)
        other = None if seen is None else some_rows(seen, real.num_rows, seed)
        found["samples"] = fidelity(engine, real, drawn, other)
    return found


def _networks_at_hand(model: Model, modules: Collection[str]) -> bool:
    """Whether the networks can be asked themselves, without importing code that nobody said to trust."""
    if model.engine.backend.name == "torch":
        return True
    if not model.bundle.weights or find_spec("torch") is None:
        return False
    from vaekit.nn.own import modules_of

    return modules_of(model.bundle.architecture.config) <= set(modules)


def _with_torch(model: Model, held_out: pa.Table, gaps: bool, seed: int, modules: Collection[str]) -> dict[str, Any]:
    """Figures that take the networks themselves."""
    import torch

    from vaekit.runtime.torch_backend import TorchBackend
    from vaekit.training.batches import Resident
    from vaekit.training.information import latent_figures
    from vaekit.training.marginal import gap_parts

    at_hand = model.engine.backend  # with the parts that it was loaded with
    vae = (at_hand if isinstance(at_hand, TorchBackend) else TorchBackend.from_bundle(model.bundle, modules)).vae
    few = Resident(model.contract.encode(some_rows(held_out, _LATENT_ROWS, seed)), torch.device("cpu"))
    found: dict[str, Any] = {"latent": latent_figures(vae, few.take(slice(None)), seed)}
    if gaps:
        parts = gap_parts(vae, few.take(slice(0, _GAP_ROWS)), seed)
        width = sum(spec.width for spec in model.bundle.architecture.blocks if spec.role == "model")
        found["gap_parts"] = parts
        found["bits_per_dimension"] = float(-parts["log_p"] / (width * np.log(2.0)))
    return found

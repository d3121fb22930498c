"""Scale imbalance: large columns drown small ones, of which the model learns less than a single other column tells."""

from __future__ import annotations

import numpy as np

from vaekit.arrays import Array, generator
from vaekit.doctor.base import Disease, Evidence, Finding, Picture, Treatment
from vaekit.doctor.patient import Patient
from vaekit.metrics.association import information
from vaekit.report.columns import codes_of, look

__all__ = ["DISEASE"]

_LEAST, _SHARE, _DROWNED, _LARGEST, _ROWS = 0.05, 0.2, 0.2, 0.6, 100
_LONGER = 4  # times the epochs


def _examine(patient: Patient) -> Finding | None:
    figures, rows = patient.evaluation.get("fields"), patient.rows("train") or patient.rows("fresh")
    if not figures or rows is None or rows.num_rows < _ROWS or patient.engine is None:
        return None
    contract = patient.engine.contract
    known = [name for name in figures if "conditional_nats" in figures[name]]
    seen = [one for name in known if (one := look(contract[name], rows[name])) is not None]
    if len(seen) < 3:
        return None
    codes = np.stack([codes_of(one)[0] for one in seen], 1)
    table, chance = _off_diagonal(codes), _off_diagonal(generator(patient.seed, "shuffled").permuted(codes, axis=0))
    there = dict(zip((one.name for one in seen), table.max(1).tolist(), strict=True))
    learnt = {name: figures[name]["marginal_nats"] - figures[name]["conditional_nats"] for name in there}
    least = max(_LEAST, 2.0 * float(chance.max()))  # columns of shuffled rows seem to tell something of each other too
    known_to_tell = [name for name, nats in there.items() if nats > least]
    if not known_to_tell:
        return None
    drowned = [name for name in known_to_tell if learnt[name] < _SHARE * there[name]]
    saved = {name: max(one["marginal_nats"] - one["nats"]["mean"], 0.0) for name, one in figures.items()}
    largest = max(saved, key=saved.__getitem__)
    order = sorted(known_to_tell, key=lambda name: learnt[name] / there[name])[:20]
    return Finding(
        "scale imbalance",
        (
            Evidence(
                "share of the columns of which less is learnt than a fifth of what one other column tells",
                len(drowned) / len(known_to_tell),
                _DROWNED,
            ),
            Evidence(
                f"share of all nats that the code saves which {largest} takes",
                saved[largest] / max(sum(saved.values()), 1e-9),
                _LARGEST,
            ),
        ),
        f"Large columns drown others in the sum of nats: {', '.join(drowned[:5]) or 'none'}.",
        Treatment(
            "learn the scale of the noise of every column, let fields weigh alike in the first half of training, give "
            "the code room for them, and train longer",
            {
                "balance": "size" if patient.wide else "entropy",
                "latent": max(8, 2 * patient.units),
                "epochs": _LONGER * int(patient.training.get("epochs") or 1),
            },
            patient.learned_scales,
        ),
        Picture(
            "Nats: learnt from the rest of the row, and what one other column tells",
            {"learnt": [learnt[n] for n in order], "there": [there[n] for n in order]},
            order,
        ),
    )


def _off_diagonal(codes: Array) -> Array:
    """Nats that columns tell of each other."""
    table = information(codes).nats.copy()
    np.fill_diagonal(table, 0.0)
    return table


DISEASE = Disease("scale imbalance", _examine, f"{_ROWS} real rows or more, with three columns")

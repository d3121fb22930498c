"""Mode dropping: kinds of rows that hardly ever come out when rows are sampled."""

from __future__ import annotations

import numpy as np

from vaekit.arrays import Array, generator
from vaekit.doctor.base import Disease, Evidence, Finding, Picture, Treatment
from vaekit.doctor.patient import Patient

__all__ = ["DISEASE", "dropped"]

_CLUSTERS, _LEAST, _SHARE, _ROWS = 12, 0.25, 0.2, 150


def _examine(patient: Patient) -> Finding | None:
    real, drawn = patient.numbers("fresh"), patient.numbers("sampled")
    if real is None or drawn is None or len(real) < _ROWS or not patient.alike:
        return None
    shares, found = dropped(real, drawn, patient.seed)
    lost = float(shares[found < _LEAST * shares].sum())
    spread = float(np.nanvar(drawn, axis=0).sum() / max(np.nanvar(real, axis=0).sum(), 1e-9))
    order = np.argsort(-shares)
    weighed = float(patient.training.get("beta", 1.0)) >= 1.0
    learnt = weighed and patient.model.get("structure", "flat") == "flat" and patient.units > 1
    return Finding(
        "mode dropping",
        (
            Evidence("share of real rows of kinds that are sampled less than a quarter as often", lost, _SHARE),
            Evidence("variance of sampled rows against real ones", spread, 0.5, "below", deciding=False),
        ),
        "Sampled rows leave out whole kinds of real ones: they lie where the prior hardly ever draws.",
        Treatment(
            "weigh the KL by 1, so that codes lie where the prior draws; where it is, learn the prior",
            {"beta": 1.0, "warmup": 0.3, **patient.plain_posterior, **({"prior": "mixture"} if learnt else {})},
        ),
        Picture(
            "Kinds of rows: share of real and of sampled ones",
            {"real": shares[order].tolist(), "sampled": found[order].tolist()},
            [str(index + 1) for index in range(len(order))],
        ),
    )


def dropped(real: Array, drawn: Array, seed: int) -> tuple[Array, Array]:
    """Shares of real and of sampled rows in clusters that half of the real rows make.

    References:
        Richardson & Weiss, On GANs and GMMs, 2018, section 3 (number of statistically different bins).
    """
    spread = np.nanstd(real, axis=0)
    scale = np.where(spread > 1e-9, spread, 1.0)
    first, second = (np.nan_to_num((rows - np.nanmean(real, axis=0)) / scale) for rows in (real, drawn))
    rng = generator(seed, "clusters")
    half = rng.permutation(len(first))
    made, rest = first[half[: len(half) // 2]], first[half[len(half) // 2 :]]
    centres = made[rng.choice(len(made), min(_CLUSTERS, len(made)), replace=False)]
    for _ in range(15):
        near = _nearest(made, centres)
        centres = np.stack([made[near == k].mean(0) if (near == k).any() else centres[k] for k in range(len(centres))])
    shares, found = (
        np.bincount(_nearest(rows, centres), minlength=len(centres)) / len(rows) for rows in (rest, second)
    )
    return shares, found


def _nearest(rows: Array, centres: Array) -> Array:
    found: Array = np.square(rows[:, None] - centres).sum(-1).argmin(1)
    return found


DISEASE = Disease("mode dropping", _examine, f"{_ROWS} rows or more like those of training, with numeric columns")

"""What the latent variables carry: active units and mutual information."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from vaekit.arrays import Array
from vaekit.metrics.likelihood import log_mean_exp

__all__ = ["NOTHING", "active_units", "collapse", "mutual_information"]

NOTHING, _EMPTY = 0.1, 0.02  # nats per row below which a latent space, and below which one group, tells nothing
_FEW = 0.5  # share of active units


def active_units(means: Array, threshold: float = 0.01) -> Array:
    """Which latent dimensions are active: ``Var_x(E_q[z_d | x]) > threshold``.

    Args:
        means: Posterior means, shape (B, L).
        threshold: Least variance.

    Returns:
        Boolean array of shape (L,); its sum is the number of active units.

    References:
        Burda, Grosse & Salakhutdinov 2016, section 5.2.

    Example:
        >>> active_units(np.array([[0.0, 1.0], [0.0, -1.0]])).tolist()
        [False, True]
    """
    active: Array = np.var(np.asarray(means, np.float64), axis=0) > threshold
    return active


def mutual_information(mean: Array, log_std: Array, noise: Array) -> float:
    """Mutual information between x and z under the model's encoder, ``I = E_x E_q[log q(z | x) - log q(z)]``, in nats.

    The aggregate posterior is the mixture of the N given posteriors, so the estimate can never exceed log N.

    Args:
        mean: Means of the diagonal normal posteriors, shape (N, L).
        log_std: Their log standard deviations, shape (N, L).
        noise: Standard-normal noise, shape (N, L).

    Returns:
        The estimate in nats.

    References:
        Hoffman & Johnson, ELBO surgery, 2016, eq. 8.

    Example:
        >>> far = np.arange(4.0)[:, None] * 100
        >>> round(mutual_information(far, np.zeros((4, 1)), np.zeros((4, 1))), 6) == round(float(np.log(4)), 6)
        True
    """
    mean, log_std = np.asarray(mean, np.float64), np.asarray(log_std, np.float64)
    z = mean + np.exp(log_std) * noise

    def log_q(rows: slice) -> Array:  # of z[rows] under every posterior: shape (N, rows)
        white = (z[None, rows] - mean[:, None]) * np.exp(-log_std[:, None])
        density: Array = -(0.5 * np.square(white) + log_std[:, None] + 0.5 * np.log(2 * np.pi)).sum(-1)
        return density

    total, step = 0.0, max(1, 2**22 // max(1, mean.size))
    for start in range(0, len(z), step):
        rows = slice(start, start + step)
        table = log_q(rows)
        own = table[np.arange(len(z))[rows], np.arange(table.shape[1])]
        total += float((own - log_mean_exp(table)).sum())
    return total / len(z)


def collapse(
    kl: Mapping[str, float], active: int, units: int, information: float | None = None, dead_codes: float = 0.0
) -> Literal["ok", "partial", "collapsed"]:
    """Whether the latent space still tells anything about a row.

    ``collapsed``: less than 0.1 nats per row, or no active unit. ``partial``: one of several groups is empty, or fewer
    than half of the units are active, or more than half of the codes are dead; if rows need no more, that is no harm.

    Args:
        kl: Mean KL of each latent group, in nats per row.
        active: Active units of all groups.
        units: Latent width of all groups.
        information: Mutual information between x and z in nats, if it is known.
        dead_codes: Share of the codes that are not in use, where there are codes.

    Example:
        >>> collapse({"z": 3.0}, active=4, units=6), collapse({"z2": 0.0, "z1": 3.0}, active=6, units=8)
        ('ok', 'partial')
        >>> collapse({"z": 3.0}, active=4, units=6, information=0.01)
        'collapsed'

    References:
        Lucas et al., Understanding posterior collapse in generative latent variable models, 2019. He et al., Lagging
        inference networks and posterior collapse, 2019, section 3 (mutual information tells the kinds apart).
    """
    total = sum(kl.values())
    if active == 0 or min(total, total if information is None else information) < NOTHING:
        return "collapsed"
    empty = len(kl) > 1 and min(kl.values()) < _EMPTY
    return "partial" if empty or active < _FEW * units or dead_codes > 0.5 else "ok"

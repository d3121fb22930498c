"""Special functions from elementary operations, so that a graph exports to ONNX and means the same there.

ONNX has no lgamma, erfcx, expm1 or log1p, and three exports quietly lose accuracy: ``logsigmoid`` becomes
``Log(Sigmoid(x))`` (minus infinity below about -18 in onnxruntime), ``expm1`` becomes ``Exp(x) - 1`` and ``log1p``
becomes ``Log(1 + x)`` (both relatively wrong near zero). The forms below keep their accuracy in float32 in both
backends, and every branch that is not taken gets a harmless argument, so gradients are finite everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "deviance",
    "erfcx",
    "expm1",
    "gauss_legendre",
    "lgamma",
    "log1mexp",
    "log_cell_normal",
    "log_interval_normal",
    "log_ndtr",
    "log_sigmoid",
    "log_sigmoid_interval",
    "soft_bound",
    "softplus",
    "stirling_error",
]

HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)

# (1 + 2 x) erfcx(x) as a polynomial in (x - 2) / (x + 2), from a degree-14 Chebyshev fit over [0, inf): within 3e-10.
ERFCX = (
    1.2769783814988354,
    -0.092763822515065167,
    -0.16603039056328464,
    0.16405112686489898,
    -0.054220154023654092,
    -0.0080323448823848252,
    0.0087239320908547476,
    0.0012632910619642375,
    -0.0014621407707942229,
    -0.0004343878974211606,
    0.00021874067845341699,
    0.00012454341795094985,
    -1.8197173755755629e-05,
    -1.8822756767006476e-05,
    -5.8823303842694137e-07,
)
# Bernoulli-number series of the Stirling error in 1 / x^2, times 1 / x.
STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188)
# Node and weight of five-point Gauss-Legendre quadrature for the average of an even function over [-1, 1].
NODES = ((0.0, 64 / 225), (0.5384693101056831, 0.47862867049936647), (0.906179845938664, 0.23692688505618908))


def _horner(x: Tensor, coefficients: Sequence[float]) -> Tensor:
    """Polynomial with `coefficients` in ascending order."""
    total = torch.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = total * x + coefficient
    return total


def softplus(x: Tensor) -> Tensor:
    """``log(1 + exp(x))``, exact to rounding in float64 too (torch's default is linear above 20).

    Args:
        x: Any shape.

    Returns:
        Same shape, nats.

    Example:
        >>> softplus(torch.tensor([0.0]))
        tensor([0.6931])
    """
    return F.softplus(x, threshold=40.0)


def log_sigmoid(x: Tensor) -> Tensor:
    """``log(1 / (1 + exp(-x)))`` in the form that stays finite after export.

    Args:
        x: Logits of any shape.

    Returns:
        Same shape, nats, at most 0.

    Example:
        >>> log_sigmoid(torch.tensor([0.0, -1e4]))
        tensor([-6.9315e-01, -1.0000e+04])
    """
    return -softplus(-x)


def expm1(x: Tensor) -> Tensor:
    """``exp(x) - 1 = tanh(x / 2) (exp(x) + 1)``, relatively accurate near zero after export.

    Args:
        x: Any shape.

    Returns:
        Same shape.

    Example:
        >>> expm1(torch.tensor([1e-6]))
        tensor([1.0000e-06])
    """
    return torch.tanh(0.5 * x) * (torch.exp(x) + 1.0)


def log1mexp(x: Tensor) -> Tensor:
    """``log(1 - exp(x))`` for x < 0.

    Args:
        x: Negative values of any shape.

    Returns:
        Same shape, nats; minus infinity at 0.

    References:
        Machler, Accurately computing log(1 - exp(-|a|)), 2012.

    Example:
        >>> log1mexp(torch.tensor([-1e-6, -1.0]))
        tensor([-13.8155,  -0.4587])
    """
    near = x > -math.log(2.0)
    close = torch.log(-expm1(torch.where(near, x, -0.5)))
    return torch.where(near, close, torch.log1p(-torch.exp(torch.where(near, -1.0, x))))


def log_sigmoid_interval(lo: Tensor, hi: Tensor) -> Tensor:
    """Log of the logistic mass of an interval: ``log(sigmoid(hi) - sigmoid(lo))``.

    The product form ``sigmoid(hi) sigmoid(-lo) (1 - exp(lo - hi))`` does not cancel.

    Args:
        lo: Lower ends, any shape.
        hi: Upper ends, above lo; large finite values stand for infinity.

    Returns:
        Broadcast shape, nats.

    Example:
        >>> log_sigmoid_interval(torch.tensor([-1e4]), torch.tensor([0.0]))
        tensor([-0.6931])
    """
    return log_sigmoid(hi) + log_sigmoid(-lo) + log1mexp(lo - hi)


def soft_bound(x: Tensor, low: float | Tensor, high: float | Tensor) -> Tensor:
    """A smooth increasing map onto (low, high) with slope one in the middle: ``c + h tanh((x - c) / h)``.

    Here c is the middle and h half the distance of the bounds. The hyperbolic tangent comes as the sigmoid that it is,
    ``tanh(y) = 2 sigmoid(2 y) - 1``, which every runtime vectorises and which takes a fifth of the time.

    Args:
        x: Any shape.
        low: Lower bound, broadcastable to x.
        high: Upper bound, above low.

    Returns:
        Broadcast shape; the slope is positive and at most 1.

    Example:
        >>> soft_bound(torch.tensor([-1e6, 0.0, 1e6]), -15.0, 15.0)
        tensor([-15.,   0.,  15.])
    """
    middle, half = 0.5 * (high + low), 0.5 * (high - low)
    return low + (high - low) * torch.sigmoid((x - middle) * (2.0 / half))


def erfcx(x: Tensor) -> Tensor:
    """Scaled complementary error function ``exp(x^2) erfc(x)`` for x >= 0.

    Args:
        x: Non-negative values of any shape.

    Returns:
        Same shape, in (0, 1].

    References:
        Shepherd and Laframboise, Chebyshev approximation of (1 + 2x) exp(x^2) erfc(x), Math. Comp. 36, 1981.

    Example:
        >>> erfcx(torch.tensor([0.0, 1.0]))
        tensor([1.0000, 0.4276])
    """
    return _horner(1.0 - 4.0 / (x + 2.0), ERFCX) / (1.0 + 2.0 * x)


def _half_gaussian(x: Tensor) -> Tensor:
    """``exp(-x^2 / 2)`` to a rounding error: x is split so that the large square is exact (as in fdlibm's erfc)."""
    coarse = (torch.floor(x * 16.0) / 16.0).detach()
    return torch.exp(-0.5 * coarse * coarse) * torch.exp(-0.5 * (x - coarse) * (x + coarse))


def log_ndtr(x: Tensor) -> Tensor:
    """Log of the standard normal distribution function.

    Args:
        x: Any shape.

    Returns:
        Same shape, nats.

    Example:
        >>> log_ndtr(torch.tensor([0.0, -40.0]))
        tensor([-6.9315e-01, -8.0461e+02])
    """
    size = torch.abs(x)
    scaled = 0.5 * erfcx(size * math.sqrt(0.5))
    tail = _half_gaussian(torch.clamp(size, max=40.0)) * scaled  # P(Z > |x|), which underflows to 0 before 40
    # log1p(-t) = -2 atanh(t / (2 - t)); the series is for small t, where log(1 - t) loses its relative accuracy
    ratio = tail / (2.0 - tail)
    square = ratio * ratio
    series = -2.0 * ratio * _horner(square, [1.0 / k for k in range(1, 18, 2)])
    return torch.where(x > 0.0, series, torch.log(scaled) - 0.5 * x * x)


def log_cell_normal(centre: Tensor, half: Tensor) -> Tensor:
    """Log of the average standard normal density over ``[centre - half, centre + half]``; the density itself at half 0.

    With c = |centre| (mirror image) and a = c - half, b = c + half, one of three forms that do not cancel:

    - narrow (c half and half < 1/2): ``phi(c)`` times a Gauss-Legendre sum of ``exp(-(half t)^2 / 2) cosh(c half t)``;
    - tail (a >= 0): ``phi(a) [erfcx(a') - exp(-2 c half) erfcx(b')] sqrt(pi/2) / (2 half)`` with ``x' = x / sqrt 2``;
    - straddling zero (a < 0): ``[erf(b') + erf(-a')] / (4 half)``.

    Args:
        centre: Standardised cell centres, any shape.
        half: Half widths, at least 0, broadcastable to centre.

    Returns:
        Broadcast shape, nats per unit of the standardised variable. Gradients are finite everywhere, also at half 0.

    Example:
        >>> log_cell_normal(torch.tensor([0.0]), torch.tensor([0.0]))
        tensor([-0.9189])
    """
    centre, half = torch.broadcast_tensors(torch.abs(centre), half)
    narrow = (centre * half < 0.5) & (half < 0.5)
    tail = ~narrow & (centre >= half)
    straddle = ~narrow & (centre < half)

    # narrow: even and smooth, so that five nodes reach 1e-10
    c, h = torch.where(narrow, centre, 0.0), torch.where(narrow, half, 0.0)
    average = torch.full_like(c, NODES[0][1])
    for node, weight in NODES[1:]:
        shift = node * h
        average = average + weight * torch.exp(-0.5 * shift * shift) * torch.cosh(shift * c)
    log_narrow = torch.log(average) - 0.5 * c * c - HALF_LOG_2PI

    # tail: both ends scaled by the density at the nearer one
    c, h = torch.where(tail, centre, 2.0), torch.where(tail, half, 1.0)
    a = c - h
    near, far = erfcx(torch.stack([a, c + h]) * math.sqrt(0.5)).unbind()
    log_tail = torch.log((near - torch.exp(-2.0 * c * h) * far) / (4.0 * h)) - 0.5 * a * a

    # straddling: two positive masses on either side of zero
    c, h = torch.where(straddle, centre, 0.0), torch.where(straddle, half, 1.0)
    mass = torch.erf(torch.stack([h + c, h - c]) * math.sqrt(0.5)).sum(0)
    log_straddle = torch.log(mass / (4.0 * h))

    return torch.where(narrow, log_narrow, torch.where(tail, log_tail, log_straddle))


def log_interval_normal(lo: Tensor, hi: Tensor) -> Tensor:
    """Log of the average standard normal density of an interval: ``log[(Phi(hi) - Phi(lo)) / (hi - lo)]``.

    Where centre and half width are at hand, `log_cell_normal` saves a rounding.

    Args:
        lo: Lower ends, any shape.
        hi: Upper ends, at least lo.

    Returns:
        Broadcast shape, nats; the log-density where lo equals hi.

    Example:
        >>> log_interval_normal(torch.tensor([-1.0]), torch.tensor([1.0])).exp() * 2
        tensor([0.6827])
    """
    return log_cell_normal(0.5 * (lo + hi), 0.5 * (hi - lo))


def stirling_error(x: Tensor) -> Tensor:
    """Stirling error ``lgamma(x + 1) - (x + 1/2) log x + x - log(2 pi) / 2`` for x > 0.

    The asymptotic series from 4 on; below, four steps of the recurrence lead there.

    Args:
        x: Positive values of any shape.

    Returns:
        Same shape, nats; about ``1 / (12 x)`` for large x.

    References:
        Loader, Fast and accurate computation of binomial probabilities, 2000, section 3.

    Example:
        >>> stirling_error(torch.tensor([1.0, 10.0]))
        tensor([0.0811, 0.0083])
    """
    small = x < 4.0
    reciprocal = 1.0 / torch.where(small, x + 4.0, x)
    series = reciprocal * _horner(reciprocal * reciprocal, STIRLING)
    s = torch.where(small, x, 1.0)
    far = s + 4.0
    product = ((s + 1.0) / far) * ((s + 2.0) / far) * ((s + 3.0) / far)
    steps = (s + 0.5) * torch.log(far / s) - torch.log(product) - 4.0
    return torch.where(small, series + steps, series)


def lgamma(x: Tensor) -> Tensor:
    """Log of the gamma function for x > 0.

    Prefer `stirling_error` and `deviance`: differences of lgamma lose the digits that they keep.

    Args:
        x: Positive values of any shape.

    Returns:
        Same shape.

    Example:
        >>> lgamma(torch.tensor([0.5, 5.0]))
        tensor([0.5724, 3.1781])
    """
    return stirling_error(x) + (x - 0.5) * torch.log(x) - x + HALF_LOG_2PI


def deviance(x: Tensor, mean: Tensor, difference: Tensor) -> Tensor:
    """Half the Poisson deviance, ``x log(x / mean) + mean - x``, without cancellation where x is close to the mean.

    Args:
        x: Non-negative values of any shape.
        mean: Positive values, broadcastable to x.
        difference: ``x - mean``, in whichever form the caller can compute it without cancellation.

    Returns:
        Broadcast shape, nats, at least 0; the mean where x is 0.

    References:
        Loader, Fast and accurate computation of binomial probabilities, 2000, section 2 (there: x D0(x / mean)).

    Example:
        >>> deviance(torch.tensor([0.0, 3.0]), torch.tensor([2.0, 2.0]), torch.tensor([-2.0, 1.0]))
        tensor([2.0000, 0.2164])
    """
    ratio = difference / (x + mean)  # x / mean = (1 + ratio) / (1 - ratio)
    square = ratio * ratio
    close = difference * ratio + 2.0 * x * ratio * square * _horner(square, [1.0 / k for k in range(3, 15, 2)])
    distant = x * torch.log(torch.where(x > 0.0, x, 1.0) / mean) - difference
    return torch.where(torch.abs(ratio) < 0.2, close, distant)


def gauss_legendre(order: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights of Gauss-Legendre quadrature for the average over [-1, 1].

    Args:
        order: Number of nodes; polynomials up to degree ``2 order - 1`` are averaged exactly.

    Returns:
        Nodes (order,) and weights (order,) in float64; the weights sum to one.

    Example:
        >>> nodes, weights = gauss_legendre(3)
        >>> round(float((weights * nodes**2).sum()), 6)
        0.333333
    """
    nodes, weights = np.polynomial.legendre.leggauss(order)
    return torch.from_numpy(nodes), torch.from_numpy(0.5 * weights)

"""Special functions against mpmath, in float32 and float64, their gradients, and their exports."""

import mpmath as mp
import numpy as np
import onnxruntime
import pytest
import torch

from vaekit.nn import special

torch.set_num_threads(1)
mp.mp.dps = 50

FLOATS = [np.float32, np.float64]


def exact(function, *arrays):
    """An mpmath function over arrays of floats, rounded once."""
    values = [float(function(*map(mp.mpf, map(float, items)))) for items in zip(*arrays, strict=True)]
    return np.array(values)


def ours(function, *arrays):
    return function(*map(torch.from_numpy, arrays)).numpy().astype(np.float64)


def upper(x):
    """P(Z > x) without cancellation."""
    return mp.erfc(x / mp.sqrt(2)) / 2


def log_ndtr(x):
    return mp.log1p(-upper(x)) if x > 0 else mp.log(upper(-x))


def log_interval(lo, hi):
    if lo + hi < 0:
        lo, hi = -hi, -lo
    if lo == hi:
        return -lo * lo / 2 - mp.log(2 * mp.pi) / 2
    return mp.log((upper(lo) - upper(hi)) / (hi - lo))


def log_sigmoid_interval(lo, hi):
    return mp.log(1 / (1 + mp.exp(-hi)) - 1 / (1 + mp.exp(-lo)))


def stirling_error(x):
    return mp.loggamma(x + 1) - (x + mp.mpf(1) / 2) * mp.log(x) + x - mp.log(2 * mp.pi) / 2


def deviance(x, mean, _difference):
    return (x * mp.log(x / mean) if x > 0 else 0) + mean - x


def cells():
    """Centres out to 40 and half widths from 0 to 25, with the seams between the three forms, in float64."""
    centre = np.concatenate([np.linspace(-40, 40, 41), [1e-6, 0.3, -0.49, 0.5, 0.51, 1.0, -1.001, 2.5]])
    half = np.concatenate([[0, 1e-8, 1e-4, 1e-2], np.linspace(0.1, 1.2, 12), [0.499, 0.501, 2.5, 10, 25]])
    c, h = np.meshgrid(centre, half)
    return c.ravel(), h.ravel()


def intervals():
    centre, half = cells()
    return centre - half, centre + half


def gaps():
    """Logistic intervals, narrow and wide, in both tails."""
    centre, width = np.meshgrid(np.linspace(-30, 30, 21), [1e-3, 0.1, 1.0, 20.0])
    return (centre - width).ravel(), (centre + width).ravel()


def counts():
    """Counts near and far from their means, over the range of means."""
    mean = np.repeat(np.logspace(-6, 6.5, 26), 20)
    ratio = np.tile(np.concatenate([np.linspace(0, 4, 14), [0.99, 0.999, 1.001, 1.01, 1.49, 0.67]]), 26)
    x = np.round(mean * ratio)
    return x, mean


def count_arguments(kind):
    x, mean = (array.astype(kind) for array in counts())
    return x, mean, x - mean


# name: (function, reference, arguments, tolerance relative to max(|value|, floor) in float32 and float64, floor)
REAL = np.linspace(-40, 40, 801)
POSITIVE = np.concatenate([np.logspace(-3, 7, 200), [3.999, 4.0, 4.001]])
NEGATIVE = -np.concatenate([np.logspace(-6, 1.9, 200), [0.6931, 0.6932]])
CASES = {
    "log_ndtr": (special.log_ndtr, log_ndtr, (REAL,), 5e-7, 1e-9, 1e-37),
    "log_interval_normal": (special.log_interval_normal, log_interval, intervals(), 5e-7, 1e-9, 1.0),
    "erfcx": (special.erfcx, lambda x: mp.exp(x * x) * mp.erfc(x), (np.linspace(0, 25, 501),), 4e-7, 1e-9, 0.0),
    "stirling_error": (special.stirling_error, stirling_error, (POSITIVE,), 1.5e-6, 5e-10, 1.0),
    "lgamma": (special.lgamma, mp.loggamma, (POSITIVE,), 1.5e-6, 5e-10, 1.0),
    "log1mexp": (special.log1mexp, lambda x: mp.log(-mp.expm1(x)), (NEGATIVE,), 4e-7, 1e-14, 1e-30),
    "expm1": (special.expm1, mp.expm1, (np.concatenate([NEGATIVE, -NEGATIVE]),), 4e-7, 1e-14, 0.0),
    "softplus": (special.softplus, lambda x: mp.log1p(mp.exp(x)), (REAL,), 3e-7, 1e-14, 1e-30),
    "log_sigmoid": (special.log_sigmoid, lambda x: -mp.log1p(mp.exp(-x)), (REAL,), 3e-7, 1e-14, 1e-30),
    "log_sigmoid_interval": (special.log_sigmoid_interval, log_sigmoid_interval, gaps(), 4e-7, 1e-12, 1.0),
    "deviance": (special.deviance, deviance, counts(), 2e-6, 1e-10, 1e-30),
}


@pytest.mark.parametrize("kind", FLOATS)
@pytest.mark.parametrize("name", CASES)
def test_agrees_with_mpmath(name, kind):
    function, reference, arguments, single, double, floor = CASES[name]
    arrays = tuple(array.astype(kind) for array in arguments) if name != "deviance" else count_arguments(kind)
    expected, found = exact(reference, *arrays), ours(function, *arrays)
    scale = np.maximum(np.abs(expected), floor)
    kept = scale > 0.0  # a deviance of exactly zero is compared below
    assert kept.mean() > 0.9
    assert np.max(np.abs(found - expected)[kept] / scale[kept]) < (single if kind is np.float32 else double)
    assert np.all(found[~kept] == expected[~kept])


@pytest.mark.parametrize("kind", FLOATS)
def test_cells_agree_with_mpmath_given_centre_and_half(kind):
    centre, half = (array.astype(kind) for array in cells())
    expected = exact(lambda c, h: log_interval(abs(c) - h, abs(c) + h), centre, half)
    found = ours(special.log_cell_normal, centre, half)
    assert np.max(np.abs(found - expected) / np.maximum(np.abs(expected), 1.0)) < (5e-7 if kind is np.float32 else 1e-9)


def test_adjacent_cells_add_up_to_one():
    edges = torch.linspace(-9.0, 9.0, 181, dtype=torch.float64)
    mass = special.log_interval_normal(edges[:-1], edges[1:]).exp() * edges.diff()
    assert abs(float(mass.sum()) - 1.0) < 1e-9


def test_interval_gradient_is_the_analytic_one():
    centre, half = (torch.from_numpy(array).requires_grad_() for array in cells())
    special.log_cell_normal(centre, half).sum().backward()
    with torch.no_grad():
        density = torch.distributions.Normal(0.0, 1.0).log_prob
        average = special.log_cell_normal(centre, half)
        above, below = (density(centre + half) - average).exp(), (density(centre - half) - average).exp()
        positive = half > 0.0
        by_centre = torch.where(positive, (above - below) / (2 * half.clamp(min=1e-300)), -centre)
        by_half = (above + below - 2.0) / (2 * half)
    wide = half > 1e-3  # the analytic forms cancel in narrow cells
    torch.testing.assert_close(centre.grad[wide], by_centre[wide], rtol=2e-7, atol=2e-7)
    torch.testing.assert_close(half.grad[wide], by_half[wide], rtol=2e-7, atol=2e-7)
    torch.testing.assert_close(centre.grad[half == 0.0], -centre[half == 0.0].detach())
    assert torch.all(half.grad[half == 0.0] == 0.0)  # the average over a cell is even in its half width


GRADIENTS = {
    "log_ndtr": (special.log_ndtr, ([-30.0, -2.0, -0.1, 0.2, 3.0, 6.0],)),
    "log_cell_normal": (special.log_cell_normal, ([-3.0, 0.2, 5.0, 12.0, 0.3, -2.0], [0.1, 2.0, 0.05, 1.0, 0.2, 1.5])),
    "log_interval_normal": (special.log_interval_normal, ([-3.0, 0.2, 5.0, -9.0], [-2.9, 2.0, 8.0, 20.0])),
    "erfcx": (special.erfcx, ([0.01, 0.5, 3.0, 30.0],)),
    "stirling_error": (special.stirling_error, ([0.01, 0.5, 3.9, 4.1, 50.0],)),
    "lgamma": (special.lgamma, ([0.01, 0.5, 3.9, 4.1, 50.0],)),
    "log1mexp": (special.log1mexp, ([-0.01, -0.6, -0.8, -20.0],)),
    "expm1": (special.expm1, ([-3.0, -1e-3, 0.0, 2.0],)),
    "softplus": (special.softplus, ([-35.0, -1.0, 0.0, 25.0],)),
    "log_sigmoid": (special.log_sigmoid, ([-35.0, -1.0, 0.0, 25.0],)),
    "log_sigmoid_interval": (special.log_sigmoid_interval, ([-3.0, 0.2, -30.0], [-2.9, 2.0, 30.0])),
    "soft_bound": (lambda x: special.soft_bound(x, -2.0, 3.0), ([-9.0, -2.0, 0.0, 3.0, 9.0],)),
    "deviance": (lambda x, m: special.deviance(x, m, x - m), ([1.0, 2.0, 50.0], [3.0, 2.01, 49.0])),
}


def test_every_function_has_a_gradient_check():
    assert set(special.__all__) - set(GRADIENTS) == {"gauss_legendre"}
    own = {"gauss_legendre", "log_cell_normal", "soft_bound"}  # have tests of their own
    assert set(special.__all__) - set(CASES) == own


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradcheck(name):
    function, arguments = GRADIENTS[name]
    tensors = tuple(torch.tensor(values, dtype=torch.float64, requires_grad=True) for values in arguments)
    assert torch.autograd.gradcheck(function, tensors, atol=1e-5, rtol=1e-4)


EXTREMES = {
    "log_ndtr": (special.log_ndtr, ([-1e9, -1e4, -14.0, 0.0, 14.0, 1e4, 1e9],)),
    "log_cell_normal": (
        special.log_cell_normal,
        ([0.0, 1e9, -1e9, 1e9, 0.0, 0.0, 5.0, 40.0, 1e-20], [0.0, 0.0, 1e-9, 1e9, 1e9, 1e-30, 5.0, 1e-30, 1e-20]),
    ),
    "stirling_error": (special.stirling_error, ([1e-6, 4.0, 1e12],)),
    "log1mexp": (special.log1mexp, ([-1e-6, -1e4, -1e9],)),
    "softplus": (special.softplus, ([-1e9, 0.0, 1e9],)),
    "log_sigmoid_interval": (special.log_sigmoid_interval, ([-1e4, 15.0, -15.0], [-15.0, 1e4, 15.0])),
    "soft_bound": (lambda x: special.soft_bound(x, -15.0, 15.0), ([-1e9, -1e3, 0.0, 1e3, 1e9],)),
    "deviance": (lambda x, m: special.deviance(x, m, x - m), ([0.0, 1e7, 0.0, 1e7], [3e6, 3e-7, 3e-7, 1e7])),
}


@pytest.mark.parametrize("name", EXTREMES)
def test_extremes_are_finite_with_finite_gradients(name):
    function, arguments = EXTREMES[name]
    tensors = tuple(torch.tensor(values, requires_grad=True) for values in arguments)
    value = function(*tensors)
    value.sum().backward()
    assert torch.isfinite(value).all()
    for tensor in tensors:
        assert torch.isfinite(tensor.grad).all()


@pytest.mark.parametrize(("low", "high"), [(-15.0, 15.0), (-6.9, 4.6), (0.0, 0.5), (3.0, 30.0)])
def test_soft_bound_is_monotone_within_its_bounds_and_close_to_the_identity(low, high):
    x = torch.linspace(low - 200.0, high + 200.0, 4001, dtype=torch.float64, requires_grad=True)
    y = special.soft_bound(x, low, high)
    slope = torch.autograd.grad(y.sum(), x)[0]
    y = y.detach()
    assert y.min() >= low - 1e-12
    assert y.max() <= high + 1e-12
    assert abs(float(y[0]) - low) < 1e-9
    assert abs(float(y[-1]) - high) < 1e-9
    assert (slope >= 0.0).all()
    assert (slope <= 1.0).all()
    span = high - low
    assert (slope[(x > low - span) & (x < high + span)] > 0.0).all()
    middle = (x > low + 0.45 * span) & (x < high - 0.45 * span)
    assert torch.allclose(y[middle], x[middle].detach(), atol=1e-3 * span)
    far = special.soft_bound(torch.tensor([-1e8, 1e8]), low, high)
    assert torch.allclose(far, torch.tensor([low, high]), atol=1e-5)


@pytest.mark.parametrize("order", [1, 2, 8, 12])
def test_gauss_legendre_averages_polynomials_exactly(order):
    nodes, weights = special.gauss_legendre(order)
    for degree in range(2 * order):
        expected = 0.0 if degree % 2 else 1.0 / (degree + 1)
        assert abs(float((weights * nodes**degree).sum()) - expected) < 1e-13


class Everything(torch.nn.Module):
    """All functions of one float32 vector, as one graph."""

    def forward(self, inputs):
        return tuple(function(*(inputs[f"{name}.{i}"] for i in range(n))) for name, (function, n) in GRAPHS.items())


WITHIN = {"erfcx", "log_cell_normal", "stirling_error"}  # inside log_interval_normal and lgamma; exports take time
GRAPHS = {name: (case[0], len(case[2])) for name, case in CASES.items() if name not in WITHIN}
GRAPHS["deviance"] = (special.deviance, 3)
GRAPHS["soft_bound"] = (lambda x: special.soft_bound(x, -15.0, 15.0), 1)


def test_every_function_exports_and_keeps_its_accuracy_in_onnxruntime(tmp_path):
    assert set(GRAPHS) | WITHIN == set(special.__all__) - {"gauss_legendre"}
    arguments = {name: CASES[name][2] for name in GRAPHS if name in CASES} | {"soft_bound": (REAL,)}
    arrays = {
        f"{name}.{i}": array.astype(np.float32) for name, items in arguments.items() for i, array in enumerate(items)
    }
    arrays |= {f"deviance.{i}": array for i, array in enumerate(count_arguments(np.float32))}
    inputs = {name: torch.from_numpy(array) for name, array in arrays.items()}
    program = torch.onnx.export(
        Everything().eval(),
        (),
        kwargs={"inputs": inputs},
        dynamo=True,
        opset_version=20,
        input_names=list(inputs),
        output_names=list(GRAPHS),
        verbose=False,
    )
    program.save(tmp_path / "special.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "special.onnx", providers=["CPUExecutionProvider"])
    found = dict(zip(GRAPHS, session.run(None, arrays), strict=True))
    for name, (function, count) in GRAPHS.items():
        single = [arrays[f"{name}.{i}"] for i in range(count)]
        expected = ours(function, *single)
        assert np.isfinite(found[name]).all(), name
        np.testing.assert_allclose(found[name], expected, rtol=3e-6, atol=2e-6, err_msg=name)
        if name in CASES:  # and not only equal to torch: close to the truth
            truth = exact(CASES[name][1], *single)
            np.testing.assert_allclose(found[name], truth, rtol=3e-6, atol=2e-6, err_msg=name)

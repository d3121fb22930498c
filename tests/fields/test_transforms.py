"""Monotone maps: inverse, order, stacking, and bounded slopes, whatever the knots."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaekit.errors import ConfigError
from vaekit.fields.profile import Profile
from vaekit.fields.transforms import Maps, Monotone, fit_affine

steps = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=40)


@st.composite
def monotones(draw):
    widths = draw(steps)
    rises = draw(st.lists(st.floats(1e-3, 1e3), min_size=len(widths), max_size=len(widths)))
    x = np.concatenate([[draw(st.floats(-1e3, 1e3))], widths]).cumsum()
    y = np.concatenate([[draw(st.floats(-1e3, 1e3))], rises]).cumsum()
    return Monotone(x=tuple(x.tolist()), y=tuple(y.tolist()))


@settings(deadline=None, max_examples=60)
@given(st.lists(monotones(), min_size=1, max_size=5), st.integers(0, 2**32 - 1))
def test_stacked_maps_equal_interpolation_and_invert(maps, seed):
    stacked = Maps(maps)
    rng = np.random.default_rng(seed)
    x = np.stack([rng.uniform(one.x[0] - 10, one.x[-1] + 10, 50) for one in maps], axis=1)
    y, slope = stacked.forward(x)
    for column, one in enumerate(maps):
        inside = (x[:, column] >= one.x[0]) & (x[:, column] <= one.x[-1])
        expected = np.interp(x[inside, column], one.x, one.y)
        np.testing.assert_allclose(y[inside, column], expected, rtol=1e-9, atol=1e-9 * np.abs(one.y).max())
        left = x[:, column] < one.x[0]
        expected = one.y[0] + one.slopes[0] * (x[left, column] - one.x[0])
        np.testing.assert_allclose(y[left, column], expected, rtol=1e-9, atol=1e-9 * np.abs(one.y).max())
    order = np.argsort(x, axis=0)
    assert (np.diff(np.take_along_axis(y, order, 0), axis=0) >= 0).all()
    assert (slope > 0).all()
    np.testing.assert_allclose(stacked.inverse(y), x, rtol=1e-9, atol=1e-9 * np.abs(x).max())


@settings(deadline=None, max_examples=30)
@given(monotones(), st.integers(0, 2**32 - 1))
def test_slope_is_the_derivative(one, seed):
    stacked = Maps([one])
    x = np.random.default_rng(seed).uniform(one.x[0], one.x[-1], (20, 1))
    step = 1e-6 * (one.x[-1] - one.x[0])
    away = np.abs(x - np.array(one.x)).min(axis=1) > 2 * step
    low, high = stacked.forward(x - step)[0], stacked.forward(x + step)[0]
    measured = ((high - low) / (2 * step))[away]
    np.testing.assert_allclose(measured, stacked.forward(x)[1][away], rtol=1e-4)


def test_missing_values_stay_missing():
    y, _ = Maps([Monotone(x=(0.0, 1.0, 5.0), y=(0.0, 1.0, 2.0))]).forward(np.array([[np.nan], [0.5]]))
    assert np.isnan(y[0, 0])
    assert y[1, 0] == 0.5


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ((0.0,), (0.0,)),
        ((), ()),
        ((0.0, 1.0), (0.0,)),
        ((0.0, 0.0), (0.0, 1.0)),
        ((0.0, 1.0), (1.0, 1.0)),
        ((0.0, 1.0), (1.0, 0.0)),
        ((0.0, float("nan")), (0.0, 1.0)),
        ((0.0, float("inf")), (0.0, 1.0)),
        ((0.0, 5e-324), (0.0, 1.0)),
        ((-1.7e308, 1.7e308), (0.0, 1.0)),
    ],
)
def test_a_map_that_cannot_be_inverted_is_refused(x, y):
    with pytest.raises(ConfigError, match="strictly increasing"):
        Monotone(x=x, y=y)


@pytest.mark.parametrize("robust", [False, True])
def test_affine_map_standardises(robust):
    values = np.random.default_rng(0).normal(5.0, 2.0, 4001)
    fitted = fit_affine(Profile.of_values(values), robust=robust)
    y = np.interp(values.clip(fitted.x[0], fitted.x[1]), fitted.x, fitted.y)
    scale = np.std(values) if not robust else np.subtract(*np.quantile(values, [0.75, 0.25])) / 1.34898
    np.testing.assert_allclose((fitted.x[1] - fitted.x[0]) / 2, scale, rtol=5e-3)
    assert abs(np.median(y)) < 0.05


@pytest.mark.parametrize("values", [[3.0], [3.0, 3.0], [1e15, 1e15], [0.0, 5e-324], [1e99, -1e99], [1e12, 1e12 + 1e-4]])
def test_affine_map_of_degenerate_columns_is_usable(values):
    fitted = fit_affine(Profile.of_values(np.array(values)))
    x = np.array(values)[:, None]
    y, slope = Maps([fitted]).forward(x)
    assert np.isfinite(y).all()
    assert np.isfinite(np.log(slope)).all()
    np.testing.assert_allclose(Maps([fitted]).inverse(y), x, rtol=1e-9, atol=1e-100)


def test_large_offsets_do_not_lose_the_spread():
    values = 1e9 + np.random.default_rng(0).normal(size=1000)
    profile = Profile.of_values(values)
    np.testing.assert_allclose(profile.mean, values.mean(), rtol=1e-15)
    np.testing.assert_allclose(profile.deviation, np.std(values - 1e9), rtol=1e-6)

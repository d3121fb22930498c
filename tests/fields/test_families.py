"""The torch-free half of the likelihoods against SciPy's distributions; runs over the registry."""

import subprocess
import sys

import mpmath as mp
import numpy as np
import pytest
from scipy import special, stats

from vaekit.arrays import BlockSpec
from vaekit.errors import ConfigError, QueryError
from vaekit.fields.families import FAMILIES, family

LEVELS = (2, 3, 7)
K, B = 2, 3
LEVELLED = ("logistic_mixture", "discretised_gaussian")


def spec_of(name, kind=None):
    kind = kind or FAMILIES[name].kinds[0]
    levels = (2, 2, 2) if name == "bernoulli" else LEVELS
    return BlockSpec(
        name=f"{kind}.{name}",
        kind=kind,
        likelihood=name,
        fields=("a",) if kind in ("vector", "image") else ("a", "b", "c"),
        event={"vector": (4,), "image": (2, 3, 1)}.get(kind, (3,) if name == "calendar" else ()),
        levels=levels if kind == "category" else (),
    )


def params_of(name, kind=None, lead=(K, B), seed=0):
    """Random parameters of a block, by the documented names and shapes."""
    rng, spec = np.random.default_rng(seed), spec_of(name, kind)
    shape = (*lead, *spec.shape)
    if name == "categorical":
        logits = 2.0 * rng.standard_normal((*lead, sum(LEVELS)))
        parts = np.split(logits, np.cumsum(LEVELS)[:-1], axis=-1)
        return {"log_probs": np.concatenate([special.log_softmax(part, axis=-1) for part in parts], axis=-1)}
    if name == "ordinal":
        cut = np.full((1, 1, 3, max(LEVELS) + 1), 1e4)
        cut[..., 0] = -1e4
        for f, level in enumerate(LEVELS):
            cut[0, 0, f, 1:level] = np.sort(2.0 * rng.standard_normal(level - 1))
        return {"location": rng.standard_normal(shape), "cutpoints": cut}
    if name == "calendar":
        week, day, clock, more = (rng.standard_normal((*lead, 3, n)) for n in (2, 7, 5, 5))
        return {
            "week_loc": week[..., 0],
            "week_scale": np.exp(week[..., 1]),
            "day_log_probs": special.log_softmax(day, axis=-1),
            "clock_log_weights": special.log_softmax(more, axis=-1),
            "clock_locs": 2.0 * clock,
            "clock_scales": np.exp(0.5 * more),
        }
    if name == "mixture":
        logits, locs, spreads = rng.standard_normal((3, *shape, 5))
        weights = special.log_softmax(logits, axis=-1)
        return {"log_weights": weights, "locs": 3.0 * locs, "scales": np.exp(spreads)}
    if (kind == "image" and name != "bernoulli") or name in LEVELLED:
        logits, locs, spreads = rng.standard_normal((3, *shape, 5))
        if name == "discretised_gaussian":
            return {"loc": locs[..., 0], "scale": np.exp(spreads[..., 0] - 1.0)}
        weights = special.log_softmax(logits[..., 0, :], axis=-1)
        return {"log_weights": weights, "locs": locs, "scales": np.exp(spreads - 2.0), "leans": 0.0 * locs}
    drawn = {
        "loc": 3.0 * rng.standard_normal(shape),
        "logits": 2.0 * rng.standard_normal(shape),
        "zero_logits": rng.standard_normal(shape),
        "df": rng.uniform(2.0, 30.0, shape),
    }
    positive = np.exp(rng.standard_normal(shape) + 1.0)
    return {param: drawn.get(param, positive * (1 + i)) for i, param in enumerate(FAMILIES[name].params)}


def category_cdf(pmf):
    """P(code <= x) of codes with probabilities pmf (..., F, C); 0 below the first."""

    def cdf(x):
        at = np.take_along_axis(np.cumsum(pmf, -1), np.maximum(x, 0)[..., None], -1)[..., 0]
        return np.where(x < 0, 0.0, at)

    return cdf


def flat_pmf(p):
    pmf = np.zeros((*p["log_probs"].shape[:-1], len(LEVELS), max(LEVELS)))
    start = 0
    for f, level in enumerate(LEVELS):
        pmf[..., f, :level] = np.exp(p["log_probs"][..., start : start + level])
        start += level
    return pmf


def ordinal_pmf(p):
    return np.diff(special.expit(p["cutpoints"] - p["location"][..., None]), axis=-1)


def nbinom(p):
    return stats.nbinom(p["dispersion"], p["dispersion"] / (p["dispersion"] + p["mean"]))


def inflated(law, p):
    pi = special.expit(p["zero_logits"])
    return lambda x: np.where(x < 0, 0.0, pi + (1 - pi) * law.cdf(x))


def calendar(p):
    """Distribution functions of the three parts."""
    weights = np.exp(p["clock_log_weights"])

    def cdf(x):
        week = stats.norm.cdf(x[..., 0], p["week_loc"], p["week_scale"])
        day = category_cdf(np.exp(p["day_log_probs"]) * np.ones((*x.shape[:-1], 7)))(np.floor(x[..., 1]).astype(int))
        clock = (weights * stats.norm.cdf(x[..., 2, None], p["clock_locs"], p["clock_scales"])).sum(-1)
        return np.stack([week, day, clock], axis=-1)

    return cdf


def mixed_cdf(p):
    """Distribution functions of the components, added up."""
    return lambda x: (np.exp(p["log_weights"]) * stats.norm.cdf(x[..., None], p["locs"], p["scales"])).sum(-1)


def levels_cdf(law, p):
    """Distribution function of levels: that of a law on a scale from -1 to 1 at the upper ends of their cells."""

    def cdf(x):
        inside = law.cdf((x / 127.5 - 1.0 + 1.0 / 255.0)[..., None])
        inside = (np.exp(p["log_weights"])[..., None, :] * inside).sum(-1) if "locs" in p else inside[..., 0]
        return np.where(x < 0, 0.0, np.where(x >= 255, 1.0, inside))

    return cdf


CDF = {
    "logistic_mixture": lambda p: levels_cdf(stats.logistic(p["locs"], p["scales"]), p),
    "discretised_gaussian": lambda p: levels_cdf(stats.norm(p["loc"][..., None], p["scale"][..., None]), p),
    "calendar": calendar,
    "gaussian": lambda p: stats.norm(p["loc"], p["scale"]).cdf,
    "student_t": lambda p: stats.t(p["df"], p["loc"], p["scale"]).cdf,
    "mixture": mixed_cdf,
    "bernoulli": lambda p: stats.bernoulli(special.expit(p["logits"])).cdf,
    "categorical": lambda p: category_cdf(flat_pmf(p)),
    "ordinal": lambda p: category_cdf(ordinal_pmf(p)),
    "poisson": lambda p: stats.poisson(p["rate"]).cdf,
    "negative_binomial": lambda p: nbinom(p).cdf,
    "zero_inflated_poisson": lambda p: inflated(stats.poisson(p["rate"]), p),
    "zero_inflated_negative_binomial": lambda p: inflated(nbinom(p), p),
}
MEAN = {
    "calendar": lambda p: np.stack(
        [
            p["week_loc"],
            np.exp(p["day_log_probs"]) @ np.arange(7.0),
            (np.exp(p["clock_log_weights"]) * p["clock_locs"]).sum(-1),
        ],
        axis=-1,
    ),
    "gaussian": lambda p: stats.norm(p["loc"], p["scale"]).mean(),
    "student_t": lambda p: stats.t(p["df"], p["loc"], p["scale"]).mean(),
    "mixture": lambda p: (np.exp(p["log_weights"]) * p["locs"]).sum(-1),
    "bernoulli": lambda p: special.expit(p["logits"]),
    "ordinal": lambda p: ordinal_pmf(p) @ np.arange(max(LEVELS)),
    "poisson": lambda p: stats.poisson(p["rate"]).mean(),
    "negative_binomial": lambda p: nbinom(p).mean(),
    "zero_inflated_poisson": lambda p: special.expit(-p["zero_logits"]) * p["rate"],
    "zero_inflated_negative_binomial": lambda p: special.expit(-p["zero_logits"]) * p["mean"],
}
CASES = [(name, kind) for name, entry in FAMILIES.items() for kind in entry.kinds]
CONTINUOUS = ("gaussian", "student_t", "mixture")
over = pytest.mark.parametrize(("name", "kind"), CASES)
discrete = pytest.mark.parametrize(
    ("name", "kind"), [case for case in CASES if case[0] not in (*CONTINUOUS, "calendar")]
)
continuous = pytest.mark.parametrize(("name", "kind"), [case for case in CASES if case[0] in CONTINUOUS])


def test_every_family_has_a_reference():
    assert set(CDF) == set(FAMILIES)
    assert set(MEAN) == set(FAMILIES) - {"categorical", *LEVELLED}
    assert all(entry.name == name for name, entry in FAMILIES.items())


# ---------------------------------------------------------------------------------------------- quantiles


@continuous
def test_continuous_ppf_inverts_the_distribution_function(name, kind):
    params, spec = params_of(name, kind), spec_of(name, kind)
    for u in (1e-6, 0.01, 0.3, 0.5, 0.77, 0.999, 1 - 1e-6):
        x = FAMILIES[name].ppf(params, np.full((K, B, *spec.shape), u), spec)
        assert x.dtype == np.float64
        np.testing.assert_allclose(CDF[name](params)(x), u, rtol=1e-8)


@discrete
def test_discrete_ppf_is_the_smallest_value_that_reaches_u(name, kind):
    params, spec = params_of(name, kind), spec_of(name, kind)
    cdf, different = CDF[name](params), set()
    for u in np.concatenate([np.linspace(0.003, 0.997, 60), [1e-7, 1 - 1e-7]]):
        x = FAMILIES[name].ppf(params, np.full((K, B, *spec.shape), u), spec)
        assert x.shape == (K, B, *spec.shape)
        assert x.dtype == (np.int64 if kind == "category" else np.float64)
        assert (x >= 0).all()
        assert (cdf(x) >= u - 1e-12).all()
        assert (cdf(x - 1) < u + 1e-12).all()
        different |= set(x.ravel().tolist())
    assert len(different) >= 2


@over
def test_draws_have_the_moments_and_the_law_of_the_distribution(name, kind):
    """Uniform draws through ppf: Kolmogorov-Smirnov, or chi-square for discrete values, per field."""
    spec, rng = spec_of(name, kind), np.random.default_rng(1)
    params = params_of(name, kind, lead=(1, 1), seed=3)
    n = 4000
    x = FAMILIES[name].ppf(params, rng.uniform(size=(1, n, *spec.shape)), spec)
    cdf = CDF[name](params)
    if name in MEAN:
        spread = np.maximum(x.std(axis=1, keepdims=True), 1e-3)
        assert (
            np.abs(x.mean(axis=1, keepdims=True) - FAMILIES[name].mean(params, spec)) < 5 * spread / np.sqrt(n)
        ).all()
    if name in CONTINUOUS:
        uniform = cdf(x).reshape(n, -1)
        for column in uniform.T:
            assert stats.kstest(column, "uniform").pvalue > 1e-3
        return
    if name == "calendar":
        for column in cdf(x)[..., [0, 2]].reshape(n, -1).T:
            assert stats.kstest(column, "uniform").pvalue > 1e-3
        x = x[..., 1]
        cdf = category_cdf(np.exp(params["day_log_probs"]))
        spec = spec_of("ordinal")
    columns = x.reshape(n, -1)
    top = int(columns.max())
    expected = np.stack([cdf(np.full((1, 1, *spec.shape), k)) for k in range(-1, top + 1)]).reshape(top + 2, -1)
    for column, steps in zip(columns.T, np.diff(expected, axis=0).T, strict=True):
        common = steps * n >= 5  # the rest in one bin
        seen = np.bincount(column.astype(int), minlength=top + 1)
        bins = np.array([*seen[common], seen[~common].sum()])
        means = np.array([*steps[common] * n, (1 - steps[common].sum()) * n])
        kept = means > 1e-6
        statistic = np.sum((bins[kept] - means[kept]) ** 2 / np.maximum(means[kept], 1.0))
        assert stats.chi2.sf(statistic, max(kept.sum() - 1, 1)) > 1e-4
        assert bins[~kept].sum() == 0


@over
def test_ppf_is_monotone_in_u_field_by_field(name, kind):
    params, spec = params_of(name, kind), spec_of(name, kind)
    low = FAMILIES[name].ppf(params, np.full((K, B, *spec.shape), 0.05), spec)
    high = FAMILIES[name].ppf(params, np.full((K, B, *spec.shape), 0.95), spec)
    assert (high >= low).all()
    u = np.full((K, B, *spec.shape), 0.05)
    u[..., 0] = 0.95  # the first field, or the first element of a vector, alone
    mixed = FAMILIES[name].ppf(params, u, spec)
    np.testing.assert_array_equal(mixed[..., 0], high[..., 0])
    np.testing.assert_array_equal(mixed[..., 1:], low[..., 1:])


@over
def test_leading_dimensions_broadcast(name, kind):
    spec = spec_of(name, kind)
    params, u = params_of(name, kind, lead=(1, 1)), np.random.default_rng(0).uniform(size=(K, B, *spec.shape))
    together = FAMILIES[name].ppf(params, u, spec)
    assert together.shape == u.shape
    for k in range(K):
        for b in range(B):
            alone = FAMILIES[name].ppf(params, u[k : k + 1, b : b + 1], spec)
            np.testing.assert_array_equal(together[k : k + 1, b : b + 1], alone)


@over
def test_float32_parameters_are_computed_in_float64(name, kind):
    spec = spec_of(name, kind)
    params = {key: value.astype(np.float32) for key, value in params_of(name, kind).items()}
    double = {key: value.astype(np.float64) for key, value in params.items()}
    u = np.random.default_rng(0).uniform(size=(K, B, *spec.shape))
    np.testing.assert_array_equal(FAMILIES[name].ppf(params, u, spec), FAMILIES[name].ppf(double, u, spec))


def test_days_of_a_calendar_are_the_smallest_that_reach_u():
    params, spec = params_of("calendar"), spec_of("calendar")
    cdf = category_cdf(np.exp(params["day_log_probs"]))
    for u in np.linspace(0.003, 0.997, 60):
        x = FAMILIES["calendar"].ppf(params, np.full((K, B, *spec.shape), u), spec)
        day = x[..., 1].astype(int)
        assert (cdf(day) >= u - 1e-12).all()
        assert (cdf(day - 1) < u + 1e-12).all()
        np.testing.assert_allclose(CDF["calendar"](params)(x)[..., [0, 2]], u, rtol=1e-9)


def test_zero_inflation_shifts_quantiles():
    spec = spec_of("zero_inflated_poisson")
    rate = np.full((1, 1, 3), 50.0)
    zero_logits = np.array([[[-15.0, 0.0, 15.0]]])
    drawn = FAMILIES["zero_inflated_poisson"].ppf(
        {"rate": rate, "zero_logits": zero_logits}, np.full((1, 1, 3), 0.49), spec
    )
    assert drawn[0, 0, 0] == stats.poisson(50).ppf(0.49)
    assert (drawn[0, 0, 1:] == 0).all()
    drawn = FAMILIES["zero_inflated_poisson"].ppf(
        {"rate": rate, "zero_logits": zero_logits}, np.full((1, 1, 3), 0.75), spec
    )
    assert drawn[0, 0, 1] == stats.poisson(50).ppf(0.5)


@pytest.mark.parametrize("name", [name for name, kind in CASES if kind == "count"])
def test_extreme_counts_have_finite_quantiles(name):
    spec = spec_of(name)
    values = {
        "rate": [3e6, 3e-7, 1.0],
        "mean": [3e6, 3e-7, 3e6],
        "dispersion": [1e3, 7e-3, 7e-3],
        "zero_logits": [15, -15, 0],
    }
    params = {key: np.array(values[key], float).reshape(1, 1, 3) for key in FAMILIES[name].params}
    for u in (2.0**-24, 0.5, 1 - 2.0**-24):
        x = FAMILIES[name].ppf(params, np.full((1, 1, 3), u), spec)
        assert np.isfinite(x).all()
        assert (x >= 0).all()
        assert (x == np.round(x)).all()


# ---------------------------------------------------------------------------------------------- point and mean


@over
def test_point_is_the_median_or_the_most_probable_code(name, kind):
    params, spec = params_of(name, kind), spec_of(name, kind)
    point = FAMILIES[name].point(params, spec)
    assert point.shape == (K, B, *spec.shape)
    if name in ("categorical", "ordinal"):
        pmf = flat_pmf(params) if name == "categorical" else ordinal_pmf(params)
        np.testing.assert_array_equal(point, pmf.argmax(-1))
    elif name == "bernoulli":
        np.testing.assert_array_equal(point, params["logits"] >= 0)
    elif name == "calendar":
        np.testing.assert_array_equal(point[..., 1], params["day_log_probs"].argmax(-1))
        np.testing.assert_allclose(CDF[name](params)(point)[..., [0, 2]], 0.5, rtol=1e-9)
    else:
        cdf = CDF[name](params)
        assert (cdf(point) >= 0.5 - 1e-12).all()
        assert (cdf(point - (1e-6 if name in CONTINUOUS else 1)) < 0.5).all()


@pytest.mark.parametrize(("name", "kind"), [case for case in CASES if case[0] in MEAN])
def test_mean_is_scipys(name, kind):
    params, spec = params_of(name, kind), spec_of(name, kind)
    np.testing.assert_allclose(FAMILIES[name].mean(params, spec), MEAN[name](params), rtol=1e-12)


@pytest.mark.parametrize("name", LEVELLED)
def test_means_of_levels_are_right_up_to_rounding(name):
    params, spec = params_of(name), spec_of(name)
    cdf = CDF[name](params)
    mean = sum(1.0 - cdf(np.full((K, B, *spec.shape), float(level))) for level in range(255))
    assert np.ptp(mean) > 100
    np.testing.assert_allclose(FAMILIES[name].mean(params, spec), mean, atol=0.5)


def test_unordered_categories_have_no_mean():
    with pytest.raises(QueryError, match="no expectation"):
        FAMILIES["categorical"].mean(params_of("categorical"), spec_of("categorical"))


def test_ties_go_to_the_first_code_of_the_field():
    spec = spec_of("categorical")
    params = {"log_probs": np.log(np.concatenate([np.full(level, 1 / level) for level in LEVELS]))[None, None]}
    np.testing.assert_array_equal(FAMILIES["categorical"].point(params, spec), np.zeros((1, 1, 3)))


# ---------------------------------------------------------------------------------------------- constants


@over
def test_constant_is_zero_unless_it_counts(name, kind):
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    constant = FAMILIES[name].constant(values)
    assert constant.shape == values.shape
    assert constant.dtype == np.float64
    assert (constant == 0.0).all() == (kind != "count")


@pytest.mark.parametrize("name", [name for name, kind in CASES if kind == "count"])
def test_count_constant_is_exact(name):
    x = np.array([0, 1, 2, 3, 14, 15, 16, 17, 100, 12345, 1e6, 2.0**24])
    with mp.workdps(40):
        expected = [float(v * mp.log(v) - v - mp.loggamma(v + 1)) if v else 0.0 for v in map(mp.mpf, x.tolist())]
    np.testing.assert_allclose(FAMILIES[name].constant(x.astype(np.float32)), expected, rtol=1e-13, atol=1e-14)


# ---------------------------------------------------------------------------------------------- checks


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"likelihood": "normal"}, "expected a likelihood of gaussian, student_t"),
        ({"kind": "category", "levels": (2,)}, "models fields of kind number, vector"),
        ({"options": {"sacle": "fixed"}}, "no option 'sacle'; its options are: scale, sigma"),
        ({"options": {"scale": "wide"}}, "one of fixed, learned, optimal, shared; got 'wide'"),
        ({"options": {"scale": "fixed", "sigma": -1.0}}, "positive number"),
        ({"options": {"scale": "fixed", "sigma": True}}, "positive number"),
        ({"options": {"scale": "optimal", "sigma": 1.0}}, "has no effect"),
        ({"likelihood": "poisson", "kind": "count", "options": {"scale": "fixed"}}, "its options are: none"),
        ({"likelihood": "bernoulli", "kind": "category", "levels": (4,)}, "two levels; got fields with 4"),
        ({"likelihood": "ordinal", "kind": "category", "levels": (4, 4)}, "got 2 for 1 fields"),
    ],
)
def test_wrong_blocks_are_config_errors(changes, message):
    spec = BlockSpec(**{"name": "n", "kind": "number", "likelihood": "gaussian", "fields": ("a",), **changes})
    with pytest.raises(ConfigError, match=message):
        family(spec)


def test_valid_options_pass():
    options = ({}, {"scale": "learned"}, {"scale": "optimal"}, {"scale": "fixed"}, {"scale": "fixed", "sigma": 2})
    for chosen in options:
        spec = BlockSpec(name="n", kind="number", likelihood="gaussian", fields=("a",), options=chosen)
        assert family(spec) is FAMILIES["gaussian"]


def test_importing_families_imports_neither_torch_nor_scipy():
    code = "import sys, vaekit.fields.families; print([name for name in ('torch', 'scipy') if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment())
    assert found.stdout.strip() == "[]"


def environment():
    import os
    from pathlib import Path

    import vaekit

    return {**os.environ, "PYTHONPATH": str(Path(vaekit.__file__).parents[1])}

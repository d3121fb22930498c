"""Every likelihood against SciPy, against its own quantiles, its gradients and its export.

Tests run over the registry: a new likelihood needs an entry in REFERENCE, and is then tested like all others.
"""

from dataclasses import dataclass, field

import numpy as np
import onnxruntime
import pytest
import torch
from scipy import special, stats

from vaekit.arrays import BlockSpec
from vaekit.errors import ConfigError
from vaekit.fields.families import FAMILIES
from vaekit.nn.likelihoods import LIKELIHOODS, make

torch.set_num_threads(1)

WIDTH, K, B = 5, 3, 4
CELLS = (0.05, 0.4, 2.0)
EVENTS = {"vector": (4,), "image": (2, 3, 3)}


# ---------------------------------------------------------------------------------------------- the references


def pick(log_probs, values, levels):
    """Categorical log-probabilities by a plain loop over fields."""
    offsets, columns = np.cumsum(levels) - levels, []
    for i, (offset, count) in enumerate(zip(offsets, levels, strict=True)):
        rows = special.log_softmax(log_probs[..., offset : offset + count], axis=-1)
        codes = np.broadcast_to(values[..., i], rows.shape[:-1])
        columns.append(np.take_along_axis(rows, codes[..., None], axis=-1)[..., 0])
    return np.stack(columns, axis=-1)


def ordinal(p, values, _levels):
    cut = np.broadcast_to(p["cutpoints"], (*p["location"].shape, p["cutpoints"].shape[-1]))
    below = special.expit(cut - p["location"][..., None])
    codes = np.broadcast_to(values, p["location"].shape)[..., None]
    return np.log(np.take_along_axis(below, codes + 1, -1) - np.take_along_axis(below, codes, -1))[..., 0]


def negative_binomial(p, x):
    return stats.nbinom.logpmf(x, p["dispersion"], p["dispersion"] / (p["dispersion"] + p["mean"]))


def inflated(log_pmf, p, x):
    pi = special.expit(p["zero_logits"])
    return np.log(np.where(x == 0, pi, 0.0) + (1 - pi) * np.exp(log_pmf))


def calendar(p, x):
    week = stats.norm.logpdf(x[..., 0], p["week_loc"], p["week_scale"])
    codes = np.broadcast_to(x[..., 1], week.shape).astype(int)[..., None]
    day = np.take_along_axis(p["day_log_probs"], codes, axis=-1)[..., 0]
    each = stats.norm.logpdf(x[..., 2, None], p["clock_locs"], p["clock_scales"])
    return np.stack([week, day, special.logsumexp(p["clock_log_weights"] + each, axis=-1)], axis=-1)


def mixed(p, x):
    """Densities of the components, added up."""
    return np.log(np.sum(np.exp(p["log_weights"]) * stats.norm.pdf(x[..., None], p["locs"], p["scales"]), axis=-1))


def level_masses(law, loc, x):
    """Log-masses of levels: cells on a scale from -1 to 1, of which the ends take the tails; law is around zero."""
    z, half = x / 127.5 - 1.0 - loc, 1.0 / 255.0
    left = -np.abs(z)  # the left tail keeps its digits
    inside = law.logcdf(left + half) + np.log(-np.expm1(law.logcdf(left - half) - law.logcdf(left + half)))
    return np.where(x <= 0, law.logcdf(z + half), np.where(x >= 255, law.logsf(z - half), inside))


def logistics(p, x):
    """Pixel by pixel, the mass of all channels under each component; green leans on red, and blue on both."""
    y = (x / 127.5 - 1.0)[..., None]
    locs = p["locs"].copy()
    if locs.shape[-2] == 3:
        locs = np.broadcast_to(locs, np.broadcast_shapes(locs.shape, (*y.shape[:-1], 1))).copy()
        locs[..., 1, :] += p["leans"][..., 0, :] * y[..., 0, :]
        locs[..., 2, :] += p["leans"][..., 1, :] * y[..., 0, :] + p["leans"][..., 2, :] * y[..., 1, :]
    each = level_masses(stats.logistic(0, p["scales"]), locs, x[..., None]).sum(-2)
    pixel = special.logsumexp(p["log_weights"] + each, axis=-1)
    return np.stack([pixel, *[np.zeros_like(pixel)] * (x.shape[-1] - 1)], axis=-1)


REFERENCE = {
    "gaussian": lambda p, x, _: stats.norm.logpdf(x, p["loc"], p["scale"]),
    "student_t": lambda p, x, _: stats.t.logpdf(x, p["df"], p["loc"], p["scale"]),
    "calendar": lambda p, x, _: calendar(p, x),
    "mixture": lambda p, x, _: mixed(p, x),
    "bernoulli": lambda p, x, _: stats.bernoulli.logpmf(x, special.expit(p["logits"])),
    "categorical": lambda p, x, levels: pick(p["log_probs"], x, levels),
    "ordinal": ordinal,
    "poisson": lambda p, x, _: stats.poisson.logpmf(x, p["rate"]),
    "negative_binomial": lambda p, x, _: negative_binomial(p, x),
    "zero_inflated_poisson": lambda p, x, _: inflated(stats.poisson.logpmf(x, p["rate"]), p, x),
    "zero_inflated_negative_binomial": lambda p, x, _: inflated(negative_binomial(p, x), p, x),
    "logistic_mixture": lambda p, x, _: logistics(p, x),
    "discretised_gaussian": lambda p, x, _: level_masses(stats.norm(0, p["scale"]), p["loc"], x),
}
DISTRIBUTION = {  # for the mass of cells: laws around zero, and the weights of their locations
    "gaussian": lambda p: (stats.norm(0, p["scale"]), p["loc"], None),
    "student_t": lambda p: (stats.t(p["df"], 0, p["scale"]), p["loc"], None),
    "mixture": lambda p: (stats.norm(0, p["scales"]), p["locs"], np.exp(p["log_weights"])),
}


def mass(case, p, y, d):
    """Mass of the cells y - d to y + d: by the left tail, where cdf keeps its digits."""
    law, loc, weights = DISTRIBUTION[case.name](p)
    if weights is not None:
        y, d = y[..., None], d[..., None]
    far = -np.abs(y - loc)
    found = law.cdf(far + d) - law.cdf(far - d)
    return found if weights is None else (weights * found).sum(-1)


# ---------------------------------------------------------------------------------------------- the cases


@dataclass(frozen=True)
class Case:
    name: str
    kind: str
    options: dict = field(default_factory=dict)
    cell: tuple = CELLS

    def __str__(self):
        exact = [] if any(self.cell) else ["exact"]
        return ".".join([self.kind, self.name, *map(str, self.options.values()), *exact])

    @property
    def spec(self):
        levels = {"bernoulli": (2, 2, 2)}.get(self.name, (2, 3, 7))
        return BlockSpec(
            name=str(self),
            kind=self.kind,
            likelihood=self.name,
            fields=("a",) if self.kind in ("vector", "image") else ("a", "b", "c"),
            event=EVENTS.get(self.kind, (3,) if self.name == "calendar" else ()),
            levels=levels if self.kind == "category" else (),
            cell={"number": self.cell, "datetime": 2 * self.cell if self.name == "calendar" else self.cell}.get(
                self.kind, ()
            ),
            options=self.options,
        )

    def head(self, dtype=torch.float64, seed=0):
        """The likelihood with seeded weights, and a hidden vector that spreads its parameters."""
        torch.manual_seed(seed)
        module = make(self.spec, WIDTH).to(dtype).eval()
        if self.options.get("scale") == "optimal":  # so that fields have different running scales
            with torch.no_grad():
                module.squares.copy_(torch.linspace(0.5, 4.0, module.squares.numel()).reshape_as(module.squares))
                module.weight.fill_(1.0)
        return module, 3.0 * torch.randn(K, B, WIDTH, dtype=dtype)

    def draws(self, params, seed=0):
        """Encoded values (B, *shape) drawn from the first sample's distribution."""
        u = np.random.default_rng(seed).uniform(0.01, 0.99, (1, B, *self.spec.shape))
        first = {name: value[:1] for name, value in arrays(params).items()}
        values = FAMILIES[self.name].ppf(first, u, self.spec)[0]
        return torch.from_numpy(values if self.kind == "category" else values.astype(np.float64))

    def halves(self, dtype=torch.float64, seed=0):
        """Half widths (B, F) of cells: none, narrow, the field's own, and wide; None for other kinds."""
        if self.kind != "number":
            return None
        rows = torch.tensor([0.0, 0.01, 1.0, 3.0], dtype=dtype)[:, None]
        return rows * torch.tensor(self.cell, dtype=dtype)


def every_case():
    cases = [Case(name, kind) for name in LIKELIHOODS for kind in FAMILIES[name].kinds]
    scales = ({"scale": "fixed"}, {"scale": "optimal"})
    cases += [Case("gaussian", kind, scale) for kind in ("number", "vector") for scale in scales]
    cases += [Case("discretised_gaussian", "image", scale) for scale in scales]
    return [*cases, *(Case(name, "number", cell=(0.0, 0.0, 0.0)) for name in DISTRIBUTION)]


CASES = every_case()
ON_NUMBERS = [case for case in CASES if case.kind == "number" and any(case.cell)]
DISCRETE = [case for case in CASES if case.kind in ("category", "count")]
over = pytest.mark.parametrize("case", CASES, ids=str)


def arrays(params):
    return {name: value.detach().numpy().astype(np.float64) for name, value in params.items()}


def total(module, params, values, half=None):
    """Graph and constant together, in float64 NumPy."""
    log_p = module.log_prob(params, values, half).detach().numpy().astype(np.float64)
    return log_p + FAMILIES[module.spec.likelihood].constant(values.numpy())


def wide(values):
    """Values as 64-bit NumPy, so that SciPy computes in double precision."""
    return values.numpy().astype(np.int64 if values.dtype == torch.int64 else np.float64)


def zeros(case, rows=B, dtype=torch.float64):
    return torch.zeros(rows, *case.spec.shape, dtype=torch.int64 if case.kind == "category" else dtype)


# ---------------------------------------------------------------------------------------------- the registry


def test_the_two_halves_and_the_references_have_the_same_names():
    assert list(LIKELIHOODS) == list(FAMILIES)
    assert set(REFERENCE) == set(LIKELIHOODS)
    assert {case.name for case in CASES} == set(LIKELIHOODS)
    assert set(DISTRIBUTION) == {case.name for case in ON_NUMBERS}


@over
def test_params_have_the_names_and_shapes_that_the_family_declares(case):
    module, h = case.head()
    params = module(h)
    assert tuple(params) == FAMILIES[case.name].params
    shapes = {
        "log_probs": (K, B, sum(case.spec.levels)),
        "cutpoints": (1, 1, 3, max(case.spec.levels, default=0) + 1),
        "day_log_probs": (K, B, 3, 7),
        **dict.fromkeys(("week_loc", "week_scale"), (K, B, 3)),
        **dict.fromkeys(("clock_log_weights", "clock_locs", "clock_scales"), (K, B, 3, 5)),
        **dict.fromkeys(("log_weights", "locs", "scales"), (K, B, 3, 5)),
    }
    if case.name == "logistic_mixture":
        shapes |= dict.fromkeys(("locs", "scales", "leans"), (K, B, *case.spec.shape, 5))
        shapes["log_weights"] = (K, B, *case.spec.shape[:-1], 5)
    for name, value in params.items():
        assert value.shape == shapes.get(name, (K, B, *case.spec.shape)), name
    half = case.halves()
    assert module.log_prob(params, case.draws(params), half).shape == (K, B, *case.spec.shape)


# ---------------------------------------------------------------------------------------------- the density


@over
def test_log_prob_and_constant_are_scipys(case):
    for seed in range(3):
        module, h = case.head(seed=seed)
        params = module(h)
        values = case.draws(params, seed)
        expected = REFERENCE[case.name](arrays(params), values.numpy(), case.spec.levels)
        np.testing.assert_allclose(total(module, params, values), expected, rtol=1e-8, atol=1e-8)
        if case.kind == "number":  # half a width of zero is the density itself, up to the rounding of stored nodes
            found = total(module, params, values, torch.zeros_like(values))
            np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@over
def test_float32_agrees_with_scipy(case):
    module, h = case.head(torch.float32)
    params = module(h)
    values = case.draws(params)
    values = values if case.kind == "category" else values.float()
    expected = REFERENCE[case.name](arrays(params), wide(values), case.spec.levels)
    np.testing.assert_allclose(total(module, params, values), expected, rtol=3e-6, atol=5e-6)


@pytest.mark.parametrize("case", ON_NUMBERS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_cells_have_scipys_mass(case, dtype):
    module, h = case.head(dtype)
    params = module(h)
    values, half = case.draws(params).to(dtype), torch.tensor(case.cell, dtype=dtype).expand(B, -1)
    found = total(module, params, values, half)
    p, y, d = arrays(params), values.double().numpy(), half.double().numpy()
    expected = np.log(mass(case, p, y, d) / (2 * d))
    widths = d / p["scale"] if "scale" in p else d[..., None] / p["scales"]
    assert np.ptp(widths) > 0.5  # narrow and wide cells are among them
    np.testing.assert_allclose(found, expected, rtol=3e-6, atol=5e-6)


def single(case, **params):
    """A head of one field, and its parameters given outright with shape (1, 1, 1)."""
    spec = BlockSpec(name="one", kind=case.kind, likelihood=case.name, fields=("a",), cell=case.cell[:1])
    full = {name: torch.tensor([[[value]]], dtype=torch.float64) for name, value in params.items()}
    return make(spec, WIDTH).double(), full


def law_params(case, scale):
    if case.name == "mixture":
        shares = np.log([0.5, 0.25, 0.15, 0.06, 0.04])
        return {"log_weights": shares.tolist(), "locs": [0.3, -0.4, 1.0, 0.3, 0.8], "scales": [scale] * 4 + [2 * scale]}
    return {"loc": 0.3, "scale": scale} | ({"df": 2.5} if case.name == "student_t" else {})


@pytest.mark.parametrize("case", ON_NUMBERS, ids=str)
def test_density_integrates_to_one(case):
    module, params = single(case, **law_params(case, 0.7))
    grid = torch.linspace(-16.0, 16.0, 200_001, dtype=torch.float64).sinh()[:, None]  # heavy tails need a long grid
    density = np.exp(total(module, params, grid, torch.zeros_like(grid))[0, :, 0])
    assert abs(np.trapezoid(density, grid[:, 0].numpy()) - 1.0) < 1e-5


@pytest.mark.parametrize("ratio", [0.01, 0.5, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("case", ON_NUMBERS, ids=str)
def test_lattice_cells_sum_to_one(case, ratio):
    """Half cell over scale from fine to the smallest scale that the likelihood allows (2 for t, 3 for the others)."""
    if case.name == "student_t":
        ratio = min(ratio, 2.0)
    half = 0.2
    module, params = single(case, **law_params(case, half / ratio))
    far = 4e4 if case.name == "student_t" else 12.0 * half / ratio + 2.0
    centres = torch.arange(-far, far, 2 * half, dtype=torch.float64)[:, None]
    mass = np.exp(total(module, params, centres, torch.full_like(centres, half))) * 2 * half
    assert abs(mass.sum() - 1.0) < 2e-6


@pytest.mark.parametrize("case", DISCRETE, ids=str)
def test_mass_sums_to_one(case):
    module, h = case.head()
    params = module(h)
    most = 7 if case.kind == "category" else 40_000
    mass = np.zeros((K, B, 3))
    rows = zeros(case)
    for code in range(7) if case.kind == "category" else ():
        inside = np.array([code < level for level in case.spec.levels])
        codes = torch.where(torch.from_numpy(inside), rows + code, 0)
        mass += np.where(inside, np.exp(total(module, params, codes)), 0.0)
    if case.kind == "count":
        for k in range(K):
            for b in range(B):
                one = {name: value[k : k + 1, b : b + 1] for name, value in params.items()}
                counts = torch.arange(most, dtype=torch.float64)[:, None].expand(-1, 3)
                mass[k, b] = np.exp(total(module, one, counts)[0]).sum(0)
        mean = FAMILIES[case.name].mean(arrays(params), case.spec)
        assert mean.max() < most / 50
    np.testing.assert_allclose(mass, 1.0, rtol=1e-9)


@pytest.mark.parametrize("name", ["logistic_mixture", "discretised_gaussian"])
def test_levels_sum_to_one_and_are_drawn_by_their_mass(name):
    spec = BlockSpec(name="x", kind="image", likelihood=name, fields=("x",), event=(1, 1, 1))
    torch.manual_seed(1)
    module = make(spec, WIDTH).double()
    params = module(torch.randn(1, 1, WIDTH, dtype=torch.float64))
    levels = torch.arange(256, dtype=torch.float64).reshape(-1, 1, 1, 1, 1)
    mass = module.log_prob(params, levels).detach().exp().flatten()
    np.testing.assert_allclose(mass.sum(), 1.0, atol=1e-12)
    u = np.linspace(0.0005, 0.9995, 500)
    drawn = FAMILIES[name].ppf(arrays(params), u.reshape(1, -1, 1, 1, 1, 1), spec).flatten().astype(int)
    below = np.concatenate([[0.0], np.cumsum(mass.numpy())])
    assert (below[drawn] < u + 1e-9).all()
    assert (u <= below[drawn + 1] + 1e-9).all()


def test_colours_are_drawn_together():
    """Draws of green and blue follow the law of the graph given red: their mean log-mass is minus its entropy."""
    spec = BlockSpec(name="x", kind="image", likelihood="logistic_mixture", fields=("x",), event=(1, 1, 3))
    torch.manual_seed(2)
    module = make(spec, WIDTH).double()
    params = {n: v.detach() for n, v in module(2.0 * torch.randn(1, 1, WIDTH, dtype=torch.float64)).items()}
    coarse = {"log_weights": params["log_weights"], "leans": params["leans"]}
    coarse |= {"locs": params["locs"], "scales": params["scales"].clamp(max=0.02)}  # a few hundred colours matter
    u = np.random.default_rng(0).uniform(size=(1, 40_000, 1, 1, 1, 3))
    drawn = FAMILIES["logistic_mixture"].ppf(arrays(coarse), u, spec)
    values = torch.from_numpy(drawn[0])
    log_p = module.log_prob(coarse, values).sum((2, 3, 4, 5))[0]
    _colours, index, times = np.unique(drawn[0].reshape(-1, 3), axis=0, return_index=True, return_counts=True)
    often = times > 50
    expected = 40_000 * log_p[index[often]].exp().numpy()
    assert often.sum() > 20
    np.testing.assert_array_less(np.abs(times[often] - expected) / np.sqrt(expected), 5.5)


def test_binary_vectors_sum_to_one():
    case = Case("bernoulli", "vector")
    module, h = case.head()
    params = module(h)
    both = [np.exp(total(module, params, torch.full((B, 1, 4), value, dtype=torch.float64))) for value in (0.0, 1.0)]
    np.testing.assert_allclose(sum(both), 1.0, rtol=1e-12)


COUNT_EXTREMES = [
    {"rate": 3e6, "mean": 3e6, "dispersion": 1e3},
    {"rate": 1e-6, "mean": 1e-6, "dispersion": 7e-3},
    {"rate": 40.0, "mean": 40.0, "dispersion": 7e-3},
    {"rate": 500.0, "mean": 1e-6, "dispersion": 1e3},
    {"rate": 1e4, "mean": 1e4, "dispersion": 1.0},
]


@pytest.mark.parametrize("case", [case for case in CASES if case.kind == "count"], ids=str)
@pytest.mark.parametrize("at", range(len(COUNT_EXTREMES)))
def test_extreme_counts_in_float32_agree_with_exact_arithmetic(case, at):
    import mpmath as mp

    given = {name: float(np.float32(v)) for name, v in (COUNT_EXTREMES[at] | {"zero_logits": -1.5}).items()}
    given = {name: given[name] for name in FAMILIES[case.name].params}
    near = given.get("rate", given.get("mean"))
    x = np.unique(np.round([0, 1, 2, 7, 30, 0.5 * near, near, near + np.sqrt(near), 1.2 * near]))

    def exact(value):
        with mp.workdps(40):
            r = given.get("dispersion")
            if r is None:
                log_p = value * mp.log(near) - near - mp.loggamma(value + 1)
            else:
                log_p = mp.loggamma(value + r) - mp.loggamma(r) - mp.loggamma(value + 1)
                log_p += r * mp.log(mp.mpf(r) / (r + mp.mpf(near))) + value * mp.log(near / (r + mp.mpf(near)))
            if "zero_logits" in given:
                pi = 1 / (1 + mp.exp(-mp.mpf(given["zero_logits"])))
                log_p = mp.log((pi if value == 0 else 0) + (1 - pi) * mp.exp(log_p))
            return float(log_p)

    module = make(BlockSpec(name="c", kind="count", likelihood=case.name, fields=("a",)), WIDTH)
    params = {name: torch.full((1, 1, 1), value) for name, value in given.items()}
    found = total(module, params, torch.from_numpy(x.astype(np.float32))[:, None])[0, :, 0]
    np.testing.assert_allclose(found, [exact(float(value)) for value in x], rtol=3e-6, atol=5e-6)


# ---------------------------------------------------------------------------------------------- quantiles


@pytest.mark.parametrize("case", DISCRETE, ids=str)
def test_ppf_inverts_the_mass_of_the_graph(case):
    """F(x - 1) < u <= F(x), with F summed from this likelihood's own log_prob."""
    module, h = case.head()
    params = {name: value[:1, :1] for name, value in module(h).items()}
    u = np.linspace(0.0005, 0.9995, 2001)[None, :, None] + np.zeros((1, 1, 3))
    drawn = FAMILIES[case.name].ppf(arrays(params), u, case.spec)[0]
    most = int(drawn.max()) + 2
    support = torch.arange(most)[:, None].expand(-1, 3)
    if case.kind == "category":
        levels = torch.tensor(case.spec.levels)
        tiled = {name: value.expand(1, len(support), *value.shape[2:]) for name, value in params.items()}
        mass = np.exp(total(module, tiled, torch.minimum(support, levels - 1))[0])
        mass[support.numpy() >= levels.numpy()] = 0.0
        assert (drawn <= levels.numpy() - 1).all()
    else:
        mass = np.exp(total(module, params, support.double())[0])
    cumulative = np.concatenate([np.zeros((1, 3)), np.cumsum(mass, axis=0)])
    index = drawn.astype(np.int64)
    assert (np.take_along_axis(cumulative, index, 0) < u[0] + 1e-9).all()
    assert (u[0] <= np.take_along_axis(cumulative, index + 1, 0) + 1e-9).all()
    assert len(np.unique(index)) > 1


@pytest.mark.parametrize("case", ON_NUMBERS, ids=str)
def test_ppf_inverts_the_density_of_the_graph(case):
    """Between two quantiles lies the probability that the density integrates to."""
    module, h = case.head()
    params = {name: value[:1, :1] for name, value in module(h).items()}
    edges = np.array([0.001, 0.02, 0.2, 0.5, 0.7, 0.95, 0.999])
    at = FAMILIES[case.name].ppf(arrays(params), edges[None, :, None] + np.zeros((1, 1, 3)), case.spec)[0]
    t = np.linspace(0.0, 1.0, 2001)[:, None]
    for i in range(len(edges) - 1):
        grid = at[i] + (at[i + 1] - at[i]) * t
        density = np.exp(total(module, params, torch.from_numpy(grid))[0])
        mass = np.trapezoid(density, grid, axis=0)
        np.testing.assert_allclose(mass, edges[i + 1] - edges[i], rtol=2e-5)


@pytest.mark.parametrize("case", [case for case in CASES if case.kind == "category"], ids=str)
def test_point_is_the_code_with_the_largest_log_prob(case):
    module, h = case.head()
    params = module(h)
    levels = np.array(case.spec.levels)
    scores = np.full((7, K, B, 3), -np.inf)
    for code in range(7):
        scores[code] = total(module, params, torch.from_numpy(np.minimum(code, levels - 1)).expand(B, -1))
        scores[code][..., code >= levels] = -np.inf
    np.testing.assert_array_equal(FAMILIES[case.name].point(arrays(params), case.spec), scores.argmax(0))


# ---------------------------------------------------------------------------------------------- gradients


@over
def test_gradcheck(case):
    """Through projection, domain map and log-density, with respect to the hidden vector, the weights and the cells."""
    module, h = case.head()
    values, half = case.draws(module(h))[:3], case.halves()
    weights = {name: p.detach().clone().requires_grad_() for name, p in module.named_parameters() if p.numel()}
    h = h[:2, :3].clone().requires_grad_()

    def run(h, *tensors):
        params = torch.func.functional_call(module, dict(zip(weights, tensors, strict=False)), (h,))
        return module.log_prob(params, *(tensors[len(weights) :] or (values,)))

    extra = [values.clone().requires_grad_(), half[1:4].clone().requires_grad_()] if case.kind == "number" else []
    assert torch.autograd.gradcheck(run, (h, *weights.values(), *extra), atol=1e-5, rtol=1e-4)
    gradients = torch.autograd.grad(run(h, *weights.values(), *extra).sum(), list(weights.values()))
    for name, gradient in zip(weights, gradients, strict=True):
        assert gradient.abs().sum() > 0.0, name


@over
def test_masked_cells_are_finite_and_give_exactly_no_gradient(case):
    module, h = case.head(torch.float32)
    for amplitude in (1.0, 1e3):
        hidden = (h * amplitude).requires_grad_()
        values = zeros(case, dtype=torch.float32)
        half = torch.zeros(B, 3) if case.kind == "number" else None
        log_p = module.log_prob(module(hidden), values, half)
        assert torch.isfinite(log_p).all()
        masked = torch.where(torch.zeros(log_p.shape, dtype=torch.bool), log_p, 0.0)
        (gradient,) = torch.autograd.grad(masked.sum(), hidden, retain_graph=True)
        assert (gradient == 0.0).all()  # inf * 0 would be NaN
        (gradient,) = torch.autograd.grad(log_p.sum(), hidden)
        assert torch.isfinite(gradient).all()


@over
def test_extreme_inputs_stay_finite(case):
    module, h = case.head(torch.float32)
    extremes = {"number": [-1e6, 1e6, 0.0, 1e-30], "vector": [-1e6, 1e6, 0.0, 1.0], "count": [0.0, 1.0, 1e6, 2.0**24]}
    extremes["datetime"] = extremes["number"]
    extremes["image"] = [0.0, 255.0, 127.0, 1.0]
    if case.name == "bernoulli":
        extremes = {key: [0.0, 1.0, 1.0, 0.0] for key in ("vector", "image")}
    if case.kind == "category":
        values = torch.stack([zeros(case)[0], *3 * [torch.tensor(case.spec.levels) - 1]])
    else:
        values = torch.tensor(extremes[case.kind]).reshape(B, *(1,) * len(case.spec.shape)).expand(B, *case.spec.shape)
    for half in (0.0, 1e-30, 1e-3, 1e5) if case.kind in ("number", "datetime") else (None,):
        for amplitude in (0.0, 1e3, -1e3):
            hidden = (h * amplitude).requires_grad_()
            width = None if half is None else torch.full((B, *case.spec.shape), half)
            params = module(hidden)
            log_p = module.log_prob(params, values, width)
            log_p.sum().backward()
            assert all(torch.isfinite(value).all() for value in params.values())
            assert torch.isfinite(log_p).all()
            assert torch.isfinite(hidden.grad).all()
            assert all(torch.isfinite(weight.grad).all() for weight in module.parameters())


@over
def test_parameters_keep_their_bounds(case):
    module, h = case.head(torch.float32)
    with torch.no_grad():
        params = module(h * 1e6)
    scale = params.get("scales", params.get("scale"))
    if case.kind == "image" and scale is not None and "scale" not in case.options:
        np.testing.assert_allclose([scale.min(), scale.max()], [1 / 255 / 4, np.exp(2)], rtol=1e-4)
    elif scale is not None and case.options.get("scale", "learned") == "learned":
        fraction = {"gaussian": 1 / 3, "student_t": 1 / 2, "mixture": 1 / 3}[case.name]
        floor = np.maximum(1e-3, fraction * np.array(case.spec.cell or (0.0,)))
        lowest = (scale.amin(-1) if case.name == "mixture" else scale).amin((0, 1)).flatten().numpy()
        np.testing.assert_allclose(lowest, np.broadcast_to(floor, lowest.shape), rtol=1e-4)
        assert scale.max() <= 100.001
    if "log_weights" in params:
        np.testing.assert_allclose(params["log_weights"].exp().sum(-1), 1.0, rtol=1e-5)
        assert params["log_weights"].min() > -18.0
    bounds = {
        "df": (2, 100),
        "logits": (-15, 15),
        "location": (-15, 15),
        "zero_logits": (-15, 15),
        "rate": (np.exp(-15), np.exp(15)),
        "mean": (np.exp(-15), np.exp(15)),
        "dispersion": (np.exp(-5), np.exp(7)),
    }
    if case.name == "logistic_mixture":
        bounds["leans"] = (-1, 1)
    for name in bounds.keys() & params.keys():
        low, high = bounds[name]
        assert abs(float(params[name].min()) / low - 1) < 1e-4
        assert abs(float(params[name].max()) / high - 1) < 1e-4
    if "log_probs" in params:
        assert params["log_probs"].min() > -33.0


# ---------------------------------------------------------------------------------------------- independence


@over
def test_one_value_changes_one_log_prob_and_no_other(case):
    module, h = case.head(torch.float32)
    params = module(h)
    values = zeros(case, dtype=torch.float32)
    half = case.halves(torch.float32)
    before = module.log_prob(params, values, half)
    flat = values.flatten().clone()
    for position in range(flat.numel()):
        changed = flat.clone()
        changed[position] = 1
        after = module.log_prob(params, changed.reshape(values.shape), half)
        moved = (after != before).flatten(1).any(0)
        # channels of a pixel share their component, and their mass is told with the first
        told = position - position % 3 if case.name == "logistic_mixture" else position
        assert moved[told]
        assert moved.sum() == 1


@over
def test_a_row_does_not_depend_on_its_batch(case):
    module, h = case.head(torch.float32)
    values, half = case.draws(module(h)), case.halves(torch.float32)
    values = values if case.kind == "category" else values.float()
    together = module.log_prob(module(h), values, half)
    for row in range(B):
        at = slice(row, row + 1)
        alone = module.log_prob(module(h[:, at]), values[at], None if half is None else half[at])
        torch.testing.assert_close(alone, together[:, at], rtol=1e-5, atol=1e-5)


def test_many_categories_are_normalised_each_by_itself():
    levels = tuple(2 + (7 * i) % 23 for i in range(40))
    spec = BlockSpec(
        name="wide", kind="category", likelihood="categorical", fields=tuple(f"c{i}" for i in range(40)), levels=levels
    )
    torch.manual_seed(0)
    module = make(spec, WIDTH).eval()
    raw = 40.0 * torch.randn(2, 3, sum(levels))
    log_probs = module.domain(raw)["log_probs"].detach().numpy()
    expected = pick(15 * np.tanh(raw.numpy().astype(float) / 15), np.zeros((3, 40), np.int64), levels)
    offsets = np.cumsum(levels) - levels
    np.testing.assert_allclose(np.add.reduceat(np.exp(log_probs), offsets, axis=-1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(log_probs[..., offsets], expected, rtol=1e-4, atol=1e-5)
    exact = pick(np.asarray(soft(raw)), np.zeros((3, 40), np.int64), levels)
    np.testing.assert_allclose(log_probs[..., offsets], exact, rtol=1e-5, atol=1e-5)


def soft(raw):
    from vaekit.nn.special import soft_bound

    return soft_bound(raw.double(), -15.0, 15.0)


@pytest.mark.parametrize("name", ["categorical", "ordinal"])
def test_a_field_with_one_level_is_certain(name):
    spec = BlockSpec(name="c", kind="category", likelihood=name, fields=("a", "b"), levels=(1, 1))
    module = make(spec, WIDTH)
    log_p = module.log_prob(module(torch.randn(2, 3, WIDTH)), torch.zeros(3, 2, dtype=torch.int64))
    torch.testing.assert_close(log_p, torch.zeros(2, 3, 2), atol=1e-5, rtol=0.0)


# ---------------------------------------------------------------------------------------------- options


def test_scale_options_change_the_result():
    found = {}
    for label, options in {
        "default": {},
        "learned": {"scale": "learned"},
        "fixed": {"scale": "fixed"},
        "narrow": {"scale": "fixed", "sigma": 0.25},
        "optimal": {"scale": "optimal"},
    }.items():
        case = Case("gaussian", "number", options)
        module, h = case.head()
        params = {**module(h), "loc": torch.zeros(K, B, 3, dtype=torch.float64)}
        found[label] = module.log_prob(params, torch.ones(B, 3, dtype=torch.float64))
    assert torch.equal(found.pop("default"), found["learned"])
    np.testing.assert_allclose(found["fixed"].detach().numpy(), stats.norm.logpdf(1.0), rtol=1e-9)
    np.testing.assert_allclose(found["narrow"].detach().numpy(), stats.norm.logpdf(1.0, 0.0, 0.25), rtol=1e-7)
    labels = list(found)
    for i, one in enumerate(labels):
        for other in labels[i + 1 :]:
            assert not torch.allclose(found[one], found[other]), (one, other)
    assert float(found["learned"].detach().std()) > 0.0


@pytest.mark.parametrize("components", [2, 9])
def test_a_mixture_has_as_many_components_as_asked_and_starts_like_the_encoded_column(components):
    case = Case("mixture", "number", {"components": components}, cell=(0.0, 0.0, 0.0))
    module = make(case.spec, WIDTH).double()
    with torch.no_grad():
        params = {name: value.numpy() for name, value in module(torch.zeros(1, 1, WIDTH).double()).items()}
        module.head.bias.zero_()
        start = arrays(module(torch.zeros(1, 1, WIDTH).double()))
    assert params["locs"].shape == (1, 1, 3, components)
    x = np.linspace(-3, 3, 61)[:, None, None, None]
    one = {name: value[:, :, :1] for name, value in start.items()}
    distance = np.abs(np.exp(mixed(one, x)) - stats.norm.pdf(x)).mean()
    assert distance < 0.06


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"likelihood": "mixture", "options": {"components": 1}}, "whole number from 2"),
        ({"likelihood": "mixture", "options": {"components": 2.5}}, "whole number from 2"),
        ({"likelihood": "mixture", "options": {"components": "many"}}, "positive number"),
        ({"options": {"scales": "fixed"}}, "no option 'scales'"),
        ({"options": {"scale": "fix"}}, "one of fixed, learned, optimal"),
        ({"options": {"sigma": 2.0}}, "needs scale='fixed'"),
        ({"options": {"scale": "learned", "sigma": 2.0}}, "needs scale='fixed'"),
        ({"options": {"scale": "fixed", "sigma": 0.0}}, "positive number"),
        ({"options": {"scale": "fixed", "sigma": "big"}}, "positive number"),
        ({"options": {"scale": "fixed", "sigma": float("nan")}}, "positive number"),
        ({"likelihood": "student_t", "options": {"scale": "fixed"}}, "no option 'scale'"),
        ({"likelihood": "normal"}, "expected a likelihood of gaussian"),
        ({"kind": "count"}, "models fields of kind number, vector"),
        ({"likelihood": "bernoulli", "kind": "category", "levels": (3,)}, "two levels"),
        ({"likelihood": "categorical", "kind": "category"}, "number of levels"),
    ],
)
def test_wrong_specs_are_config_errors(changes, message):
    spec = {"name": "n", "kind": "number", "likelihood": "gaussian", "fields": ("a",), **changes}
    with pytest.raises(ConfigError, match=message):
        make(BlockSpec(**spec), WIDTH)


# ---------------------------------------------------------------------------------------------- the optimal scale


def seen_batch(case, seed=0):
    generator = torch.Generator().manual_seed(seed)
    values = 3.0 * torch.randn(B, *case.spec.shape, generator=generator, dtype=torch.float64)
    observed = torch.rand(B, *case.spec.shape, generator=generator) < 0.7
    observed[0] = True
    return torch.where(observed, values, 0.0), observed


@pytest.mark.parametrize("kind", ["number", "vector"])
def test_optimal_scale_is_the_error_of_the_observed_cells_per_field(kind):
    case = Case("gaussian", kind, {"scale": "optimal"}, cell=(0.0, 0.0, 0.0))
    module, h = case.head()
    module.train()
    params = module(h)
    values, observed = seen_batch(case)
    found = module.observe(params, values, observed)
    squared = ((values - params["loc"]) ** 2).detach().numpy()
    mask = np.broadcast_to(observed.numpy(), squared.shape)
    for f in range(squared.shape[2]):
        rmse = np.sqrt(squared[:, :, f][mask[:, :, f]].mean())
        np.testing.assert_allclose(found["scale"][:, :, f].numpy(), rmse, rtol=1e-12)
    hidden = torch.where(observed, values, 1e9)  # what is masked cannot matter
    again = module.observe(params, hidden, observed)
    assert torch.equal(again["scale"], found["scale"])
    assert found["loc"].requires_grad
    assert not found["scale"].requires_grad


def test_optimal_scale_minimises_the_loss():
    case = Case("gaussian", "number", {"scale": "optimal"}, cell=(0.0, 0.0, 0.0))
    module, h = case.head()
    params = module(h)
    values, observed = seen_batch(case)
    best = module.observe(params, values, observed)

    def loss(factor):
        log_p = module.log_prob({**best, "scale": best["scale"] * factor}, values)
        return -torch.where(observed, log_p, 0.0).sum((0, 1))

    assert (loss(1.0) < loss(0.98)).all()
    assert (loss(1.0) < loss(1.02)).all()


def test_running_scale_follows_the_batches_and_is_saved():
    case = Case("gaussian", "number", {"scale": "optimal"}, cell=(0.0, 0.0, 0.0))
    module = make(case.spec, WIDTH).double()
    h = torch.zeros(1, B, WIDTH, dtype=torch.float64)
    assert (module(h)["scale"] == 1.0).all()  # before any batch
    numerator, denominator = np.zeros(3), 0.0
    for step in range(4):
        values, observed = seen_batch(case, step)
        error = np.where(observed.numpy(), ((values - module(h)["loc"][0]) ** 2).detach().numpy(), 0.0)
        mean = error.sum(0) / observed.numpy().sum(0)
        numerator, denominator = 0.99 * numerator + 0.01 * mean, 0.99 * denominator + 0.01
        module.observe(module(h), values, observed)
    expected = np.sqrt(numerator / denominator)
    np.testing.assert_allclose(module.eval()(h)["scale"][0, 0].numpy(), expected, rtol=1e-9)
    before = module(h)["scale"]
    module.log_prob(module(h), values)  # evaluation moves nothing
    assert torch.equal(module(h)["scale"], before)
    twin = make(case.spec, WIDTH).double()
    twin.load_state_dict(module.state_dict())
    assert torch.equal(twin(h)["scale"], before)


def test_a_field_without_observed_cells_keeps_its_running_scale():
    case = Case("gaussian", "number", {"scale": "optimal"}, cell=(0.0, 0.0, 0.0))
    module, h = case.head()
    before = module.running().clone()
    values, observed = seen_batch(case)
    observed[:, 1] = False
    found = module.observe(module(h), values, observed)
    assert (found["scale"][:, :, 1] == before[1]).all()
    assert module.running()[1] == before[1]
    assert module.running()[0] != before[0]


def test_optimal_scale_keeps_the_floor_of_its_cells():
    case = Case("gaussian", "number", {"scale": "optimal"}, cell=(0.0, 0.3, 3.0))
    module, h = case.head()
    params = module(h)
    exact = module.observe(params, params["loc"][0].detach(), torch.ones(B, 3, dtype=torch.bool))
    first = {**params, "loc": params["loc"][:1]}
    one = module.observe(first, params["loc"][0].detach(), torch.ones(B, 3, dtype=torch.bool))
    np.testing.assert_allclose(one["scale"][0, 0].numpy(), [1e-3, 0.1, 1.0], rtol=1e-5)
    assert (exact["scale"] >= one["scale"]).all()


@over
def test_observe_is_a_no_op_unless_the_scale_is_optimal(case):
    module, h = case.head()
    params = module(h)
    state = {name: value.clone() for name, value in module.state_dict().items()}
    values = zeros(case)
    found = module.observe(params, values, torch.ones_like(values, dtype=torch.bool))
    if case.options.get("scale") == "optimal":
        assert not torch.equal(found["scale"], params["scale"])
    else:
        assert all(found[name] is params[name] for name in params)
        assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())


# ---------------------------------------------------------------------------------------------- mixed precision, export


@over
def test_mixed_precision_keeps_the_density_in_float32(case):
    """Only the projection runs in half precision: parameters are float32 and their densities are normalised."""
    module, h = case.head(torch.float32)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        params = module(h.to(torch.bfloat16))
        values = case.draws(params)
        values = values if case.kind == "category" else values.float()
        found = total(module, params, values)
    assert all(value.dtype == torch.float32 for value in params.values())
    expected = REFERENCE[case.name](arrays(params), wide(values), case.spec.levels)
    np.testing.assert_allclose(found, expected, rtol=5e-6, atol=2e-5)
    if case.name == "categorical":
        sums = np.add.reduceat(np.exp(arrays(params)["log_probs"]), [0, 2, 5], axis=-1)
        np.testing.assert_allclose(sums, 1.0, rtol=1e-5)


# One of each family and kind, each scale option, and one block without cells. Exports take time.
EXPORTED = [
    case
    for case in CASES
    if (not case.options and any(case.cell)) or case.kind == "vector" or str(case) == "number.gaussian.exact"
]


class Everything(torch.nn.Module):
    """Cases side by side, so that one export tests them all; they share the hidden vector."""

    def __init__(self, heads):
        super().__init__()
        self.heads = torch.nn.ModuleList(heads)

    def forward(self, inputs):
        found = {}
        for case, head in zip(EXPORTED, self.heads, strict=True):
            params = head(inputs["h"])
            log_prob = head.log_prob(params, inputs[f"{case}.values"], inputs.get(f"{case}.half"))
            found |= {f"{case}.{name}": value for name, value in {**params, "log_prob": log_prob}.items()}
        return found


def feed(k, b, seed):
    """Inputs of `Everything` for K samples and B rows."""
    generator = torch.Generator().manual_seed(seed)
    inputs = {"h": 4.0 * torch.randn(k, b, WIDTH, generator=generator)}
    for case in EXPORTED:
        shape = (b, *case.spec.shape)
        if case.kind == "number":
            inputs[f"{case}.values"] = 5.0 * torch.randn(shape, generator=generator)
            inputs[f"{case}.half"] = torch.rand(shape, generator=generator) * torch.tensor(case.cell)
        elif case.kind == "category":
            levels = torch.tensor(case.spec.levels)
            inputs[f"{case}.values"] = (torch.rand(shape, generator=generator) * levels).long()
        else:
            top = 2 if case.name == "bernoulli" else 50
            inputs[f"{case}.values"] = torch.randint(top, shape, generator=generator).float()
    return inputs


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The graph in torch and in onnxruntime."""
    graph = Everything([case.head(torch.float32)[0] for case in EXPORTED]).eval()
    inputs = feed(K, B, 0)
    samples, rows = (torch.export.Dim(name, min=1, max=2**20) for name in ("K", "B"))
    with torch.no_grad():
        names = list(graph(inputs))
    assert {case.name for case in EXPORTED} == set(LIKELIHOODS)
    program = torch.onnx.export(
        graph,
        (),
        kwargs={"inputs": inputs},
        dynamo=True,
        dynamic_shapes={"inputs": {name: {0: samples, 1: rows} if name == "h" else {0: rows} for name in inputs}},
        opset_version=20,
        input_names=list(inputs),
        output_names=names,
        verbose=False,
    )
    path = tmp_path_factory.mktemp("export") / "likelihoods.onnx"
    program.save(path)
    return graph, onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(("k", "b"), [(K, B), (1, 1), (1, 6), (5, 1)])
def test_export_agrees_with_torch_for_any_number_of_samples_and_rows(exported, k, b):
    graph, session = exported
    inputs = feed(k, b, 10 * k + b)
    taken = {entry.name for entry in session.get_inputs()}
    names = [entry.name for entry in session.get_outputs()]
    found = session.run(names, {name: value.numpy() for name, value in inputs.items() if name in taken})
    with torch.no_grad():
        expected = graph(inputs)
    assert names == list(expected)
    for name, array in zip(names, found, strict=True):
        assert array.shape == tuple(expected[name].shape), name
        assert np.isfinite(array).all(), name
        np.testing.assert_allclose(array, expected[name].numpy(), rtol=1e-5, atol=1e-5, err_msg=name)
    unused = {name for name in inputs if name not in taken}
    assert unused <= {f"{case}.half" for case in EXPORTED if not any(case.cell)}

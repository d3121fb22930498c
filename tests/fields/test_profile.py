"""Profiles of parts of a column add up: ranks within the stated bound, moments and grids exact, in any order."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vaekit.fields.profile as module
from vaekit.fields.distinct import Distinct
from vaekit.fields.lattice import Grid, find_lattice, merged_grid
from vaekit.fields.number import Number
from vaekit.fields.profile import Profile
from vaekit.fields.quantile import fit_quantile
from vaekit.fields.transforms import Maps

N = 60_000
RNG = np.random.default_rng(3)
WIDE = RNG.lognormal(0.0, 5.0, N)  # over more than ten decades
SORTED = np.sort(WIDE)
COLUMNS = {
    "random": WIDE,
    "sorted": SORTED,
    "reversed": SORTED[::-1],
    "alternating ends": np.stack([SORTED[: N // 2], SORTED[: N // 2 - 1 : -1]], 1).ravel(),
    "heavy ties": np.where(RNG.random(N) < 0.5, np.round(WIDE, 1), WIDE),
    "half zeros": np.where(RNG.random(N) < 0.5, 0.0, WIDE),
    "two scales": np.where(RNG.random(N) < 0.01, 1e9 + WIDE, RNG.normal(size=N)),
}


@pytest.fixture
def small(monkeypatch):
    """Compression that sets in early, so that sixty thousand rows go through many levels of it."""
    monkeypatch.setattr(module, "EXACT", 4096)
    monkeypatch.setattr(module, "POINTS", 1024)
    monkeypatch.setattr(module, "TAILS", 64)


def parts_of(values, rows=3000):
    return [Profile.of_values(values[start : start + rows]) for start in range(0, len(values), rows)]


def in_a_row(parts):
    total = parts[0]
    for part in parts[1:]:
        total = total.merged(part)
    return total


def as_tree(parts):
    while len(parts) > 1:
        parts = [one.merged(two) for one, two in zip(parts[::2], parts[1::2], strict=False)] + (
            parts[-1:] if len(parts) % 2 else []
        )
    return parts[0]


def backwards(parts):
    return in_a_row(parts[::-1])


def worst_rank(profile, values):
    """Largest distance of the profile's ranks from the true ones, up to and below every value."""
    values = np.sort(values)
    below = np.concatenate([[0], profile.below])
    gaps = []
    for side in ("left", "right"):
        told = below[np.searchsorted(profile.values, values, side=side)]
        gaps.append(np.abs(told - np.searchsorted(values, values, side=side)).max())
    return max(gaps)


@pytest.mark.parametrize("order", [in_a_row, as_tree, backwards])
@pytest.mark.parametrize("name", COLUMNS)
def test_ranks_stay_within_the_stated_bound(name, order, small):
    values = COLUMNS[name]
    profile = order(parts_of(values))
    assert not profile.exact
    assert 0 < worst_rank(profile, values) <= profile.error
    assert profile.error < 0.02 * N
    assert profile.count == N == profile.counts.sum()
    assert (profile.values[0], profile.values[-1]) == (values.min(), values.max())
    assert np.isin(profile.values, values).all()
    np.testing.assert_allclose(profile.mean, values.mean(), rtol=1e-12)
    np.testing.assert_allclose(profile.deviation, values.std(), rtol=1e-11)


@pytest.mark.parametrize("name", COLUMNS)
def test_a_tree_of_merges_keeps_the_error_logarithmic(name, small):
    profile = as_tree(parts_of(COLUMNS[name]))
    levels = np.ceil(np.log2(N / 3000))
    assert profile.error <= levels * N / module.POINTS


def test_quantiles_have_ranks_within_the_bound(small):
    profile = as_tree(parts_of(WIDE))
    for share in np.linspace(0.0005, 0.9995, 400):
        value = profile.quantile(share)
        low, high = (np.searchsorted(SORTED, value, side=side) for side in ("left", "right"))
        assert low - profile.error <= share * N <= high + profile.error


def test_tails_stay_sharp(small):
    """Ten rows from the end a rank is exact: a group holds at most a 64th of the rows beyond it."""
    profile = as_tree(parts_of(WIDE))
    for rank in (1, 2, 5, 10, 50):
        assert profile.quantile(rank / N) == SORTED[rank - 1]
        assert profile.values[-rank] == SORTED[-rank]


def test_heavy_values_keep_their_counts(small):
    profile = as_tree(parts_of(COLUMNS["half zeros"]))
    at = int(np.searchsorted(profile.values, 0.0))
    assert profile.values[at] == 0.0
    assert profile.counts[at] == (COLUMNS["half zeros"] == 0).sum()


def test_few_distinct_values_stay_exact_whatever_the_rows():
    values = RNG.integers(0, 5000, 300_000) / 100.0
    profile = as_tree(parts_of(values, 20_000))
    exact = Profile.of_values(values)
    assert profile.exact
    np.testing.assert_array_equal(profile.values, exact.values)
    np.testing.assert_array_equal(profile.counts, exact.counts)
    assert Number.infer("x", pa.float64(), profile) == Number.infer("x", pa.float64(), exact)


def test_missing_and_infinite_rows_add_up(small):
    values = WIDE.copy()
    values[::7], values[3::11] = np.nan, np.inf
    profile, exact = as_tree(parts_of(values)), Profile.of_values(values)
    assert (profile.rows, profile.missing, profile.infinite) == (exact.rows, exact.missing, exact.infinite)
    nothing = Profile.of_values(np.full(5, np.nan))
    both = nothing.merged(profile)
    assert (both.missing, both.error, both.mean) == (profile.missing + 5, profile.error, profile.mean)


floats = st.one_of(
    st.floats(-1e90, 1e90, allow_nan=False), st.sampled_from([0.0, 1.0, -1.0, 0.1, 1e-300, 1e15]), st.just(np.nan)
)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(floats, max_size=60), min_size=2, max_size=12), st.randoms(use_true_random=False))
def test_any_parts_in_any_order_stay_within_the_bound(parts, random):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "EXACT", 32)
        patch.setattr(module, "POINTS", 8)
        patch.setattr(module, "TAILS", 2)
        profiles = [Profile.of_values(np.array(part, np.float64)) for part in parts]
        random.shuffle(profiles)
        while len(profiles) > 1:
            two, one = profiles.pop(random.randrange(len(profiles))), profiles.pop()
            profiles.append(one.merged(two))
        values = np.concatenate([np.array(part, np.float64) for part in parts])
        values = values[~np.isnan(values)]
        if len(values):
            assert worst_rank(profiles[0], values) <= profiles[0].error
            assert (np.diff(profiles[0].values) > 0).all()
            assert profiles[0].counts.sum() == len(values)


# ----------------------------------------------------------------------------------------------- what a fit makes of it


def densities(profile, at, lattice=None):
    """Log-density of points under the map of a profile and a standard normal."""
    fitted, _ = fit_quantile(profile, lattice)
    y, slope = Maps([fitted]).forward(at[:, None])
    return (-0.5 * np.square(y) - 0.5 * np.log(2 * np.pi) + np.log(slope))[:, 0]


@pytest.mark.parametrize("name", ["random", "sorted", "heavy ties", "two scales"])
def test_the_map_of_a_compressed_profile_gives_the_same_densities(name):
    """At the real size of a compression: a mean difference below two thousandths of a nat."""
    rng = np.random.default_rng(0)
    values = np.tile(COLUMNS[name], 8) * np.exp(1e-3 * rng.normal(size=8 * N))
    compressed, exact = as_tree(parts_of(values, 2**16)), Profile.of_values(values)
    assert not compressed.exact
    fresh = values[rng.choice(len(values), 50_000)]
    gap = densities(compressed, fresh) - densities(exact, fresh)
    assert np.abs(gap).mean() < 0.02
    assert abs(gap.mean()) < 0.002
    assert np.abs(gap).max() > 0  # they do differ


def test_a_column_on_a_grid_stays_on_it_when_it_is_compressed(small):
    values = 0.25 + 0.5 * RNG.integers(0, 40_000, N)
    profile = as_tree(parts_of(values))
    assert not profile.exact
    lattice = profile.lattice(whole=False, precision=1e-12)
    assert lattice == find_lattice(np.unique(values), N, whole=False, precision=1e-12)
    assert (lattice.delta, lattice.point(np.array(0.0))) == (0.5, 0.25)


def test_one_value_off_the_grid_anywhere_is_noticed(small):
    values = RNG.integers(0, 40_000, N) / 10.0
    values[33_333] = 5.03
    assert as_tree(parts_of(values)).lattice(whole=False, precision=1e-12).delta == 0.01
    values[33_333] = np.pi
    assert as_tree(parts_of(values)).lattice(whole=False, precision=1e-12) is None


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.integers(-(10**6), 10**6), min_size=2, max_size=30, unique=True),
    st.integers(1, 29),
    st.integers(0, 3),
    st.integers(1, 12),
)
def test_grids_of_parts_give_the_grid_of_the_whole(numbers, cut, decimals, step):
    values = np.array([number * step for number in numbers]) / 10.0**decimals
    cut = min(cut, len(values) - 1)
    one, two, whole = (Grid.of(np.unique(part), 1e-12) for part in (values[:cut], values[cut:], values))
    merged = merged_grid(one, two)
    assert (merged.decimals, merged.step) == (whole.decimals, whole.step)
    assert (merged.origin - whole.origin) % whole.step == 0


@pytest.mark.parametrize("count", [10, 4000, 30_000, 1_000_000])
def test_the_number_of_distinct_values_is_known_nearly(count):
    rng = np.random.default_rng(count)
    values = rng.normal(size=count)
    parts = [Distinct.of(np.unique(rng.choice(values, count // 2))) for _ in range(12)]
    total = Distinct.of(values[: count // 2])
    for part in [*parts, Distinct.of(values[count // 2 :])]:
        total = total.merged(part)
    assert total.estimate == pytest.approx(count, rel=0 if count < 4096 else 0.08)  # five standard errors


def test_a_profile_of_a_running_number_says_so(small):
    profile = as_tree(parts_of(RNG.permutation(N).astype(float)))
    assert not profile.exact
    assert profile.consecutive
    assert not as_tree(parts_of(np.concatenate([np.arange(N - 1.0), [2.0 * N]]))).consecutive


def test_a_compressed_profile_without_some_values_keeps_what_is_known_of_the_rest(small):
    rest = np.append(np.round(RNG.normal(size=N) * 1e3, 1), 0.25)
    values = np.concatenate([rest, np.full(3000, -99999.0)])
    profile = as_tree(parts_of(RNG.permutation(values)))
    left = profile.without([-99999.0])
    assert not left.exact
    assert left.error == profile.error
    assert (left.count, left.missing) == (len(rest), 3000)
    np.testing.assert_allclose([left.mean, left.deviation], [rest.mean(), rest.std()], rtol=1e-9)
    assert abs(left.distinct - len(np.unique(rest))) < 0.06 * len(rest)
    assert left.lattice(whole=False, precision=1e-12).delta == 0.05  # of tenths and one quarter
    assert worst_rank(left, rest) <= left.error


def test_a_function_of_a_compressed_profile_is_not_exact(small):
    profile = as_tree(parts_of(WIDE))
    doubled = profile.mapped(lambda values: 2.0 * values)
    assert not doubled.exact
    assert doubled.error == profile.error
    assert worst_rank(doubled, 2.0 * WIDE) <= doubled.error
    assert Profile.of_values(WIDE[:100]).mapped(np.floor).exact

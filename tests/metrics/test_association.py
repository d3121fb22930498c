"""Association, dependence and predictability of columns, against scikit-learn and closed forms."""

import numpy as np
import pytest
from sklearn.datasets import load_iris, load_wine
from sklearn.metrics import mutual_info_score

from vaekit.metrics.association import association, information, spanning_tree
from vaekit.metrics.dependence import total_dependence
from vaekit.metrics.predictable import predictable


def bins(values, count=8):
    edges = np.quantile(values, np.arange(1, count) / count, axis=0)
    return np.stack([np.searchsorted(e, v) for e, v in zip(edges.T, values.T, strict=True)], 1)


@pytest.fixture
def wine():
    data = load_wine()
    return np.column_stack([bins(data.data[:, :5]), data.target])


def test_information_is_that_of_scikit_learn_less_the_bias(wine):
    found = information(wine)
    for a in range(wine.shape[1]):
        for b in range(wine.shape[1]):
            x, y = wine[:, a], wine[:, b]
            cells = len(set(x)) + len(set(y)) - len(set(zip(x, y, strict=True))) - 1
            expected = mutual_info_score(x, y) + cells / (2 * len(x))
            assert found.nats[a, b] == pytest.approx(expected, abs=1e-9)


def test_missing_cells_leave_their_rows_out_of_a_pair_only(wine):
    gone = wine.copy()
    gone[:60, 0] = -1
    found = information(gone)
    assert found.rows[0, 1] == len(wine) - 60
    assert found.nats[0, 1] == pytest.approx(information(wine[60:]).nats[0, 1])
    assert found.nats[1, 2] == pytest.approx(information(wine).nats[1, 2])


def test_independent_columns_have_no_information_on_average():
    rng = np.random.default_rng(0)
    found = [information(rng.integers(0, 6, (400, 2))).nats[0, 1] for _ in range(300)]
    assert abs(np.mean(found)) < 4 * np.std(found) / np.sqrt(300)
    assert np.std(found) > 0


@pytest.mark.parametrize("rho", [0.3, 0.6, 0.9])
def test_association_of_normals_is_their_correlation(rho):
    x, e = np.random.default_rng(1).normal(size=(2, 40_000))
    found = association(bins(np.stack([x, rho * x + np.sqrt(1 - rho**2) * e], 1), 16))[0, 1]
    assert found == pytest.approx(rho, abs=0.03)
    assert found < rho + 0.01  # binning can only lose


def test_association_sees_what_is_not_monotone():
    x = np.random.default_rng(2).normal(size=5000)
    values = np.stack([x, np.square(x)], 1)
    assert association(bins(values))[0, 1] > 0.9 > 5 * abs(np.corrcoef(values.T)[0, 1])


def test_the_spanning_tree_is_that_of_scipy():
    from scipy.sparse.csgraph import minimum_spanning_tree

    weights = np.random.default_rng(3).random((12, 12))
    weights = weights + weights.T
    ours = sum(weights[edge] for edge in spanning_tree(weights))
    assert ours == pytest.approx(-minimum_spanning_tree(-weights).sum())


def test_dependence_of_a_chain_is_the_sum_of_its_links():
    """Total correlation of a Markov chain of normals is -½ Σ log(1 - ρ²)."""
    rng, rho = np.random.default_rng(4), np.array([0.8, 0.5, 0.7])
    values = [rng.normal(size=20_000)]
    for r in rho:
        values.append(r * values[-1] + np.sqrt(1 - r**2) * rng.normal(size=20_000))
    numbers = np.stack(values, 1)
    exact = -0.5 * np.log(1 - rho**2).sum()
    found = total_dependence(bins(numbers), numbers)
    assert found.nats == pytest.approx(exact, abs=4 * found.se)
    assert found.pair == (0, 1)
    tree = total_dependence(bins(numbers))
    assert 0.8 * exact < tree.nats < exact


def test_the_standard_error_is_that_of_new_rows():
    def once(seed):
        x, e = np.random.default_rng(seed).normal(size=(2, 500))
        numbers = np.stack([x, 0.6 * x + 0.8 * e], 1)
        return total_dependence(bins(numbers), numbers, seed)

    found = [once(seed) for seed in range(60)]
    assert np.mean([one.se for one in found]) == pytest.approx(np.std([one.nats for one in found]), rel=0.35)


def test_shuffled_columns_are_independent_and_real_ones_are_not():
    values = load_iris().data
    rng = np.random.default_rng(5)
    real = total_dependence(bins(values), values)
    assert real.nats > 10 * real.se
    assert not real.independent
    verdicts = []
    for _ in range(20):
        mixed = rng.permuted(values, axis=0)
        verdicts.append(total_dependence(bins(mixed), mixed).independent)
    assert np.mean(verdicts) >= 0.8


def test_predictable_is_what_a_ridge_classifier_achieves():
    from sklearn.linear_model import RidgeClassifier
    from sklearn.model_selection import cross_val_score
    from sklearn.preprocessing import OneHotEncoder

    data = load_wine()
    codes = np.column_stack([bins(data.data), data.target])
    hot = OneHotEncoder(handle_unknown="ignore").fit_transform(codes[:, :-1])
    theirs = cross_val_score(RidgeClassifier(alpha=1.0), hot, data.target, cv=2).mean()
    ours = predictable(codes)[-1]
    assert ours.accuracy == pytest.approx(theirs, abs=0.05)
    assert ours.rows == len(codes)
    assert ours.determined
    assert not predictable(np.random.default_rng(6).permuted(codes, axis=0))[-1].determined

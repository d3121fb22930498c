"""A table of which half is missing: fitted with its holes, filled better than by neighbours, with honest intervals."""

import numpy as np
import pyarrow as pa
from sklearn.datasets import load_breast_cancer
from sklearn.impute import KNNImputer

import vaekit as vk


def test_an_importance_weighted_fit_fills_half_a_table_better_than_neighbours():
    truth = load_breast_cancer().data[:, :12]
    gone = np.random.default_rng(0).random(truth.shape) < 0.5
    holed = np.where(gone, np.nan, truth)
    mean, std = np.nanmean(holed, axis=0), np.nanstd(holed, axis=0)
    neighbours = KNNImputer(n_neighbors=10).fit_transform((holed - mean) / std) * std + mean
    names = [f"c{i}" for i in range(truth.shape[1])]
    table = pa.table({n: pa.array(c, mask=m) for n, c, m in zip(names, truth.T, gone.T, strict=True)})
    options = {"objective": "iwae", "samples": 5, "calibration": 0.0, "epochs": 100}
    answer = vk.fit(table, progress=False, device="cpu", **options).impute(table, interval=0.9)
    filled, low, high = (
        np.stack([answer[name + suffix].to_numpy() for name in names], axis=1) for suffix in ("", ".low", ".high")
    )

    def error(values):
        return np.square((values - truth) / truth.std(0))[gone].mean()

    assert error(filled) < 0.85 * error(neighbours)
    np.testing.assert_array_equal(filled[~gone], truth[~gone])
    assert 0.82 < ((low <= truth) & (truth <= high))[gone].mean() < 0.96

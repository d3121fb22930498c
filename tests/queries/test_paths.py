"""Denoising, interpolation and traversal: paths end where they should, and rows keep their places."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris

import vaekit as vk
from vaekit.errors import ConfigError, QueryError
from vaekit.runtime import engine as engines


@pytest.fixture(scope="module")
def iris() -> pd.DataFrame:
    frame = load_iris(as_frame=True).frame
    return frame.assign(target=frame["target"].map({0: "setosa", 1: "versicolor", 2: "virginica"}))


@pytest.fixture(scope="module")
def model(iris) -> vk.Model:
    return vk.fit(iris, epochs=60, latent=3, progress=False)


@pytest.mark.parametrize("path", ["linear", "spherical"])
def test_a_path_begins_and_ends_at_the_reconstructions(model, iris, path):
    a, b = iris.iloc[:4], iris.iloc[[60, 80, 110, 140]]
    found = model.interpolate(a, b, steps=5, path=path).to_pandas()
    assert found[["pair", "step"]].to_numpy().tolist() == [[i, s] for i in range(4) for s in range(5)]
    for rows, step in ((a, 0), (b, 4)):
        ends = found[found["step"] == step].drop(columns=["pair", "step"]).reset_index(drop=True)
        pd.testing.assert_frame_equal(ends, model.reconstruct(rows).to_pandas())


def test_the_middle_of_a_path_lies_between_its_ends(model, iris):
    found = model.interpolate(iris.iloc[[0]], iris.iloc[[140]], steps=9).to_pandas()["petal length (cm)"]
    assert (np.diff(found) >= -0.2).all()
    assert found.iloc[0] < found.iloc[4] < found.iloc[8]


def test_spherical_paths_keep_their_norm_and_linear_ones_cut_the_corner():
    from vaekit.queries.paths import _lerp, _slerp

    here, there = np.array([[3.0, 0.0]]), np.array([[0.0, 3.0]])
    share = np.linspace(0, 1, 5)[:, None, None]
    np.testing.assert_allclose(np.linalg.norm(_slerp(here, there, share), axis=-1), 3.0, rtol=1e-6)
    assert np.linalg.norm(_lerp(here, there, share)[2]) == pytest.approx(3.0 / np.sqrt(2.0))
    np.testing.assert_allclose(_slerp(here, here, share), np.repeat(here[None], 5, axis=0), rtol=1e-6)


def test_traversal_moves_one_dimension_and_returns_to_the_row(model, iris):
    rows = iris.iloc[[0, 75]]
    z = np.stack(model.embed(rows)["embedding"].to_pylist())
    for dim in range(3):
        moved = model.traverse(dim, at=rows, steps=3, reach=1.5).to_pandas()
        assert moved["z"].tolist() == [-1.5, 0.0, 1.5] * 2
        assert moved["row"].tolist() == [0, 0, 0, 1, 1, 1]
    # at the row's own value of the dimension the traversal is the reconstruction
    own = float(abs(z[0, 1]))
    ends = model.traverse(1, at=rows.iloc[[0]], steps=2, reach=own).to_pandas()
    here = ends[np.isclose(ends["z"], z[0, 1], rtol=1e-5)].drop(columns=["row", "step", "z"]).reset_index(drop=True)
    pd.testing.assert_frame_equal(here, model.reconstruct(rows.iloc[[0]]).to_pandas())


def test_some_dimension_changes_what_is_decoded_from_the_prior(model):
    spans = [np.ptp(model.traverse(dim).to_pandas()["petal length (cm)"]) for dim in range(3)]
    assert max(spans) > 2.0


def test_denoising_recovers_what_fields_share(model, iris):
    rng = np.random.default_rng(0)
    column = "petal length (cm)"
    noisy = iris.assign(**{column: (iris[column] + rng.normal(0, 0.8, len(iris))).clip(1.0, 6.9).round(1)})
    found = model.denoise(noisy).to_pandas()
    before = np.sqrt(np.mean((noisy[column] - iris[column]) ** 2))
    after = np.sqrt(np.mean((found[column] - iris[column]) ** 2))
    assert after < 0.8 * before
    assert found.columns.tolist() == iris.columns.tolist()
    assert not found.isna().any().any()


def test_answers_do_not_depend_on_chunks(model, iris, monkeypatch):
    whole = model.interpolate(iris.iloc[:10], iris.iloc[100:110], steps=3).to_pandas()
    monkeypatch.setattr(engines, "_CELLS", 64 * 3 * 4)
    pd.testing.assert_frame_equal(whole, model.interpolate(iris.iloc[:10], iris.iloc[100:110], steps=3).to_pandas())


def test_no_rows_give_no_rows(model, iris):
    none = iris.head(0)
    assert (
        model.denoise(none).num_rows
        == model.interpolate(none, none).num_rows
        == model.traverse(0, at=none).num_rows
        == 0
    )


def test_nonsense_is_refused(model, iris):
    with pytest.raises(QueryError, match="same number of rows, got 2 and 3"):
        model.interpolate(iris.head(2), iris.head(3))
    for call in (
        lambda: model.interpolate(iris.head(2), iris.head(2), steps=1),
        lambda: model.interpolate(iris.head(2), iris.head(2), path="scenic"),
        lambda: model.traverse(3),
        lambda: model.traverse(-1),
        lambda: model.traverse(0, reach=0.0),
        lambda: model.denoise(iris, samples=0),
    ):
        with pytest.raises(ConfigError):
            call()

"""The imputers that A6 compares with: scikit-learn's, and HyperImpute's MIWAE where it is installed."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["IMPUTERS", "miwae_missing"]

Float = NDArray[np.float64]


def _mean(holed: Float, seed: int) -> Float:
    from sklearn.impute import SimpleImputer

    return SimpleImputer().fit_transform(holed)


def _knn(holed: Float, seed: int) -> Float:
    from sklearn.impute import KNNImputer

    return KNNImputer(n_neighbors=10).fit_transform(holed)


def _iterative(holed: Float, seed: int, estimator: Any, rounds: int) -> Float:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return IterativeImputer(estimator, max_iter=rounds, random_state=seed).fit_transform(holed)


def _ridge(holed: Float, seed: int) -> Float:
    from sklearn.linear_model import BayesianRidge

    return _iterative(holed, seed, BayesianRidge(), 10)


def _trees(holed: Float, seed: int) -> Float:
    from sklearn.ensemble import ExtraTreesRegressor

    return _iterative(holed, seed, ExtraTreesRegressor(n_estimators=30, random_state=seed), 5)


def _forest(holed: Float, seed: int) -> Float:
    from sklearn.ensemble import RandomForestRegressor

    forest = RandomForestRegressor(n_estimators=20, max_features="sqrt", random_state=seed)
    return _iterative(holed, seed, forest, 3)


def _miwae(holed: Float, seed: int) -> Float:
    import pandas as pd
    from hyperimpute.plugins.imputers.plugin_miwae import MIWAEPlugin

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        epochs = min(500, 1_500 * 256 // len(holed))
        plugin = MIWAEPlugin(random_state=seed, n_hidden=128, latent_size=10, n_epochs=epochs)
        return np.asarray(plugin.fit_transform(pd.DataFrame(holed)), np.float64)


IMPUTERS: dict[str, Callable[[Float, int], Float]] = {
    "mean": _mean,
    "kNN": _knn,
    "BayesianRidge": _ridge,
    "ExtraTrees": _trees,
    "forest": _forest,
    "MIWAE": _miwae,
}
"""Name to a function of z-scored cells, NaN where missing, and a seed; it returns them completed."""


def miwae_missing() -> str:
    """Why HyperImpute's MIWAE cannot run here; empty if it can."""
    try:
        from hyperimpute.plugins.imputers.plugin_miwae import MIWAEPlugin  # noqa: F401
    except Exception as error:  # what its dependencies raise depends on their versions
        return f"{type(error).__name__}: {error}"
    return ""

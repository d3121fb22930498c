"""Anomaly detectors of PyOD with their default settings, on standardised columns."""

from __future__ import annotations

import contextlib
import io
import time
import warnings
from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.data import Split

__all__ = ["DETECTORS", "detect", "versions"]


def _make(module: str, name: str, seeded: bool, **options: Any) -> Callable[[int], Any]:
    def build(seed: int) -> Any:
        from importlib import import_module

        kind = getattr(import_module(f"pyod.models.{module}"), name)
        return kind(**options, **({"random_state": seed} if seeded else {}))

    return build


DETECTORS: dict[str, Callable[[int], Any]] = {
    "VAE": _make("vae", "VAE", True, verbose=0),
    "PCA": _make("pca", "PCA", True),
    "IForest": _make("iforest", "IForest", True),
    "KNN": _make("knn", "KNN", False),
    "ECOD": _make("ecod", "ECOD", False),
    "LOF": _make("lof", "LOF", False),
    "MCD": _make("mcd", "MCD", True),
}


def versions() -> tuple[str, ...]:
    """Versions that a detector's scores depend on."""
    return tuple(f"{name} {metadata.version(name)}" for name in ("pyod", "scikit-learn", "torch", "numpy"))


def detect(name: str, split: Split, seed: int, *, resident: bool) -> tuple[NDArray[np.float64], float]:
    """Scores of the test rows (larger is stranger) and the seconds of fit and scoring.

    Args:
        name: Name of the detector.
        split: The rows; mean and deviation come from the training rows.
        seed: Seed of the detector.
        resident: The test rows are the training rows: take the scores that the fit gave them, in which no row is its
            own neighbour, as the detectors mean it.

    Raises:
        ValueError: A score is not finite.
    """
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    scaler = StandardScaler().fit(split.train)
    began = time.perf_counter()
    # one thread: small products on two are slower, and many times so where others use the machine
    with threadpool_limits(1), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # MCD on nearly singular columns, PCA on constant ones: they do score
        train = scaler.transform(split.train)
        model = DETECTORS[name](seed)
        if name == "PCA" and (rank := int(np.linalg.matrix_rank(train))) < train.shape[1]:
            model.n_components = rank  # its scores divide by each component's variance: all infinite where one is zero
        model.fit(train)
        scores = model.decision_scores_ if resident else model.decision_function(scaler.transform(split.test))
    found = np.asarray(scores, np.float64).ravel()
    if not np.isfinite(found).all():
        bad = np.count_nonzero(~np.isfinite(found))
        raise ValueError(f"{name} gave {bad} scores of {len(found)} that are not finite")
    return found, time.perf_counter() - began

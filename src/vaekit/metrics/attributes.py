"""Attributes in a latent space: maps that change one of them, and little else, learned from labelled codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["Classes", "Quantities"]

Float = NDArray[np.float64]
_RIDGE = 1e-3  # of the mean variance, so that every covariance can be inverted
_STAY = 1e8  # what it costs to move another reading by its deviation, in deviations of the codes


@dataclass(frozen=True)
class Classes:
    """Normal distributions of the codes of each class, for moving codes from one to another.

    Args:
        means: Class to mean, shape (L,).
        covariances: Class to covariance, shape (L, L).
    """

    means: Mapping[object, Float]
    covariances: Mapping[object, Float]

    @classmethod
    def fit(cls, z: Float, labels: NDArray[np.object_]) -> Self:
        """Means, and covariances that lean on the one within all classes, the more so the fewer rows a class has.

        Args:
            z: Codes (N, L).
            labels: Classes (N,).
        """
        width = z.shape[1]
        classes = sorted(set(labels.tolist()), key=str)
        means = {one: z[labels == one].mean(0) for one in classes}
        centred = np.concatenate([z[labels == one] - means[one] for one in classes])
        within = np.cov(centred.T, bias=True).reshape(width, width)
        within = within + _RIDGE * max(float(np.trace(within)) / width, 1e-12) * np.eye(width)
        found = {}
        for one in classes:
            own, rows = z[labels == one] - means[one], int((labels == one).sum())
            share = rows / (rows + 2.0 * width)
            found[one] = share * (own.T @ own) / rows + (1.0 - share) * within
        return cls(means, found)

    def likeliest(self, z: Float) -> NDArray[np.object_]:
        """The class under which each code (B, L) has the largest density, all classes being as frequent."""
        names = list(self.means)
        density = np.empty((len(names), len(z)))
        for place, one in enumerate(names):
            gap = z - self.means[one]
            _, log_det = np.linalg.slogdet(self.covariances[one])
            density[place] = -0.5 * ((gap @ np.linalg.inv(self.covariances[one])) * gap).sum(1) - 0.5 * log_det
        found = np.empty(len(names), object)
        found[:] = names
        return np.asarray(found[density.argmax(0)])

    def moved(self, z: Float, source: NDArray[np.object_], target: object) -> Float:
        """Codes of a class as codes of another: the map between the two normals that moves them least.

        ``m_t + A (z - m_s)``, ``A = C_s^-1/2 (C_s^1/2 C_t C_s^1/2)^1/2 C_s^-1/2``: what is unusual about a code in its
        class stays as unusual in the other. Plain arithmetic adds ``m_t - m_s``, which is this where covariances agree.

        Args:
            z: Codes (B, L).
            source: Class of each.
            target: The class they go to.

        References:
            Olkin & Pukelsheim, The distance between two random vectors with given dispersion matrices, 1982.
        """
        found = z.copy()
        for one in set(source.tolist()) - {target}:
            here = source == one
            root, back = _roots(self.covariances[one])
            middle, _ = _roots(root @ self.covariances[target] @ root)
            found[here] = self.means[target] + (z[here] - self.means[one]) @ (back @ middle @ back).T
        return found


@dataclass(frozen=True)
class Quantities:
    """Linear readings of quantities from codes, for changing one of them while others stay.

    Args:
        names: The quantities.
        slope: Shape (L, Q).
        intercept: Shape (Q,).
        covariance: Covariance of the codes, shape (L, L).
    """

    names: tuple[str, ...]
    slope: Float
    intercept: Float
    covariance: Float

    @classmethod
    def fit(cls, z: Float, values: Mapping[str, Float], classes: Sequence[NDArray[np.object_]] = ()) -> Self:
        """Least squares with a small ridge; where there are classes, within all of them, so that they stay as well.

        Args:
            z: Codes (N, L).
            values: Quantity to its values (N,).
            classes: Classes (N,) of each kind.
        """
        width = z.shape[1]
        y = np.stack([np.asarray(one, np.float64) for one in values.values()], 1)
        flat, within = _within(z, classes), _within(y, classes)
        covariance = flat.T @ flat / len(z)
        covariance = covariance + _RIDGE * max(float(np.trace(covariance)) / width, 1e-12) * np.eye(width)
        slope = np.linalg.solve(covariance, flat.T @ within / len(z))
        return cls(tuple(values), slope, y.mean(0) - z.mean(0) @ slope, covariance)

    def read(self, z: Float) -> Float:
        """The quantities that codes (B, L) are read as, shape (B, Q)."""
        found: Float = z @ self.slope + self.intercept
        return found

    def moved(self, z: Float, name: str, target: float) -> Float:
        """The nearest codes that are read as having a value, with the same readings of all other quantities.

        Near is meant in units of the covariance of codes. Where there are so many other quantities that no step leaves
        them all as they are, it is the step that changes them least, each in units of its own spread:
        ``z + δ C^1/2 M u / uᵀ M u``, ``M = (I + w Σ_o u_o u_oᵀ / |u_o|²)⁻¹``, ``u = C^1/2 s``, w large.

        Args:
            z: Codes (B, L).
            name: The quantity that changes.
            target: Its new value.
        """
        at = self.names.index(name)
        root, _ = _roots(self.covariance)
        seen = root @ self.slope  # shape: (L, Q)
        others = np.delete(seen, at, axis=1)
        others = others / np.maximum(np.linalg.norm(others, axis=0), 1e-300)
        step = np.linalg.solve(np.eye(len(root)) + _STAY * others @ others.T, seen[:, at])
        share = (target - self.read(z)[:, at]) / max(float(seen[:, at] @ step), 1e-300)
        found: Float = z + share[:, None] * (root @ step)
        return found


def _within(x: Float, classes: Sequence[NDArray[np.object_]]) -> Float:
    """What classes do not tell of columns (N, D): residuals of the regression on all of them."""
    marks = [np.ones((len(x), 1))]
    for labels in classes:
        place = {label: code for code, label in enumerate(dict.fromkeys(labels.tolist()))}
        marks.append(np.eye(len(place))[[place[label] for label in labels.tolist()]])
    design = np.concatenate(marks, axis=1)
    found: Float = x - design @ np.linalg.lstsq(design, x, rcond=None)[0]
    return found


def _roots(matrix: Float) -> tuple[Float, Float]:
    """Square root and inverse square root of a symmetric matrix."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2.0)
    sizes = np.sqrt(np.maximum(values, 1e-12 * max(float(values.max()), 1e-300)))
    return (vectors * sizes) @ vectors.T, (vectors / sizes) @ vectors.T

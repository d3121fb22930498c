"""Attributes in a latent space: maps that change one of them, and little else, learned from labelled codes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["Classes", "Quantities", "Reading", "combined"]

Float = NDArray[np.float64]
_RIDGE = 1e-3  # of the mean variance, so that every covariance can be inverted
_RIDGES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0, 1e4)  # of a kernel; the last leaves a linear reading
_SUPPORT = 1000  # examples of a group that bend its reading
_SLACK = 1e-8  # least variance by which a reading that stays may still move, of its own
_TOLD = 1e-10  # least share of its variance that codes tell of a quantity, for it to be changed at all
_ALMOST = 1e-4  # share of the noise by which a reading that changes may miss
_FAR = 6.0  # longest step, in standard deviations of codes, for a quantity to change by its own standard deviation
_ROWS = 2048  # codes at a time


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
class Reading:
    """Quantities as a function of the codes of one group: linear, and a kernel ridge on what that leaves.

    ``q(z) = level + (z - mean) slope + k(u, support) weights``, ``u = (z - mean) covariance^-1/2``,
    ``k(u, v) = exp(-|u - v|² / 2L)``.

    Args:
        mean: Mean code, shape (L,).
        covariance: Covariance of the codes, shape (L, L).
        level: Values at the mean, shape (Q,).
        slope: Shape (L, Q).
        support: Codes of examples as u, shape (S, L).
        weights: Shape (S, Q).
        noise: Variance of what the codes do not tell of the values, shape (Q,).
        spread: Variance of the values within groups, shape (Q,).
    """

    mean: Float
    covariance: Float
    level: Float
    slope: Float
    support: Float
    weights: Float
    noise: Float
    spread: Float

    @cached_property
    def roots(self) -> tuple[Float, Float]:
        """Square root of the covariance, and its inverse."""
        return _roots(self.covariance)

    def read(self, z: Float) -> Float:
        """Values that codes (B, L) are read as, shape (B, Q)."""
        u = (z - self.mean) @ self.roots[1]
        found: Float = self.level + (z - self.mean) @ self.slope + _kernel(u, self.support) @ self.weights
        return found

    def moved(self, z: Float, shift: Float, exact: NDArray[np.bool_]) -> Float:
        """Codes whose readings are shifted, by the shortest step in units of the covariance of codes.

        ``z + C J (Jᵀ C J + D)⁻¹ δ`` with the slopes J of the readings at z. D is the noise of a quantity, which makes
        this the mean of z given its value, so what codes tell little of moves them little; it is next to 0 for exact
        ones. A step that is far longer than the change asks for, as where a reading turns round, is cut short.

        Args:
            z: Codes (B, L).
            shift: δ, by how much each reading changes, shape (B, Q).
            exact: Which readings change by just that much, shape (Q,).

        References:
            Bell & Cathey, The iterated Kalman filter update as a Gauss-Newton method, 1993.
        """
        root, back = self.roots
        u = (z - self.mean) @ back
        near = _kernel(u, self.support)
        bent = [((near * w) @ self.support - u * (near @ w)[:, None]) / u.shape[1] for w in self.weights.T]
        seen = root @ self.slope + np.stack(bent, -1)  # shape: (B, L, Q)
        gram = np.einsum("blq,blr->bqr", seen, seen)
        sizes = np.maximum(np.einsum("bqq->bq", gram), 1e-300)
        slack = np.where(exact, 1e-14 * sizes + _ALMOST * self.noise, np.maximum(self.noise, _SLACK * sizes))
        scale = np.sqrt(sizes + slack)
        gram = (gram + slack[:, :, None] * np.eye(len(exact))) / (scale[:, :, None] * scale[:, None])
        pull = np.linalg.solve(gram, (shift / scale)[:, :, None])[:, :, 0] / scale
        step = np.einsum("blq,bq->bl", seen, pull)
        far = np.linalg.norm(step, axis=1, keepdims=True)
        asked = np.max(np.abs(shift) / np.sqrt(np.maximum(self.spread, 1e-300)), axis=1, keepdims=True, initial=1.0)
        found: Float = z + step * np.minimum(1.0, _FAR * asked / np.maximum(far, 1e-300)) @ root
        return found


@dataclass(frozen=True)
class Quantities:
    """Examples from which quantities are read off codes, in each group of rows in its own way.

    Args:
        joint: Codes and values side by side (N, L + Q), without what classes tell of them.
        width: Latent dimensions L.
        spread: Variance of the values, shape (Q,).
        base: What all rows have in common, shape (L + Q,).
        effects: What each class of each kind adds to that.
        groups: Combination of classes of each example.
    """

    joint: Float
    width: int
    spread: Float
    base: Float
    effects: Sequence[Mapping[object, Float]]
    groups: Sequence[tuple[object, ...]]
    _found: dict[tuple[object, ...], Reading] = field(default_factory=dict, repr=False)

    @classmethod
    def fit(cls, z: Float, values: Float, classes: Sequence[NDArray[np.object_]] = ()) -> Self:
        """Take what classes tell, the sum of an effect of each kind, out of codes and values.

        Args:
            z: Codes (N, L).
            values: Values (N, Q).
            classes: Classes (N,) of each kind.
        """
        both = np.concatenate([z, values], 1)
        base, effects = _effects(both, classes)
        groups = combined(classes, len(z))
        told = {group: _sum(base, effects, group) for group in set(groups)}
        joint = both - np.stack([told[group] for group in groups])
        return cls(joint, z.shape[1], values.var(0), base, effects, groups)

    @cached_property
    def places(self) -> dict[tuple[object, ...], NDArray[np.intp]]:
        """Which examples each group has."""
        return _places(self.groups)

    @cached_property
    def product(self) -> Float:
        """Second moments of codes and values over all examples, (L + Q, L + Q)."""
        found: Float = self.joint.T @ self.joint / len(self.joint)
        return found

    def told(self, quantity: int) -> bool:
        """Whether a quantity is the same for all rows of a combination of classes."""
        return bool(self.product[self.width + quantity, self.width + quantity] <= _TOLD * self.spread[quantity])

    def read(self, z: Float, groups: Sequence[tuple[object, ...]]) -> Float:
        """The quantities that codes (B, L) of rows of some groups are read as, shape (B, Q)."""
        found = np.empty((len(z), len(self.spread)))
        for group, here in _parts(groups):
            found[here] = self.of(group).read(z[here])
        return found

    def moved(self, z: Float, groups: Sequence[tuple[object, ...]], shift: Float, exact: NDArray[np.bool_]) -> Float:
        """Codes (B, L) with readings shifted by (B, Q), each in the way of its group: see `Reading.moved`."""
        found = z.copy()
        for group, here in _parts(groups):
            found[here] = self.of(group).moved(z[here], shift[here], exact)
        return found

    def of(self, group: tuple[object, ...]) -> Reading:
        """How quantities are read in a group: as in all, the more so the fewer examples it has.

        Covariances of codes with themselves and with values, and what a kernel bends, lean on those of all examples as
        covariances do in `Classes`; the ridge of each quantity is that with the least error on examples left out one by
        one, or a larger one that is as good.
        """
        if group in self._found:
            return self._found[group]
        width, places = self.width, self.places.get(group, np.empty(0, np.intp))
        own, rows = self.joint[places], len(places)
        share = rows / (rows + 2.0 * width)
        both = share * (own.T @ own) / max(rows, 1) + (1.0 - share) * self.product
        covariance = both[:width, :width]
        covariance = covariance + _RIDGE * max(float(np.trace(covariance)) / width, 1e-12) * np.eye(width)
        slope = np.asarray(np.linalg.solve(covariance, both[:width, width:]), np.float64)
        some = own[np.linspace(0, rows - 1, min(rows, _SUPPORT)).astype(np.intp)] if rows else own
        support = some[:, :width] @ _roots(covariance)[1]
        weights, noise = _ridge(_kernel(support, support), some[:, width:] - some[:, :width] @ slope)
        rest = self.joint[:, width:] - self.joint[:, :width] @ slope
        noise = np.maximum(share * noise + (1.0 - share) * np.square(rest).mean(0), _SLACK * self.spread)
        centre = _sum(self.base, self.effects, group)
        self._found[group] = Reading(
            centre[:width],
            covariance,
            centre[width:],
            slope,
            support,
            share * weights,
            noise,
            np.diag(self.product)[width:],
        )
        return self._found[group]


def combined(classes: Sequence[NDArray[np.object_]], rows: int) -> list[tuple[object, ...]]:
    """Classes (N,) of several kinds as one combination for each row; without any, all rows have the empty one."""
    return list(zip(*(one.tolist() for one in classes), strict=True)) if classes else [()] * rows


def _places(groups: Sequence[tuple[object, ...]]) -> dict[tuple[object, ...], NDArray[np.intp]]:
    """The places of the rows of each group."""
    places = dict[tuple[object, ...], list[int]]()
    for place, group in enumerate(groups):
        places.setdefault(group, []).append(place)
    return {group: np.array(found) for group, found in places.items()}


def _parts(groups: Sequence[tuple[object, ...]]) -> Iterator[tuple[tuple[object, ...], NDArray[np.intp]]]:
    """Each group with the places of its rows, not too many at a time."""
    for group, places in _places(groups).items():
        for start in range(0, len(places), _ROWS):
            yield group, places[start : start + _ROWS]


def _kernel(u: Float, v: Float) -> Float:
    """Nearness of points (B, L) and (S, L): 1 at no distance, 1/e at that of two draws of a standard normal."""
    gap = np.square(u).sum(1)[:, None] + np.square(v).sum(1) - 2.0 * u @ v.T
    return np.asarray(np.exp(-np.maximum(gap, 0.0) / (2.0 * u.shape[1])))


def _ridge(kernel: Float, values: Float) -> tuple[Float, Float]:
    """Weights (S, Q) of a kernel ridge and its variance of errors (Q,), each column with the best of `_RIDGES`."""
    sizes, vectors = np.linalg.eigh(kernel)
    seen = vectors.T @ values
    best, weights = np.full(values.shape[1], np.inf), np.zeros_like(values)
    if not len(values):
        return weights, np.zeros_like(best)
    for ridge in reversed(_RIDGES):
        inverse = 1.0 / (np.maximum(sizes, 0.0) + ridge)
        found = vectors @ (inverse[:, None] * seen)
        error = np.square(found / (np.square(vectors) @ inverse)[:, None]).mean(0)
        better = error < 0.99 * best
        weights[:, better], best = found[:, better], np.where(better, error, best)
    return weights, best


def _effects(x: Float, classes: Sequence[NDArray[np.object_]]) -> tuple[Float, list[dict[object, Float]]]:
    """What all rows (N, D) have in common, and what each class of each kind adds, by least squares."""
    marks, labels = [np.ones((len(x), 1))], list[list[object]]()
    for one in classes:
        place = {label: code for code, label in enumerate(dict.fromkeys(one.tolist()))}
        labels.append(list(place))
        marks.append(np.eye(len(place))[[place[label] for label in one.tolist()]])
    base, *rest = np.linalg.lstsq(np.concatenate(marks, axis=1), x, rcond=None)[0]
    left = iter(rest)
    return base, [{label: next(left) for label in kind} for kind in labels]


def _sum(base: Float, effects: Sequence[Mapping[object, Float]], group: tuple[object, ...]) -> Float:
    """What a combination of classes tells; of a class that no example has, the mean of its kind."""
    found = base.copy()
    for kind, label in zip(effects, group, strict=True):
        found += kind[label] if label in kind else np.mean(list(kind.values()), axis=0)
    return found


def _roots(matrix: Float) -> tuple[Float, Float]:
    """Square root and inverse square root of a symmetric matrix."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2.0)
    sizes = np.sqrt(np.maximum(values, 1e-12 * max(float(values.max()), 1e-300)))
    return (vectors * sizes) @ vectors.T, (vectors / sizes) @ vectors.T

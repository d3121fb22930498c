"""How good and how diverse drawn rows are, in features that are the same for every model of a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vaekit.arrays import Array, Blocks, BlockSpec, generator
from vaekit.errors import ConfigError
from vaekit.metrics.frechet import frechet_distance, precision_recall
from vaekit.metrics.random_features import image_features

if TYPE_CHECKING:
    import pyarrow as pa

    from vaekit.runtime.engine import Engine

__all__ = ["FEATURES", "fidelity"]

FEATURES = (
    "encoded columns: numbers in the units of their transform, counts by log(1 + n), categories one-hot, images by a "
    "fixed random convolutional network; every field scaled to variance 1 on the real rows; cells that are missing "
    "in a real row are hidden in its partner too"
)
_NEIGHBOURS = 5
_WIDEST = 256  # features; more are projected at random, so that rows can tell their covariance
_WHITE = 255.0


def fidelity(engine: Engine, real: pa.Table, drawn: pa.Table, other: pa.Table | None = None) -> dict[str, Any]:
    """Quality (precision, density) and diversity (recall, coverage, variance) of drawn rows, and their distance.

    As many rows are compared on either side. Conditions of the drawn rows are those of the real rows.

    Args:
        engine: The model.
        real: Real rows.
        drawn: Drawn rows, see `vaekit.queries.sample.sampled_like`: with the conditions of the real rows in turn.
        other: Other real rows, if there are any: what real rows come to when they are judged like drawn ones.

    Returns:
        ``rows``; ``features`` (what they are) and ``width``; ``precision``, ``recall``, ``density``, ``coverage``
        (5 neighbours); ``frechet``; ``variance`` (of drawn features over real, 1 is right) and the field where it is
        lowest, ``least_variance`` {``field``, ``ratio``}; ``real``: the same first five of `other`.

    Raises:
        ConfigError: If there are fewer than 6 rows on a side.

    References:
        Kynkäänniemi et al., Improved precision and recall metric for assessing generative models, 2019. Naeem et al.,
        Reliable fidelity and diversity metrics for generative models, 2020. Heusel et al. 2017, eq. 6 (distance).
    """
    rows = min(real.num_rows, drawn.num_rows)
    if rows <= _NEIGHBOURS:
        raise ConfigError(f"samples are compared by {_NEIGHBOURS} neighbours and take more rows than that; got {rows}")
    contract, specs = engine.contract, engine.architecture.blocks
    shown = contract.encode(real.slice(0, rows))
    made = contract.encode(drawn.slice(0, rows), partial=True)
    made = {spec.name: made[spec.name] if spec.role == "model" else shown[spec.name] for spec in specs}
    scale = _Scale.of(specs, shown)
    seen = {spec.name: np.asarray(shown[spec.name].observed) for spec in specs}
    first, second = scale.features(shown, seen), scale.features(made, seen)
    told: dict[str, Any] = dict(_compared(scale, first, second))
    ratios = {name: _variance(second[:, at]) / _variance(first[:, at]) for name, at in scale.places.items()}
    least = min(ratios, key=lambda name: ratios[name])
    told |= {
        "variance": _variance(second) / _variance(first),
        "least_variance": {"field": least, "ratio": ratios[least]},
    }
    if other is not None and other.num_rows >= rows:
        told["real"] = _compared(scale, first, scale.features(contract.encode(other.slice(0, rows)), seen))
    return {"rows": rows, "features": FEATURES, "width": first.shape[1]} | told


def _compared(scale: _Scale, real: Array, drawn: Array) -> dict[str, float]:
    first, second = (scale.narrow(x) for x in (real, drawn))
    return precision_recall(first, second, _NEIGHBOURS) | {"frechet": frechet_distance(first, second)}


def _variance(x: Array) -> float:
    return float(max(x.var(0).sum(), 1e-12))


class _Scale(NamedTuple):
    """Means and scales of features on real rows, and which features belong to which field."""

    specs: tuple[BlockSpec, ...]
    moments: Mapping[str, tuple[Array, Array]]
    places: Mapping[str, slice]

    @classmethod
    def of(cls, specs: tuple[BlockSpec, ...], blocks: Blocks) -> _Scale:
        """Each field with mean 0 and total variance 1 over the cells that were observed."""
        moments, places, start = {}, {}, 0
        for spec in specs:
            raw, seen = _raw(spec, blocks), _seen(spec, np.asarray(blocks[spec.name].observed))
            for place, name in enumerate(spec.fields):
                there = raw[place][seen[place]]
                there = there if len(there) else np.zeros((1, raw[place].shape[1]))
                mean, spread = there.mean(0), there.std(0)
                if spec.kind == "category":  # levels share a scale, or rare ones would count like frequent ones
                    scale = np.full_like(mean, np.sqrt(max(np.square(spread).sum(), 1e-12)))
                else:
                    alive = spread > 1e-9
                    scale = np.where(alive, spread, 1.0) * np.sqrt(max(alive.sum(), 1))
                moments[name], width = (mean, scale), len(mean)
                places[name], start = slice(start, start + width), start + width
        return cls(specs, moments, places)

    def features(self, blocks: Blocks, observed: Mapping[str, Array]) -> Array:
        """Features of rows (B, D); those of fields that are not observed are 0, their mean."""
        parts = []
        for spec in self.specs:
            raw, seen = _raw(spec, blocks), _seen(spec, observed[spec.name])
            for place, name in enumerate(spec.fields):
                mean, scale = self.moments[name]
                parts.append(np.where(seen[place][:, None], (raw[place] - mean) / scale, 0.0))
        return np.concatenate(parts, axis=1)

    def narrow(self, x: Array) -> Array:
        """The features, or a fixed random projection of very many."""
        if x.shape[1] <= _WIDEST:
            return x
        axes = generator(0, "projection").standard_normal((x.shape[1], _WIDEST)) / np.sqrt(_WIDEST)
        found: Array = x @ axes
        return found


def _raw(spec: BlockSpec, blocks: Blocks) -> list[Array]:
    """Features of each field of a block before they are scaled, shape (B, D) each."""
    values = np.asarray(blocks[spec.name].values)
    if spec.kind == "category":
        return [(values[:, f, None] == np.arange(n)).astype(np.float64) for f, n in enumerate(spec.levels)]
    if spec.kind == "image":
        white = 1.0 if spec.likelihood == "bernoulli" else _WHITE
        return [image_features(values[:, f] / white) for f in range(values.shape[1])]
    values = np.log1p(np.maximum(values, 0.0)) if spec.kind == "count" else values
    return [values[:, f].reshape(len(values), -1).astype(np.float64) for f in range(values.shape[1])]


def _seen(spec: BlockSpec, observed: Array) -> list[Array]:
    """Which rows have a field, all of it, shape (B,) each."""
    return [np.all(observed[:, f].reshape(len(observed), -1), axis=1) for f in range(len(spec.fields))]

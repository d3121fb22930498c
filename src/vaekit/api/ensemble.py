"""Several models of the same fields that answer as one: their mixture."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vaekit.api.model import Model, load
from vaekit.arrays import Array, Noise, draw_rows
from vaekit.bundle.manifest import MANIFEST, bundle_root
from vaekit.errors import ConfigError, QueryError
from vaekit.metrics.likelihood import log_mean_exp, normalized_weights
from vaekit.queries.conformal import attainable
from vaekit.queries.rejection import accepted
from vaekit.queries.streaming import Piece
from vaekit.queries.tables import column

if TYPE_CHECKING:
    import pyarrow as pa

    from vaekit.fields import Contract

__all__ = ["Ensemble"]


class Ensemble:
    """The mixture ``p(x) = 1/M Σ_m p_m(x)`` of models of the same fields; where they disagree, none knows.

    Args:
        models: The models, at least two, fitted to the same fields.

    Raises:
        ConfigError: If there are fewer than two, or their fields differ in name, kind, role, or in what a value is.

    References:
        Lakshminarayanan, Pritzel & Blundell, Simple and scalable predictive uncertainty estimation using deep
        ensembles, 2017, section 2.4.

    Example:
        >>> import pyarrow as pa
        >>> from vaekit import Ensemble, fit
        >>> rows = pa.table({"x": [float(i * i % 17) for i in range(60)]})
        >>> one, other = (fit(rows, epochs=1, seed=seed, split_seed=0, choose=False, progress=False) for seed in (0, 1))
        >>> Ensemble([one, other]).score(rows).column_names
        ['score', 'spread', 'p_value']
    """

    def __init__(self, models: Sequence[Model]) -> None:
        self.models = tuple(models)
        if len(self.models) < 2:
            raise ConfigError(f"an ensemble has at least two models, got {len(self.models)}")
        first = _meaning(self.contract)
        for place, model in enumerate(self.models[1:], 1):
            if odd := sorted(set(first.items()) ^ set(_meaning(model.contract).items())):
                raise ConfigError(
                    f"models of an ensemble need the same fields; model {place} and the first differ in "
                    f"{', '.join(sorted({name for name, _ in odd}))}"
                )

    @classmethod
    def load(
        cls,
        path: str | Path | Sequence[str | Path],
        backend: str = "auto",
        threads: int | None = None,
        *,
        modules: Collection[str] = (),
    ) -> Ensemble:
        """Load the models of a folder, such as the run of a fit with ``seeds``, or of several paths.

        Args:
            path: A folder whose subfolders are runs or bundles (of a run of several seeds: its seeds, not the best of
                them once more), or paths of bundles.
            backend: What runs the graphs.
            threads: Processor threads of one run of a graph.
            modules: Names of modules that torch may import parts of the models from, see `vaekit.load`.

        Raises:
            ConfigError: If there are fewer than two, their fields differ, or torch would need modules not named.
            BundleError: If one cannot be loaded.
        """
        if isinstance(path, str | Path):
            inside = sorted(one for one in Path(path).glob("*/") if one.name != "bundle")
            found: Sequence[str | Path] = [one for one in inside if (bundle_root(one) / MANIFEST).exists()]
            if len(found) < 2:
                raise ConfigError(
                    f"{path} holds {len(found)} models in folders of their own, and an ensemble needs two: fit with "
                    "seeds=N (--seeds N)"
                )
        else:
            found = path
        return cls([load(one, backend, threads, modules=modules) for one in found])

    @property
    def contract(self) -> Contract:
        """The fields, as the first model has them."""
        return self.models[0].contract

    def score(self, table: Any, *, attribution: bool = False, samples: int = 8, seed: int = 0) -> pa.Table:
        """Bound on -log p(x) of the mixture, and how far its models are apart.

        ``score = -log 1/M Σ_m exp(-score_m)`` is the bound of all importance samples of all models together. Columns
        ``score``, ``spread`` (standard deviation of the models' scores in nats: what more data of that sort would
        take away, not the noise of the row), ``p_value`` (twice the mean of the models' p-values, at most 1, which
        keeps their promise however they depend on each other), and the attribution, each model weighed by how well it
        explains the row.

        References:
            Burda et al. 2016, eq. 8. Vovk & Wang, Combining p-values via averaging, Biometrika 2020, section 3.
        """
        options = {"attribution": attribution, "samples": samples, "seed": seed}
        return _combined("score", [model.query("score", table, **options) for model in self.models])

    def detect(self, table: Any, *, alpha: float = 0.01, attribution: bool = False) -> pa.Table:
        """Anomalies at a promised false-alarm rate: columns ``anomaly_score``, ``spread``, ``p_value``, ``anomaly``.

        Raises:
            QueryError: If the calibration rows cannot support alpha.
        """
        import pyarrow.compute as pc

        alone = [attainable(model.engine, "anomaly") for model in self.models]
        least = 2.0 * float(np.mean(alone))
        if max(alone) < 1.0 and 0.0 < alpha < least * (1.0 - 1e-9):  # a model that cannot promise anything says so
            raise QueryError(
                f"alpha={alpha} cannot be promised by these models together: the smallest attainable is {least:.15g} "
                "(twice that of a model alone); ask for a larger alpha, or one model"
            )
        answers = [model.query("detect", table, alpha=alpha, attribution=attribution) for model in self.models]
        found = _combined("anomaly_score", answers)
        at = found.column_names.index("p_value")
        return found.add_column(at + 1, "anomaly", pc.less_equal(found["p_value"], alpha))

    def sample(
        self,
        n: int,
        *,
        given: Mapping[str, Any] | None = None,
        where: str | None = None,
        temperature: float = 1.0,
        truncation: float | None = None,
        seed: int = 0,
    ) -> pa.Table:
        """New rows of the mixture: each from one model, chosen at random.

        Given model fields, a model is chosen by how probable it makes them: ``p(m | given) ∝ p_m(given)``.
        """
        edges = np.cumsum(self._chances(dict(given or {}), seed))[:-1]
        options = {"given": given, "temperature": temperature, "truncation": truncation, "seed": seed}

        def draw(rows: int, first: int = 0) -> pa.Table:
            import pyarrow as pa

            drawn = [model.query("sample", rows, first=first, **options) for model in self.models]
            uniform = draw_rows(Noise("uniform", ()), seed, np.arange(first, first + rows), "member")
            member = np.searchsorted(edges, uniform, side="right")
            return pa.concat_tables(drawn).combine_chunks().take(pa.array(member * rows + np.arange(rows)))

        return accepted(draw, n, where)

    def _chances(self, given: dict[str, Any], seed: int) -> Array:
        """Probability of each model given some fields, shape (M,)."""
        import pyarrow as pa

        if not set(given) & set(self.contract.names("model")):
            return np.full(len(self.models), 1.0 / len(self.models))
        scores = []
        for model in self.models:
            known = pa.table({name: model.contract.column(name, [value]) for name, value in given.items()})
            empty = {
                name: model.contract.column(name, [None]) for name in model.contract.names("model") if name not in given
            }
            row = pa.table({**{name: known[name] for name in known.column_names}, **empty})
            scores.append(model.query("score", row, samples=64, seed=seed)["score"].to_numpy())
        found: Array = normalized_weights(-np.stack(scores))[:, 0]
        return found

    def query(self, name: str, *args: Any, **options: Any) -> pa.Table:
        """Ask a question by name.

        Raises:
            QueryError: If the models have no common answer to it.
        """
        known: dict[str, Callable[..., pa.Table]] = {"score": self.score, "detect": self.detect, "sample": self.sample}
        if name not in known:
            raise QueryError(
                f"an ensemble answers {', '.join(sorted(known))}; {name!r} is about the latent space or the point "
                "prediction of one model, and those of different models do not match: ask one of them"
            )
        return known[name](*args, **options)

    def stream(self, name: str, data: Any, *, rows: int | None = None, **options: Any) -> Iterator[Piece]:
        """`score` or `detect` about a source of any size, batch by batch; see `vaekit.queries.stream`."""
        if name == "sample":
            raise QueryError("'sample' does not answer row by row")
        source, at = self.contract.source(data), 0
        for batch in source.batches(rows):
            yield Piece(at, batch, self.query(name, batch, **options))
            at += batch.num_rows
        if at == 0:
            nothing = source.schema.empty_table()
            yield Piece(0, nothing, self.query(name, nothing, **options))


def _meaning(contract: Contract) -> dict[str, tuple[Any, ...]]:
    """What a density of each field is one of: kind, role, type, and whether values lie on a grid."""
    return {
        field.name: (field.kind, field.role, str(field.type), getattr(field, "lattice", None))
        for field in contract.fields
        if field.role in ("model", "condition")
    }


def _combined(name: str, answers: Sequence[pa.Table]) -> pa.Table:
    """Answers of all models with a column of nats, a p-value and parts that add up, as that of their mixture."""
    import pyarrow as pa

    def of(key: str) -> Array:
        return np.stack([np.asarray(answer[key].to_numpy(), np.float64) for answer in answers])  # shape: (M, B)

    nats = of(name)
    whole, weight = -log_mean_exp(-nats), normalized_weights(-nats)
    columns = {
        name: column(whole),
        "spread": column(nats.std(0, ddof=1)),
        "p_value": column(np.minimum(1.0, 2.0 * of("p_value").mean(0))),
    }
    parts = [key for key in answers[0].column_names if key.startswith(("score.", "excess.")) and key != "score.latent"]
    columns |= {key: column((weight * of(key)).sum(0)) for key in parts}
    if "score.latent" in answers[0].column_names:
        columns["score.latent"] = column(whole - sum(columns[key].to_numpy() for key in parts))
    return pa.table(columns)

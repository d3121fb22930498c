"""A model that answers questions about rows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaekit.bundle import Bundle
from vaekit.bundle.manifest import bundle_root
from vaekit.fields.contract import Contract
from vaekit.queries import query, stream
from vaekit.queries.rejection import accepted
from vaekit.runtime import Backend, Engine

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Model", "load"]


class Model:
    """A trained model: every method takes any table and returns a `pyarrow.Table`.

    Args:
        bundle: The bundle.
        backend: ``auto``, ``onnx``, ``litert``, ``torch``, or a backend at hand.
        threads: Processor threads of one run of a graph; the runtime's own choice if not given.
        held_out: Rows that training did not see, to compare the graphs with torch on when they are exported; no bundle
            ever holds them.
        modules: Names of modules that torch may import parts of the model from.
    """

    def __init__(
        self,
        bundle: Bundle,
        backend: str | Backend = "auto",
        threads: int | None = None,
        held_out: pa.Table | None = None,
        modules: Collection[str] = (),
    ) -> None:
        self.bundle, self._held_out, self._modules = bundle, held_out, tuple(modules)
        self.engine = Engine.of(bundle, backend, threads, modules)

    @property
    def contract(self) -> Contract:
        """The fields with their fitted transforms."""
        return self.bundle.contract

    @property
    def evaluation(self) -> dict[str, Any]:
        """Held-out figures from the end of the fit."""
        return self.bundle.evaluation

    def score(self, table: Any, *, attribution: bool = False, samples: int = 8, seed: int = 0) -> pa.Table:
        """Bound on -log p(x) in nats, its p-value, and one column per field. See `vaekit.queries.score`."""
        return self.query("score", table, attribution=attribution, samples=samples, seed=seed)

    def detect(self, table: Any, *, alpha: float = 0.01, attribution: bool = False) -> pa.Table:
        """Anomalies at a promised false-alarm rate. See `vaekit.queries.detect`."""
        return self.query("detect", table, alpha=alpha, attribution=attribution)

    def embed(self, table: Any) -> pa.Table:
        """One vector per row. See `vaekit.queries.embed`."""
        return self.query("embed", table)

    def reconstruct(self, table: Any) -> pa.Table:
        """Each row as the model sees it. See `vaekit.queries.reconstruct`."""
        return self.query("reconstruct", table)

    def denoise(self, table: Any, *, samples: int = 64, seed: int = 0) -> pa.Table:
        """Each row with its noise averaged away. See `vaekit.queries.denoise`."""
        return self.query("denoise", table, samples=samples, seed=seed)

    def interpolate(self, a: Any, b: Any, *, steps: int = 8, path: str = "linear") -> pa.Table:
        """Rows on the way from those of one table to those of another. See `vaekit.queries.interpolate`."""
        return self.query("interpolate", a, b, steps=steps, path=path)

    def traverse(self, dim: int, *, at: Any = None, steps: int = 9, reach: float = 3.0) -> pa.Table:
        """Rows decoded while one latent dimension moves. See `vaekit.queries.traverse`."""
        return self.query("traverse", dim, at=at, steps=steps, reach=reach)

    def edit(
        self,
        rows: Any,
        examples: Any = None,
        *,
        set: Mapping[str, Any],
        strength: float = 1.0,
        steps: int = 1,
    ) -> pa.Table:
        """Rows with an attribute changed, and little else. See `vaekit.queries.edit`."""
        return self.query("edit", rows, examples, set=set, strength=strength, steps=steps)

    def impute(
        self, table: Any, *, draws: int = 1, interval: float | None = None, samples: int = 64, seed: int = 0
    ) -> pa.Table:
        """Missing cells filled, with uncertainty. See `vaekit.queries.impute`."""
        return self.query("impute", table, draws=draws, interval=interval, samples=samples, seed=seed)

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
        """New rows; with `where`, such as ``"age > 18"``, those that meet a constraint.

        See `vaekit.queries.sample`, and `vaekit.fields.constraint.Constraint` for what a constraint can say.
        """
        options = {"given": given, "temperature": temperature, "truncation": truncation, "seed": seed}
        return accepted(partial(self.query, "sample", **options), n, where)

    def report(
        self,
        table: Any,
        path: str | Path | None = None,
        *,
        history: Sequence[Mapping[str, Any]] = (),
        rows: bool = True,
        title: str = "",
        umap: bool = False,
    ) -> str:
        """One page about the model and some real rows, as HTML that needs nothing else.

        Args:
            table: Real rows. Of the table that the model was fitted on, only rows that training did not see are used.
            path: Where the page goes, atomically.
            history: Metrics of training, one mapping per validation (lines of metrics.jsonl), for its curves.
            rows: Show example rows, as they came; without, the page holds aggregates only.
            title: Title of the page.
            umap: Also map the latent space by UMAP, which takes some seconds; needs vaekit[umap].

        Returns:
            The page.

        Raises:
            ContractError: If there are no rows, or they do not fit the contract.
            ConfigError: If Jinja, matplotlib or umap-learn is not installed, or the page cannot be written.
        """
        from vaekit.api.reporting import make_report, rows_of

        found = rows_of(self.bundle, table)
        return make_report(self, found, path, history=history, show_rows=rows, title=title, umap=umap)

    def query(self, name: str, *args: Any, **options: Any) -> pa.Table:
        """Run a query by name: what every host calls."""
        return query(self.engine, name, *args, **options)

    def stream(self, name: str, data: Any, *, rows: int | None = None, **options: Any) -> Iterator[pa.Table]:
        """Answers to a query about more rows than memory holds, batch by batch.

        Row by row they are those of the query asked about all rows at once. See `vaekit.queries.streaming.stream`.

        Args:
            name: ``score``, ``detect``, ``embed``, ``reconstruct``, ``denoise`` or ``impute``.
            data: A path to Parquet (file or folder), CSV or Arrow, a dataset, a reader, an iterable of tables, …
            rows: Most rows of a batch; 65,536 if not given.
            options: Options of the query.

        Yields:
            One table per batch, in order, all of one schema.
        """
        for piece in stream(self.engine, name, data, rows=rows, **options):
            yield piece.answer

    def save(self, path: str | Path) -> Path:
        """Write the bundle atomically, with its graphs exported and proved: they answer as torch does.

        Args:
            path: The folder.

        Returns:
            The folder.

        Raises:
            BundleError: If something that is not a bundle lies there, or a graph does not answer as torch does.
        """
        if not self.bundle.graphs:
            from vaekit.api.exporting import with_graphs

            at_hand = self.engine.backend if self.engine.backend.name == "torch" else None
            self.bundle = with_graphs(self.bundle, self._held_out, "held out", backend=at_hand)
        return self.bundle.save(path)

    def export(
        self,
        path: str | Path,
        data: Any = None,
        *,
        form: str = "onnx",
        graphs: Sequence[str] | None = None,
        weights: bool | None = None,
        modules: Collection[str] = (),
    ) -> Bundle:
        """Write another bundle of the same model: fewer graphs, no weights, or a compact form.

        Args:
            path: The folder.
            data: Real rows. Of the table of the fit each part is used for what it is good for.
            form: ``onnx``, ``float16``, ``int8``, ``pruned:SHARE`` with the share of hidden units that go, or
                ``tflite`` for LiteRT.
            graphs: Which graphs; all by default. ``decode`` and ``prior`` generate, ``encode`` embeds.
            weights: Whether the weights for torch are written too; by default those of ``onnx`` and ``pruned`` are.
            modules: Names of modules that parts of it may be imported from, beside those that it was loaded with.

        Returns:
            What was written, in memory.

        Raises:
            ConfigError: If an option is unknown, or the form needs rows and there are none.
            BundleError: If a graph does not answer as it should, or the bundle lacks what the export needs.

        See `vaekit.api.exporting.export`.
        """
        from vaekit.api.exporting import export

        trusted = (*self._modules, *modules)
        made = export(self.bundle, data, form=form, graphs=graphs, weights=weights, modules=trusted)
        made.save(path)
        return made


def load(
    path: str | Path,
    backend: str = "auto",
    threads: int | None = None,
    *,
    trusted: Sequence[str | Path | bytes] = (),
    modules: Collection[str] = (),
) -> Model:
    """Load a bundle, verifying every file; nothing of it is executed.

    Args:
        path: The bundle, or a run folder that holds one as ``bundle``.
        backend: ``onnx``, ``litert``, ``torch``, or ``auto``: what runs the graphs that the bundle holds, else torch.
        threads: Processor threads of one run of a graph; the runtime's own choice if not given: of ONNX Runtime one for
            each core, of LiteRT one.
        trusted: Public keys (PEM files, or PEM as bytes), one of which must have signed it; none: that is not checked.
        modules: Names of modules that torch may import parts of the model from, if it was fitted with parts of one's
            own; importing runs their code. Graphs need none of them.

    Returns:
        The model.

    Raises:
        ConfigError: If an option is unknown or out of range, or torch would need modules that are not named.
        BundleError: If a file is missing, truncated, altered, or of a newer format, or no trusted key signed it.
    """
    return Model(Bundle.load(bundle_root(path), trusted=trusted), backend, threads, modules=modules)

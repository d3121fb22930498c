"""The entry to batch jobs: a bundle, a query and rows, to a folder."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from vaekit.batch.asking import Keep, Question
from vaekit.batch.drawing import Draws
from vaekit.batch.job import PART_ROWS, Progress, Summary, Work, carried_out
from vaekit.batch.plan import Plan, described, version_of
from vaekit.batch.rows import Rows, opened
from vaekit.bundle import Bundle
from vaekit.bundle.manifest import bundle_root
from vaekit.errors import ConfigError
from vaekit.fields.text_cells import typed_schema
from vaekit.runtime import Engine

__all__ = ["engine_of", "loaded", "run"]


def run(
    bundle: str | Path | Bundle,
    query: str,
    data: Any,
    out: str | Path,
    *,
    keep: Keep = (),
    backend: str = "auto",
    threads: int | None = None,
    part_rows: int = PART_ROWS,
    batch_rows: int | None = None,
    max_bad: float = 0.5,
    overwrite: bool = False,
    told: Callable[[Progress], None] | None = None,
    stop: threading.Event | None = None,
    **options: Any,
) -> Summary:
    """Answer a query about any number of rows, or draw any number of them, into a folder of Parquet files.

    Memory does not grow with the rows. However the run ends, the same call goes on where it was, and the folder that
    results does not depend on interruptions. Rows that break the contract are set aside, in ``_quarantine``.

    Args:
        bundle: A bundle, or the path to one or to a run that holds one.
        query: ``score``, ``detect``, ``embed``, ``reconstruct``, ``denoise``, ``impute`` or ``sample``.
        data: Parquet (file or folder), CSV, Arrow, or anything else that `vaekit.fields.sources.open_source` takes; for
            ``sample`` the number of rows to draw.
        out: Folder of the output: ``part-00000.parquet``, … with the number of the row as column ``row``, the columns
            to keep, and the answer.
        keep: Columns of the input to carry along; ``all`` for all that the answer has not.
        backend: ``auto``, ``onnx`` or ``torch``.
        threads: Calls that are answered at a time; by default one for each core on onnxruntime, and one on torch.
        part_rows: Rows of the input that a part is about: what is lost at most when the run is killed.
        batch_rows: Rows of one call; measured if not given.
        max_bad: Share of rows that may go to quarantine before the job ends.
        overwrite: Begin again where another job was begun.
        told: Is told how far the job is.
        stop: Ends the run when it is set; the same call then goes on.
        options: Options of the query.

    Returns:
        What was done; ``state`` says whether that is all.

    Raises:
        ConfigError: An option makes no sense, or the folder holds something else; the difference is named.
        QueryError: The query does not answer row by row, or not with these options.
        ContractError: The rows cannot be read, or lack a column. What was done stays.
        BundleError: The bundle cannot be read, or lacks a graph that the query needs.
    """
    found = loaded(bundle)
    engine = engine_of(found, backend)
    work, kept, facts = _work(engine, query, data, keep, options)
    plan = partial(
        Plan,
        query=query,
        options=options,
        keep=kept,
        bundle=version_of(found),
        contract=found.contract.hash,
        backend=engine.backend.name,
        input=facts,
        part_rows=part_rows,
    )
    return carried_out(
        work,
        lambda rows: plan(batch_rows=rows),
        Path(out),
        threads=threads,
        part_rows=part_rows,
        batch_rows=batch_rows,
        max_bad=max_bad,
        overwrite=overwrite,
        told=told,
        stop=stop,
    )


def _work(
    engine: Engine, query: str, data: Any, keep: Keep, options: Mapping[str, Any]
) -> tuple[Work, tuple[str, ...], dict[str, Any]]:
    """The work, the columns that are carried along, and what tells the input."""
    if query == "sample":
        if keep:
            raise ConfigError("there is no input of which columns could be kept; 'sample' takes a number of rows")
        return Draws(engine, data, options), (), {"rows": data}
    source, types = opened(data, engine.contract)
    columns = source.schema if types is None else typed_schema(source.schema, types)
    question = Question(engine, query, columns, options, keep=keep)
    return Rows(question, source, types), question.keep, described(data, source)


def loaded(bundle: str | Path | Bundle) -> Bundle:
    """A bundle, or the one that lies at a path, or in a run that lies there."""
    return bundle if isinstance(bundle, Bundle) else Bundle.load(bundle_root(bundle))


def engine_of(bundle: Bundle, backend: str) -> Engine:
    """The engine of a bundle for several calls at a time, each of them on one core."""
    if bundle.kind == "onnx" and (backend == "onnx" or (backend == "auto" and bundle.graphs)):
        from vaekit.runtime.onnx_backend import OnnxBackend

        return Engine.of(bundle, OnnxBackend(bundle, threads=1, arena=True))
    return Engine.of(bundle, backend)

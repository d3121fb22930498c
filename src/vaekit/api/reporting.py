"""Reports: which real rows a page is about, and where it goes."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaekit.api.rows import known_rows
from vaekit.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

    from vaekit.api.model import Model
    from vaekit.bundle import Bundle
    from vaekit.report import Rows
    from vaekit.training import Trained

__all__ = ["history_of", "make_report", "report_fit", "rows_of"]

_UNSEEN = "calibration rows, which training did not see"
_STOPPING = "early-stopping rows, by which training chose its weights"


def make_report(
    model: Model,
    rows: Rows,
    path: str | Path | None = None,
    *,
    history: Sequence[Mapping[str, Any]] = (),
    show_rows: bool = True,
    title: str = "",
    umap: bool = False,
) -> str:
    """Write the page about a model.

    Args:
        model: The model.
        rows: Real rows.
        path: Where the page goes, atomically; nowhere if None.
        history: Metrics of training, for its curves.
        show_rows: Show example rows.
        title: Title of the page.
        umap: Also map the latent space by UMAP.

    Returns:
        The page as HTML.

    Raises:
        ContractError: If there are no rows, or they do not fit the contract.
        ConfigError: If Jinja, matplotlib or, for its map, umap-learn is not installed, or the page cannot be written.
    """
    from vaekit.files import write_file
    from vaekit.report import gather, page

    text = page(gather(model.bundle, model.engine, rows, history, umap=umap), rows=show_rows, title=title)
    if path is not None:
        try:
            write_file(Path(path), text.encode())
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written ({error.strerror or error})") from error
    return text


def report_fit(model: Model, trained: Trained, table: pa.Table, path: Path, *, show_rows: bool) -> None:
    """Write the page of a fit; if that fails the model is there all the same, so it is a warning."""
    try:
        rows = _held_out(table, trained.splits)
        make_report(model, rows, path, history=trained.history, show_rows=show_rows)
    except Exception as error:
        warnings.warn(f"the model is saved, but {path} could not be written: {error}", stacklevel=3)


def rows_of(bundle: Bundle, data: Any) -> Rows:
    """The real rows of a report: all that are given, but of the table of the fit only those that training did not see.

    Args:
        bundle: The bundle.
        data: Any table.
    """
    from vaekit.report import Rows

    table = bundle.contract.table(data)
    known = known_rows(bundle, table)
    if known.splits is not None and known.rows is not None:
        return _held_out(known.rows, known.splits)
    return Rows(table, known.why) if known.seen else Rows(table)


def history_of(folder: Path) -> list[dict[str, Any]]:
    """Metrics of a run, one mapping per validation; none where the folder is no run."""
    path = folder / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _held_out(table: pa.Table, splits: Any) -> Rows:
    import pyarrow as pa

    from vaekit.report import Rows

    stopping = table.take(pa.array(splits.valid))
    if len(splits.calibration) == 0:
        return Rows(stopping, _STOPPING, splits.valid)
    return Rows(table.take(pa.array(splits.calibration)), _UNSEEN, splits.calibration, stopping, _STOPPING)

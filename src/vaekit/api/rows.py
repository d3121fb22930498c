"""Which rows of a table are good for what: those of the fit in the parts that it made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from vaekit.errors import ConfigError
from vaekit.fields.sources import open_source
from vaekit.fields.streams import sampled as sample_of

if TYPE_CHECKING:
    import pyarrow as pa

    from vaekit.bundle import Bundle
    from vaekit.training.splits import Splits

__all__ = ["Known", "Parts", "known_rows", "parts_of"]

_VALID, _CALIBRATION = 0.2, 0.3  # shares of a table that is not that of the fit


class Known(NamedTuple):
    """What is known of a table.

    Args:
        splits: The splits of the fit, if it is the table of the fit and they could be made again.
        rows: The rows that were split: all of the table, or the sample of it that the fit took.
        seen: Whether training may have seen some of its rows, although its splits are not known.
        why: In that case, what to call the rows.
    """

    splits: Splits | None = None
    rows: pa.Table | None = None
    seen: bool = False
    why: str = ""


class Parts(NamedTuple):
    """Rows for three purposes.

    Args:
        train: To train on, or to take ranges from.
        checked: To compare on.
        calibration: To calibrate with; no model has seen them.
        told: Where they came from: ``held out`` of the fit, or ``given``.
    """

    train: pa.Table
    checked: pa.Table
    calibration: pa.Table
    told: str


def known_rows(bundle: Bundle, table: pa.Table) -> Known:
    """Whether a table is that of the fit of a bundle, and how the fit split it, or a sample of it that is drawn again.

    Args:
        bundle: The bundle.
        table: A table that fits its contract.
    """
    record = bundle.run
    data = record.get("data", {})
    of_fit, sampled = (data.get("rows"), data.get("columns")), table.num_rows == data.get("sampled_from")
    if not sampled and (table.num_rows, table.num_columns) != of_fit:
        return Known()
    try:
        from vaekit.training.record import data_record
        from vaekit.training.splits import split
    except ModuleNotFoundError:  # without torch the splits cannot be made again
        return Known(seen=True, why="rows that were given, which training may have seen")
    own = record["config"].get("split_seed")
    seed = record["config"]["seed"] if own is None else own
    rows = sample_of(open_source(table), data["rows"], seed)[0] if sampled else table
    partly = Known(seen=True, why="rows that were given, which training has seen in part")
    if data_record(rows)["sha256"] != data["sha256"]:
        return partly if sampled else Known()
    if record["rows"].get("streamed"):
        return partly
    settings = record["config"]["training"]
    splits = split(rows, bundle.contract, settings["valid"], settings["calibration"], seed)
    if splits.sizes() != {name: record["rows"][name] for name in splits.sizes()}:
        return partly
    return Known(splits, rows)


def parts_of(bundle: Bundle, data: Any) -> Parts:
    """The rows of a table for each purpose.

    Args:
        bundle: The bundle.
        data: Any table.

    Raises:
        ConfigError: If training saw some of the rows and it is not known which: no calibration with them is honest.
        ContractError: If the rows do not fit the contract.
    """
    import pyarrow as pa

    table = bundle.contract.table(data)
    known = known_rows(bundle, table)
    if known.seen:
        raise ConfigError(f"these are {known.why}; give rows that it did not see, or the very table of the fit")
    splits, told = known.splits, "held out"
    table = table if known.rows is None else known.rows
    if splits is None or len(splits.calibration) == 0:
        from vaekit.training.splits import split

        splits, told = split(table, bundle.contract, _VALID, _CALIBRATION, 0), "given"
    train, checked, calibration = (
        table.take(pa.array(part)) for part in (splits.train, splits.valid, splits.calibration)
    )
    return Parts(train, checked, calibration, told)

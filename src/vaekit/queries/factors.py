"""How well single latent dimensions stand for single factors that are known for some rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vaekit.arrays import Array
from vaekit.errors import ConfigError, ContractError
from vaekit.metrics.disentanglement import dci, factor_vae_rows, mig, sap
from vaekit.queries.embed import embed

if TYPE_CHECKING:
    import pyarrow as pa

    from vaekit.runtime.engine import Engine

__all__ = ["Factor", "column_of", "disentangled", "factor_of"]

_VALUES, _BINS = 20, 10  # different numbers up to which each is a value of its own; quantile bins of more
_LEAST = 50  # rows with all factors


class Factor(NamedTuple):
    """A column as codes of its values.

    Args:
        codes: Shape (B,), 0, 1, …; -1 where missing.
        labels: What each code stands for.
        ordered: Whether codes are in the order of numbers.
        edges: Where the ranges of numbers end that codes stand for, if they do.
    """

    codes: Array
    labels: tuple[str, ...]
    ordered: bool
    edges: tuple[float, ...] = ()

    def of(self, column: pa.ChunkedArray) -> Array:
        """The same codes for other values, shape (B,); -1 for missing ones, -2 for values that have none."""
        if self.edges:
            values = np.asarray(column.cast("float64").to_numpy(), np.float64)
            return np.where(np.isfinite(values), np.searchsorted(self.edges, values, "right"), -1)
        other = factor_of(column, "", most=len(column) + 1)
        place = {label: code for code, label in enumerate(self.labels)}
        known = np.array([place.get(label, -2) for label in other.labels] + [-1], np.int64)
        codes: Array = known[other.codes]
        return codes


def disentangled(engine: Engine, table: pa.Table, factors: Sequence[str], seed: int = 0) -> dict[str, Any]:
    """Scores of disentanglement of the codes (`embed`) of rows whose factors are known.

    Args:
        engine: The model.
        table: Rows with columns of the factors, which need not be fields of the model. Rows that lack a factor are left
            out. Numbers with more than 20 values are cut into 10 bins of equally many rows.
        factors: Names of the columns.
        seed: Seed of forests and votes.

    Returns:
        ``rows``; ``factors`` {name: {``values``, ``binned``}}; ``mig``, ``sap``, ``factor_vae`` (from rows that share a
        value), ``dci`` {``disentanglement``, ``completeness``, ``informativeness``, ``guess``: share of right answers
        without the codes}. Scores that compare factors are None for a single one.

    Raises:
        ConfigError: If scikit-learn is not installed, or too few rows have all factors, or a factor never changes.
        ContractError: If a column is not there, or the rows do not fit the contract.

    References:
        Chen et al. 2018 (MIG). Kim & Mnih 2018 (FactorVAE score). Eastwood & Williams 2018 (DCI). Kumar et al. 2018
        (SAP). Locatello et al., Challenging common assumptions in the unsupervised learning of disentangled
        representations, 2019 (how far to trust them).
    """
    found = {name: factor_of(column_of(table, name), name) for name in factors}
    known = np.flatnonzero(np.all([one.codes >= 0 for one in found.values()], axis=0))
    if len(known) < _LEAST:
        raise ConfigError(f"{len(known)} rows have all of {', '.join(factors)}; disentanglement takes {_LEAST} or more")
    codes = np.stack(embed(engine, table)["embedding"].to_numpy())[known].astype(np.float64)
    values = np.stack([one.codes[known] for one in found.values()], 1)
    for name, column in zip(factors, values.T, strict=True):
        if len(np.unique(column)) < 2:
            raise ConfigError(f"factor {name!r} has one value in these rows; leave it out")
    try:
        importance: dict[str, float | None] = dict(dci(codes, values, seed=seed))
    except ModuleNotFoundError as error:
        raise ConfigError(f"DCI needs {error.name}, which is not installed; install vaekit[train]") from error
    importance["guess"] = float(np.mean([np.bincount(column).max() / len(column) for column in values.T]))
    votes = factor_vae_rows(codes, values, seed=seed)
    if len(found) == 1:
        importance["disentanglement"] = None
    return {
        "rows": len(known),
        "factors": {name: {"values": len(one.labels), "binned": bool(one.edges)} for name, one in found.items()},
        "mig": mig(codes, values),
        "sap": sap(codes, values, [one.ordered for one in found.values()]),
        "factor_vae": None if math.isnan(votes) else votes,
        "dci": importance,
    }


def column_of(table: pa.Table, name: str) -> pa.ChunkedArray:
    """A column by name.

    Raises:
        ContractError: If it is not there.
    """
    if name not in table.column_names:
        raise ContractError("no such column in the rows", field=name, expected=", ".join(table.column_names))
    return table[name]


def factor_of(column: pa.ChunkedArray, name: str, bins: int = _BINS, most: int = _VALUES) -> Factor:
    """A column as codes: text, booleans and few numbers as they are, more numbers in bins of equally many rows.

    Args:
        column: Values.
        name: Its name, for messages.
        bins: Number of bins.
        most: Different numbers up to which each is a value of its own.

    Raises:
        ConfigError: If it is neither text, booleans nor numbers.

    Example:
        >>> import pyarrow as pa
        >>> factor_of(pa.chunked_array([["b", None, "a"]]), "x").codes.tolist()
        [1, -1, 0]
        >>> factor_of(pa.chunked_array([[3.0, 1.0, 2.0, 9.0]]), "x", bins=2, most=3).labels
        ('below 2.5', '2.5 and above')
    """
    import pyarrow as pa

    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    numbers = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    if not (numbers or pa.types.is_boolean(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise ConfigError(f"column {name!r} holds {kind}; text, booleans or numbers can be told apart by their values")
    plain = column.cast(pa.float64() if numbers else pa.string()).combine_chunks()
    if numbers:
        values = np.asarray(plain.to_numpy(zero_copy_only=False), np.float64)
        known = np.isfinite(values)
        levels = np.unique(values[known])
        if len(levels) > most:
            edges = np.unique(np.quantile(values[known], np.arange(1, bins) / bins))
            codes = np.where(known, np.searchsorted(edges, values, "right"), -1)
            return Factor(codes, _ranges(edges), True, tuple(edges.tolist()))
        codes = np.where(known, np.searchsorted(levels, values), -1)
        return Factor(codes, tuple(f"{level:.6g}" for level in levels), True)
    labels = sorted(plain.unique().drop_null().to_pylist())
    place = {label: code for code, label in enumerate(labels)}
    codes = np.array([place.get(one, -1) for one in plain.to_pylist()], np.int64)
    return Factor(codes, tuple(labels), len(labels) == 2)


def _ranges(edges: Array) -> tuple[str, ...]:
    told = [f"{edge:.4g}" for edge in edges]
    between = [f"{low} to {high}" for low, high in pairwise(told)]
    return (f"below {told[0]}", *between, f"{told[-1]} and above")

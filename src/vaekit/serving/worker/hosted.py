"""A model in a worker: its engine, warmed, and the facts that the front knows of it."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from functools import cached_property
from typing import Any

import msgspec
import pyarrow as pa

from vaekit.bundle import Bundle
from vaekit.errors import BundleError, ConfigError, ContractError, GraphError, QueryError
from vaekit.queries import QUERIES, query
from vaekit.runtime import Engine
from vaekit.serving.wire.facts import ColumnFacts, Facts, FieldFacts, QueryFacts
from vaekit.serving.wire.messages import Limits, Packed
from vaekit.serving.worker.cells import Cells, column_facts
from vaekit.serving.worker.formats.json import RowDecoder
from vaekit.serving.worker.options import described, first_line
from vaekit.serving.worker.ranges import field_range, ranged
from vaekit.serving.worker.refusals import Refusal

__all__ = ["Hosted"]

_LEVELS = 100  # a category with more levels is not listed
_EXAMPLES = 5  # of each class of an attribute, the fewest that `edit` learns from
_EASY: dict[str, dict[str, Any]] = {  # options with which any bundle can answer
    "detect": {"alpha": 0.5},
    "interpolate": {"steps": 2},
    "traverse": {"steps": 1},
}


class Hosted:
    """A model that is served.

    Args:
        packed: Which bundle it is.
        files: The verified content of its files.
        limits: What a request may ask for.
        backend: ``auto``, ``onnx``, ``litert`` or ``torch``.
        threads: Threads of the runtime; as many as there are cores if not given. Torch has those of its process.
        queries: Queries to serve; all that the bundle can answer if empty.

    Attributes:
        calls: How it was asked before, see `vaekit.serving.worker.answering`; what is remembered goes with the model.
        schemas: Schemas of its answers, likewise.

    Raises:
        BundleError: If the bundle cannot be read, or answers none of the queries.
    """

    def __init__(
        self,
        packed: Packed,
        files: Mapping[str, bytes],
        limits: Limits,
        *,
        backend: str = "auto",
        threads: int | None = None,
        queries: Collection[str] = (),
    ) -> None:
        bundle = Bundle.read(files)
        self.name, self.limits = packed.name, limits
        self.calls: dict[Hashable, object] = {}
        self.schemas: dict[Hashable, pa.Schema] = {}
        torch = backend == "torch" or (backend == "auto" and not bundle.graphs)
        self.engine = Engine.of(bundle, backend, None if torch else threads)
        used = [field for role in ("model", "condition") for field in self.engine.contract.fields if field.role == role]
        self.cells = {field.name: Cells(field, limits.max_pixels) for field in used}
        self.whites = {name: cells.white for name, cells in self.cells.items() if cells.image}
        self.rows = RowDecoder(self.cells)
        found = {name: self._facts(name) for name in QUERIES if not queries or name in queries}
        answered = {name: facts for name, facts in found.items() if facts is not None}
        if not answered:
            wanted = ", ".join(queries) or "any query"
            raise BundleError(f"model {self.name!r} cannot answer {wanted}; export its bundle with more graphs")
        self.facts = Facts(
            name=packed.name,
            version=packed.version,
            contract=packed.contract,
            data=packed.data,
            vaekit=packed.vaekit,
            created=packed.created,
            backend=self.engine.backend.name,
            fields=tuple(self._field(cells) for cells in self.cells.values()),
            queries=answered,
        )

    @cached_property
    def nothing(self) -> pa.Table:
        """One row in which everything is missing."""
        return pa.table({name: pa.nulls(1, cells.type) for name, cells in self.cells.items()})

    def query(self, name: str) -> QueryFacts:
        """What is known of a query.

        Raises:
            Refusal: The model does not answer it.
        """
        facts = self.facts.queries.get(name)
        if facts is None:
            there = ", ".join(self.facts.queries)
            raise Refusal(404, "no_such_query", f"model {self.name!r} has no query {name!r}; it answers: {there}")
        return facts

    def _facts(self, name: str) -> QueryFacts | None:
        """What is known of a query, which is asked once so that its graphs are warm; None if it cannot be answered."""
        arguments, options = described(QUERIES[name])
        rows = arguments[:1] and arguments[0].name == "table"
        try:
            answer = self._asked(name, self.nothing)
        except GraphError:
            return None
        except (QueryError, ConfigError):  # this question; others may be answered
            answer = None
        arguments, options = (
            tuple(ranged(name, one, self.engine, self.limits) for one in some) for some in (arguments, options)
        )
        return QueryFacts(
            name=name,
            doc=first_line(QUERIES[name]),
            rows=bool(rows),
            absent=bool(rows) and self._takes_absent(name),
            arguments=() if rows else arguments,
            options=options,
            columns=() if answer is None else tuple(self._columns(answer)),
        )

    def _asked(self, name: str, row: pa.Table) -> pa.Table:
        """An answer to the smallest question that can be asked."""
        options = _EASY.get(name, {})
        condition = self.engine.contract.names("condition")
        if name == "sample":
            return query(self.engine, name, 1, given=dict.fromkeys(condition), **options)
        if name == "traverse":
            return query(self.engine, name, 0, at=row if condition else None, **options)
        if name == "edit" and condition:
            return query(self.engine, name, row, set=dict.fromkeys(condition), **options)
        if name == "edit":  # an attribute that no field has the name of
            labels = pa.array(["a", "b"] * _EXAMPLES)
            examples = pa.concat_tables([row] * len(labels)).append_column("", labels)
            return query(self.engine, name, row, examples, set={"": "a"}, **options)
        return query(self.engine, name, *([row, row] if name == "interpolate" else [row]), **options)

    def _takes_absent(self, name: str) -> bool:
        some = self.nothing.select(list(self.engine.contract.names("condition"))).append_column("", pa.nulls(1))
        try:
            self._asked(name, some)
        except ContractError:
            return False
        return True

    def _columns(self, answer: pa.Table) -> list[ColumnFacts]:
        found = []
        for field in answer.schema:
            facts = column_facts(field.name, field.type)
            if facts.width < 0:  # the width of a list is that of its field
                facts = msgspec.structs.replace(facts, width=self.cells[field.name].length)
            found.append(facts)
        return found

    def _field(self, cells: Cells) -> FieldFacts:
        facts = column_facts(cells.name, cells.type)
        levels = tuple(getattr(cells.field, "levels", ()))
        strict = getattr(cells.field, "unseen", "") == "error" and len(levels) <= _LEVELS
        return FieldFacts(
            **{**msgspec.structs.asdict(facts), "width": cells.length},
            kind=cells.field.kind,
            role=cells.field.role,
            levels=levels if strict else (),
            doc=cells.field.detail,
            range=field_range(cells),
        )

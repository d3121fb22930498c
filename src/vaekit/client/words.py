"""What can be asked of a service, in the words of `vaekit.api.Model`: one definition for threads and for asyncio."""

from __future__ import annotations

import copy
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from vaekit.client.exchange import Call, Lost, Pause, Reply, Send, exchange
from vaekit.client.joining import by_draw, completed, joined, only
from vaekit.client.retry import Budget, Retry
from vaekit.client.wire import (
    authorization,
    feedback,
    json_rows,
    located,
    plain_question,
    read_json,
    read_table,
    row_question,
    with_request_ids,
)
from vaekit.errors import ConfigError, ContractError, QueryError

if TYPE_CHECKING:
    import ssl

    import pyarrow as pa

__all__ = ["ARGUMENTS", "Doing", "Join", "Words"]

# What the methods return: the thing itself, or a coroutine that does.
Table = TypeVar("Table")
Models = TypeVar("Models")
Ready = TypeVar("Ready")
Said = TypeVar("Said")

Result = TypeVar("Result")
Doing = Generator[Send | Pause, Reply | Lost, Result]  # the steps to a result, see `vaekit.client.exchange`
Join = Callable[[Sequence["pa.Table"]], "pa.Table"]

# of queries not about one table
ARGUMENTS = {"sample": ("n",), "interpolate": ("a", "b"), "traverse": ("dim", "at"), "edit": ("rows", "examples")}
_TABLES = ("a", "b", "at", "rows", "examples")
_PLACED = ("impute", "denoise")  # their noise belongs to the position of a row


class Words(ABC, Generic[Table, Models, Ready, Said]):
    """Base class of the clients.

    Args:
        url: Address of the service, for example ``http://127.0.0.1:8000``.
        model: Name of the model.
        api_key: Key or token; that of the environment variable ``VAEKIT_API_KEY`` by default.
        timeout: Seconds that a request may take, all its tries together. The service is told, and drops it later.
        rows: Most rows of one request; a larger table is sent in parts.
        concurrency: Most parts under way at a time.
        retry: When requests are repeated.
        verify: Whether certificates are checked, or how (`ssl.SSLContext`).

    Raises:
        ConfigError: If the address or a number makes no sense, or httpx is not installed.
    """

    def __init__(
        self,
        url: str,
        model: str | None = None,
        *,
        api_key: str | None = None,
        timeout: float = 30.0,
        rows: int = 4096,
        concurrency: int = 4,
        retry: Retry | None = None,
        verify: bool | ssl.SSLContext = True,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"url is the address of a service, for example http://127.0.0.1:8000, got {url!r}")
        if not timeout > 0 or rows < 1 or concurrency < 1:
            raise ConfigError(
                f"timeout is above 0, rows and concurrency are at least 1; got {timeout}, {rows} and {concurrency}"
            )
        self.url, self.model, self.timeout, self.rows, self.concurrency = url, model, timeout, rows, concurrency
        self._retry = retry or Retry()
        self._budget = Budget(self._retry)
        self._connect(authorization(api_key), verify)

    def using(self, model: str | None = None, timeout: float | None = None) -> Self:
        """A client for another model or with another time limit, over the same connections.

        Args:
            model: Name of the model; the same by default.
            timeout: Seconds; the same by default.
        """
        other = copy.copy(self)
        other.model, other.timeout = model or self.model, timeout or self.timeout
        return other

    # -------------------------------------------------------------------------------------------------------- questions

    def score(
        self, table: Any, *, attribution: bool | None = None, samples: int | None = None, seed: int | None = None
    ) -> Table:
        """Bound on -log p(x) in nats, its p-value, and one column per field. See `vaekit.queries.score`."""
        return self.query("score", table, attribution=attribution, samples=samples, seed=seed)

    def detect(self, table: Any, *, alpha: float | None = None, attribution: bool | None = None) -> Table:
        """Anomalies at a promised false-alarm rate. See `vaekit.queries.detect`."""
        return self.query("detect", table, alpha=alpha, attribution=attribution)

    def embed(self, table: Any) -> Table:
        """One vector per row. See `vaekit.queries.embed`."""
        return self.query("embed", table)

    def reconstruct(self, table: Any) -> Table:
        """Each row as the model sees it. See `vaekit.queries.reconstruct`."""
        return self.query("reconstruct", table)

    def denoise(self, table: Any, *, samples: int | None = None, seed: int | None = None) -> Table:
        """Each row with its noise averaged away. See `vaekit.queries.denoise`."""
        return self.query("denoise", table, samples=samples, seed=seed)

    def interpolate(self, a: Any, b: Any, *, steps: int | None = None, path: str | None = None) -> Table:
        """Rows on the way from those of one table to those of another. See `vaekit.queries.interpolate`."""
        return self.query("interpolate", a, b, steps=steps, path=path)

    def traverse(self, dim: int, *, at: Any = None, steps: int | None = None, reach: float | None = None) -> Table:
        """Rows decoded while one latent dimension moves. See `vaekit.queries.traverse`."""
        return self.query("traverse", dim, at=at, steps=steps, reach=reach)

    def edit(
        self,
        rows: Any,
        examples: Any = None,
        *,
        set: Mapping[str, Any],
        strength: float | None = None,
        steps: int | None = None,
    ) -> Table:
        """Rows with an attribute changed, and little else. See `vaekit.queries.edit`."""
        return self.query("edit", rows, examples, set=dict(set), strength=strength, steps=steps)

    def impute(
        self,
        table: Any,
        *,
        draws: int | None = None,
        interval: float | None = None,
        samples: int | None = None,
        seed: int | None = None,
    ) -> Table:
        """Missing cells filled, with uncertainty. See `vaekit.queries.impute`."""
        return self.query("impute", table, draws=draws, interval=interval, samples=samples, seed=seed)

    def sample(
        self,
        n: int,
        *,
        given: Mapping[str, Any] | None = None,
        temperature: float | None = None,
        truncation: float | None = None,
        seed: int | None = None,
    ) -> Table:
        """New rows. See `vaekit.queries.sample`."""
        return self.query("sample", n, given=given, temperature=temperature, truncation=truncation, seed=seed)

    def query(self, name: str, *args: Any, **options: Any) -> Table:
        """Ask a query by name.

        Args:
            name: Name of the query.
            args: Its table, or what it takes in place of one.
            options: Its options; those that are None are left to the service, which has the defaults of `Model`.

        Returns:
            The answer, a `pyarrow.Table` that remembers its requests (`vaekit.client.request_ids`).

        Raises:
            ConfigError: If no model is named, or the service refuses an option.
            ContractError: If the rows do not fit the contract.
            QueryError: If the query is asked in a way that it cannot answer.
            ServingError: If the service cannot be reached, refuses or fails.
        """
        if self.model is None:
            raise ConfigError("name a model: Client(url, model), or client.using(model)")
        given = {name: value for name, value in options.items() if value is not None}
        if name in ARGUMENTS:
            return self._run_all([self._plain(self.model, name, args, given)], only)
        if len(args) != 1:
            raise QueryError(f"query {name!r} takes one table, got {len(args)} arguments")
        from vaekit.fields.tables import to_arrow

        table = to_arrow(args[0])
        starts = range(0, max(table.num_rows, 1), self.rows)
        parts = [self._part(self.model, name, table, start, given) for start in starts]
        return self._run_all(parts, by_draw if given.get("draws", 1) != 1 else joined)

    def _part(self, model: str, name: str, table: pa.Table, first: int, options: Mapping[str, Any]) -> Doing[pa.Table]:
        """Steps to the answer about some rows of a table."""
        rows = table.slice(first, self.rows)
        place = {"first": first + options.get("first", 0)} if first and name in _PLACED else {}
        reply = yield from self._exchange(row_question(model, name, rows, {**options, **place}))
        try:
            answer = read_table(reply)
        except ContractError as error:
            raise error.after(first) from error
        if name == "impute":
            answer = completed(rows, answer)
        return with_request_ids(answer, [(reply.headers.get("x-request-id", ""), rows.num_rows)])

    def _plain(self, model: str, name: str, args: Sequence[Any], options: Mapping[str, Any]) -> Doing[pa.Table]:
        """Steps to the answer of a query that is not about one table."""
        from vaekit.fields.tables import to_arrow

        names = ARGUMENTS[name]
        if len(args) > len(names):
            raise QueryError(f"query {name!r} takes {', '.join(names)}; got {len(args)} arguments")
        arguments = dict(zip(names, args, strict=False))
        arguments |= {known: value for known, value in options.items() if known in names}
        rest = {known: value for known, value in options.items() if known not in names}
        plain = {known: json_rows(to_arrow(v)) if known in _TABLES else v for known, v in arguments.items()}
        reply = yield from self._exchange(plain_question(model, name, plain, rest))
        answer = read_table(reply)
        return with_request_ids(answer, [(reply.headers.get("x-request-id", ""), answer.num_rows)])

    # --------------------------------------------------------------------------------------------------- other requests

    def models(self) -> Models:
        """The models that the service has: name, version, queries and more of each."""
        found: Models = self._run(self._models())
        return found

    def ready(self) -> Ready:
        """Whether the service answers questions now; it is asked once."""
        found: Ready = self._run(self._is_ready())
        return found

    def feedback(
        self,
        answer: pa.Table | str,
        *,
        row: int | None = None,
        outcome: bool | float | str | None = None,
        label: bool | float | str | None = None,
        kpi: Mapping[str, float] | None = None,
        note: str | None = None,
    ) -> Said:
        """Say what came of an answer; saying otherwise later corrects it.

        Args:
            answer: An answer of a client, or a request id.
            row: Zero-based row of what was asked; all of it if not given.
            outcome: What came of it, for example whether an alarm was a true one.
            label: What the right answer would have been.
            kpi: Figures that the answer had a part in, by name.
            note: Words for people.

        Returns:
            What it was joined to, and what was kept.

        Raises:
            ConfigError: If the row is not one of the answer.
            ServingError: If the service does not know the answer, or refuses what is said.
        """
        request, place = (answer, row) if isinstance(answer, str) else located(answer, row)
        said = {"outcome": outcome, "label": label, "kpi": kpi, "note": note}
        found: Said = self._run(self._feedback({"request_id": request, "row": place, **said}))
        return found

    def _models(self) -> Doing[list[dict[str, Any]]]:
        reply = yield from self._exchange(Call("GET", "/v1/models"))
        found: list[dict[str, Any]] = read_json(reply)["models"]
        return found

    def _is_ready(self) -> Doing[bool]:
        found = yield Send(Call("GET", "/readyz"), time.monotonic() + self.timeout)
        return isinstance(found, Reply) and found.status == 200

    def _feedback(self, said: Mapping[str, Any]) -> Doing[dict[str, Any]]:
        reply = yield from self._exchange(feedback(said))
        found: dict[str, Any] = read_json(reply)
        return found

    def _exchange(self, call: Call) -> Doing[Reply]:
        return exchange(call, self.timeout, self._retry, self._budget)

    # ----------------------------------------------------------------------------------------------------- what differs

    @abstractmethod
    def _connect(self, headers: Mapping[str, str], verify: bool | ssl.SSLContext) -> None:
        """Make the pool of connections."""

    @abstractmethod
    def _run(self, steps: Doing[Any]) -> Any:
        """Do the steps; what they return, or a coroutine that does."""

    @abstractmethod
    def _run_all(self, parts: Sequence[Doing[pa.Table]], join: Join) -> Table:
        """Do the steps of all parts, some of them at a time, and join their answers in order."""

"""A load run: how fast a service answers, how late, and how often it does not."""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import math
import random
import socket
from array import array
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import SplitResult, urlsplit

import msgspec

from vaekit.client.wire import ARROW, JSON, authorization, message, row_question
from vaekit.client.words import ARGUMENTS
from vaekit.errors import ConfigError, ServingError

if TYPE_CHECKING:
    from vaekit.client.connection import Connection

__all__ = ["Measured", "Plan", "load"]

Connect = Callable[[SplitResult], Awaitable["Connection"]]
_BODIES = 512  # different requests that a run takes in turn
_LONGEST = 3600.0
_BREATH = 0.05  # seconds before a client whose connection failed makes another one


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a load run does.

    Args:
        url: Address of the service.
        model: Name of the model.
        query: Name of a query about rows.
        options: Its options.
        format: How rows travel both ways: ``json`` or ``arrow``.
        rows: Rows of a request.
        clients: Connections. Without a rate, each sends its next request when it has its answer (closed loop).
        rate: Requests per second that arrive at random, whatever the service does (open loop). The time that one waits
            for a free connection counts.
        seconds: Length of the run.
        warmup: Seconds before it that are not counted.
        timeout: Seconds after which an answer is too late.
        remote: Whether another machine may be put under load.

    Raises:
        ConfigError: If a value makes no sense.
    """

    url: str
    model: str
    query: str = "score"
    options: dict[str, Any] = {}
    format: Literal["json", "arrow"] = "json"
    rows: int = 1
    clients: int = 16
    rate: float | None = None
    seconds: float = 10.0
    warmup: float = 1.0
    timeout: float = 10.0
    remote: bool = False

    def __post_init__(self) -> None:
        if self.rows < 1 or self.clients < 1 or not (self.rate is None or self.rate > 0):
            raise ConfigError(f"rows and clients are at least 1 and rate is above 0, got {self}")
        if not (0 < self.seconds <= _LONGEST and 0 <= self.warmup <= _LONGEST and 0 < self.timeout <= _LONGEST):
            raise ConfigError(f"seconds and timeout are above 0 and, like warmup, at most {_LONGEST:g}, got {self}")
        if self.query in ARGUMENTS:
            raise ConfigError(f"a load run asks about rows, which {self.query!r} does not; try score or detect")


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What a load run found.

    Args:
        plan: What was done.
        seconds: Seconds that were counted.
        requests: Requests that were counted.
        failed: Those without a good answer, by reason.
        failed_rate: Their share.
        later: Failures that said when to come back (Retry-After).
        requests_per_second: Good answers per second.
        rows_per_second: Rows that they were about.
        p50_ms: Milliseconds within which half of the good answers came; None if there was none.
        p95_ms: The same for 95 %.
        p99_ms: The same for 99 %.
        max_ms: The latest good answer.
    """

    plan: Plan
    seconds: float
    requests: int
    failed: dict[str, int]
    failed_rate: float
    later: int
    requests_per_second: float
    rows_per_second: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    max_ms: float | None


def load(plan: Plan, data: Any) -> Measured:
    """Put a service under load and measure.

    Args:
        plan: What to do.
        data: Any table; its rows are sent in turn.

    Returns:
        What was found.

    Raises:
        ConfigError: If the service is on another machine and that is not allowed, or there are too few rows.
        ContractError: If the data is no table.
        ServingError: If nobody listens there.
    """
    try:
        from vaekit.client.connection import connect
    except ImportError as error:
        raise ConfigError("a load run needs httptools; install it with: pip install 'vaekit[client]'") from error
    url = urlsplit(plan.url)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ConfigError(f"url is the address of a service, for example http://127.0.0.1:8000, got {plan.url!r}")
    if not plan.remote:
        _require_loopback(url.hostname)
    return asyncio.run(Run(plan, url, _requests(plan, url, data), connect).measure())


class Run:
    """One load run.

    Args:
        plan: What to do.
        url: The address, taken apart.
        requests: Whole messages, taken in turn.
        connect: Opens a connection.
    """

    def __init__(self, plan: Plan, url: SplitResult, requests: Sequence[bytes], connect: Connect) -> None:
        self.plan, self.url, self.requests, self.connect = plan, url, itertools.cycle(requests), connect
        self.took, self.failed, self.later = array("d"), Counter[str](), 0

    async def measure(self) -> Measured:
        """Do it."""
        try:
            (await self.connect(self.url)).close()
        except OSError as error:
            raise ServingError(f"nobody answers at {self.plan.url}: {error}", kind="connection") from error
        self.clock = asyncio.get_running_loop().time
        self.begin = self.clock() + self.plan.warmup
        self.end = self.begin + self.plan.seconds
        async with asyncio.TaskGroup() as group:
            queue: asyncio.Queue[float | None] = asyncio.Queue()
            if self.plan.rate is not None:
                group.create_task(self._arrivals(queue, self.plan.rate))
            for _ in range(self.plan.clients):
                group.create_task(self._client(self._at_once if self.plan.rate is None else queue.get))
        return self._measured()

    async def _arrivals(self, queue: asyncio.Queue[float | None], rate: float) -> None:
        """Requests that become due at random, independent of each other; at the end a None for each client."""
        dice, due = random.Random(0), self.clock()
        while (due := due + dice.expovariate(rate)) < self.end:
            await asyncio.sleep(due - self.clock())
            queue.put_nowait(due)
        for _ in range(self.plan.clients):
            queue.put_nowait(None)

    async def _at_once(self) -> float | None:
        now = self.clock()
        return now if now < self.end else None

    async def _client(self, due: Callable[[], Awaitable[float | None]]) -> None:
        """One connection, and another one when it breaks, for requests one after the other."""
        connection: Connection | None = None
        while (when := await due()) is not None:
            connection, why, later = await self._ask(connection, when)
            if when < self.begin:
                continue
            if why:
                self.failed[why] += 1
                self.later += later
            else:
                self.took.append(self.clock() - when)
        if connection is not None:
            connection.close()

    async def _ask(self, connection: Connection | None, due: float) -> tuple[Connection | None, str, bool]:
        """Make the next request; returns the connection to go on with, why it failed, if so, and whether to retry."""
        if self.clock() >= due + self.plan.timeout:
            return connection, "timeout", False  # it waited for a connection as long as it may
        try:
            async with asyncio.timeout_at(due + self.plan.timeout):
                if connection is None or not connection.open:
                    connection = await self.connect(self.url)
                answer = await connection.ask(next(self.requests))
        except TimeoutError:
            if connection is not None:
                connection.close()
            return None, "timeout", False
        except OSError:
            await asyncio.sleep(_BREATH)
            return None, "connection", False
        return connection, "" if answer.status == 200 else _reason(answer.status, answer.body), answer.later

    def _measured(self) -> Measured:
        plan, took, failed = self.plan, sorted(self.took), sum(self.failed.values())
        ranks = {name: _rank(took, share) for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))}
        return Measured(
            plan=plan,
            seconds=plan.seconds,
            requests=len(took) + failed,
            failed=dict(self.failed.most_common()),
            failed_rate=failed / max(len(took) + failed, 1),
            later=self.later,
            requests_per_second=len(took) / plan.seconds,
            rows_per_second=len(took) * plan.rows / plan.seconds,
            **{f"{name}_ms": value and 1e3 * value for name, value in ranks.items()},
        )


def _requests(plan: Plan, url: SplitResult, data: Any) -> list[bytes]:
    """Whole messages from the rows of some data."""
    from vaekit.fields.tables import to_arrow

    table = to_arrow(data)
    if table.num_rows < plan.rows:
        raise ConfigError(f"need at least {plan.rows} rows for one request, got {table.num_rows}")
    media = ARROW if plan.format == "arrow" else JSON
    found = []
    for index in range(min(_BODIES, table.num_rows // plan.rows)):
        rows = table.slice(index * plan.rows, plan.rows).combine_chunks()
        call = row_question(plan.model, plan.query, rows, plan.options, media)
        found.append(message(call, url, {**authorization(None), "x-request-timeout": f"{plan.timeout:g}"}))
    return found


def _reason(status: int, body: bytes) -> str:
    """A failure in a few words: the status, and the kind that the service names."""
    try:
        return f"{status} {msgspec.json.decode(body)['error']['kind']}"
    except (msgspec.DecodeError, KeyError, TypeError):
        return str(status)


def _rank(ordered: Sequence[float], share: float) -> float | None:
    """The smallest value that so large a share of all does not exceed; None if there is none.

    Example:
        >>> _rank([1.0, 2.0, 3.0, 4.0], 0.5), _rank([], 0.5)
        (2.0, None)
    """
    return ordered[math.ceil(share * len(ordered)) - 1] if ordered else None


def _require_loopback(host: str) -> None:
    """Refuse to put another machine under load."""
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None)}
    except OSError as error:
        raise ConfigError(f"the address of {host!r} is not known: {error}") from error
    if not all(ipaddress.ip_address(address.partition("%")[0]).is_loopback for address in found):
        raise ConfigError(
            f"{host} is not this machine; a load run against another one needs its owner's consent: allow it with "
            "--remote (remote=True)"
        )

"""One request until its answer, free of sockets and clocks that wait: the same steps for threads and for asyncio.

`exchange` is a generator. It yields what has to be done, a `Send` or a `Pause`, and is sent what came of it; what it
returns is the answer. `Client` and `AsyncClient` differ in who does it.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field

from vaekit.client.retry import Budget, Retry, pause, retry_after
from vaekit.errors import ServingError

__all__ = ["Call", "Lost", "Pause", "Reply", "Send", "Steps", "exchange"]

BUSY = (429, 503)  # nothing was done; another try is safe


@dataclass(frozen=True)
class Call:
    """A request as its caller means it.

    Args:
        method: HTTP method.
        path: Path below the address of the service.
        params: Parameters of the URL.
        headers: Headers of its own.
        body: The body.
    """

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Send:
    """To be done: send a request and wait for the whole answer until a time of `time.monotonic`."""

    call: Call
    until: float

    @property
    def seconds(self) -> float:
        """Seconds that are left, never none: a socket needs a limit above zero."""
        return max(self.until - time.monotonic(), 0.001)

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the request; one tells the service how long an answer is of use."""
        return {**self.call.headers, "x-request-timeout": f"{self.seconds:.3f}"}


@dataclass(frozen=True)
class Pause:
    """To be done: wait so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Reply:
    """A whole answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Lost:
    """No answer.

    Args:
        why: What happened.
        late: Whether time ran out.
    """

    why: str
    late: bool


Steps = Generator[Send | Pause, Reply | Lost, Reply]  # what is sent after a `Pause` does not matter


def exchange(call: Call, timeout: float, retry: Retry, budget: Budget) -> Steps:
    """Send a request, again where that is safe and makes sense, until there is an answer.

    Another try is made after 429 and 503, which say that nothing was done, and where a connection failed before an
    answer came: whatever this client asks may be asked twice, since questions change nothing and feedback that comes
    again is the same feedback. A try waits at least as long as the service asks, and is not made if that is too long.

    Args:
        call: The request.
        timeout: Seconds for all tries together; the service is told what is left of them.
        retry: When to try again.
        budget: What may be repeated in all.

    Returns:
        The answer, which may be an error that another try does not mend.

    Raises:
        ServingError: If no answer came.
    """
    until = time.monotonic() + timeout
    budget.earn()
    tried = 1
    while True:
        found = yield Send(call, until)
        if isinstance(found, Reply):
            if found.status not in BUSY:
                return found
            again, asked = True, retry_after(found.headers.get("retry-after"))
        else:
            again, asked = not found.late, None
        wait = pause(retry, tried, asked)
        if not (again and tried < retry.tries and time.monotonic() + wait < until and budget.take()):
            break
        yield Pause(wait)
        tried += 1
    if isinstance(found, Reply):
        return found
    tries = f" after {tried} tries" if tried > 1 else ""
    raise ServingError(f"{found.why}{tries}", kind="timeout" if found.late else "connection")

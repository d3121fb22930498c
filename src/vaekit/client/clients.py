"""The two clients: the steps of `vaekit.client.words` done in the caller's thread, or by asyncio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

from vaekit.client.exchange import Lost, Pause, Reply, Send
from vaekit.client.words import Doing, Join, Words
from vaekit.errors import ConfigError

if TYPE_CHECKING:
    import ssl

    import httpx
    import pyarrow as pa

__all__ = ["AsyncClient", "Client"]

Models = list[dict[str, Any]]
Said = dict[str, Any]
_LATE = Lost("no answer came in time", late=True)


class Client(Words["pa.Table", Models, bool, Said]):
    """Asks a service what `vaekit.api.Model` asks a bundle: any table in, a `pyarrow.Table` out.

    It may be used from several threads. See `Words` for the arguments.

    Example:
        >>> with Client("http://127.0.0.1:9", "flights", timeout=5.0) as client:
        ...     client.ready()  # no service is there
        False
    """

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _connect(self, headers: Mapping[str, str], verify: bool | ssl.SSLContext) -> None:
        self._http = _httpx().Client(**_options(self.url, headers, verify))

    def _run(self, steps: Doing[Any]) -> Any:
        found: Reply | Lost = _LATE
        try:
            step = next(steps)
            while True:
                if isinstance(step, Pause):
                    time.sleep(step.seconds)
                else:
                    found = self._send(step)
                step = steps.send(found)
        except StopIteration as done:
            return done.value

    def _run_all(self, parts: Sequence[Doing[pa.Table]], join: Join) -> pa.Table:
        if len(parts) == 1:
            return join([self._run(parts[0])])
        with ThreadPoolExecutor(self.concurrency) as pool:
            return join(list(pool.map(self._run, parts)))

    def _send(self, send: Send) -> Reply | Lost:
        body = bytearray()
        try:
            with self._http.stream(**_request(send)) as answer:
                for chunk in answer.iter_bytes():
                    body += chunk
                    if time.monotonic() > send.until:
                        return _LATE
        except _httpx().RequestError as error:
            return _lost(error)
        return Reply(answer.status_code, answer.headers, bytes(body))


class AsyncClient(
    Words[
        Coroutine[Any, Any, "pa.Table"],
        Coroutine[Any, Any, Models],
        Coroutine[Any, Any, bool],
        Coroutine[Any, Any, Said],
    ]
):
    """The same as `Client` for asyncio: every method returns a coroutine. See `Words` for the arguments.

    Example:
        >>> async def main():
        ...     async with AsyncClient("http://127.0.0.1:9", "flights", timeout=5.0) as client:
        ...         return await client.ready()
        >>> asyncio.run(main())
        False
    """

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _connect(self, headers: Mapping[str, str], verify: bool | ssl.SSLContext) -> None:
        self._http = _httpx().AsyncClient(**_options(self.url, headers, verify))

    async def _run(self, steps: Doing[Any]) -> Any:
        found: Reply | Lost = _LATE
        try:
            step = next(steps)
            while True:
                if isinstance(step, Pause):
                    await asyncio.sleep(step.seconds)
                else:
                    found = await self._send(step)
                step = steps.send(found)
        except StopIteration as done:
            return done.value

    async def _run_all(self, parts: Sequence[Doing[pa.Table]], join: Join) -> pa.Table:
        gate = asyncio.Semaphore(self.concurrency)

        async def one(part: Doing[pa.Table]) -> pa.Table:
            async with gate:
                found: pa.Table = await self._run(part)
                return found

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(part)) for part in parts]
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return join([task.result() for task in tasks])

    async def _send(self, send: Send) -> Reply | Lost:
        body = bytearray()
        try:
            async with self._http.stream(**_request(send)) as answer:
                async for chunk in answer.aiter_bytes():
                    body += chunk
                    if time.monotonic() > send.until:
                        return _LATE
        except _httpx().RequestError as error:
            return _lost(error)
        return Reply(answer.status_code, answer.headers, bytes(body))


def _httpx() -> Any:
    """The library, imported when the first client is made."""
    try:
        import httpx
    except ImportError as error:
        raise ConfigError("clients need httpx; install it with: pip install 'vaekit[client]'") from error
    return httpx


def _options(url: str, headers: Mapping[str, str], verify: bool | ssl.SSLContext) -> dict[str, Any]:
    limits = _httpx().Limits(max_connections=None, max_keepalive_connections=100)
    checked = verify if url.startswith("https://") else False  # reading certificates takes longer than a question
    return {"base_url": url, "headers": headers, "verify": checked, "limits": limits}


def _request(send: Send) -> dict[str, Any]:
    call = send.call
    asked = {"method": call.method, "url": call.path, "params": call.params, "content": call.body}
    return asked | {"headers": send.headers, "timeout": send.seconds}


def _lost(error: httpx.RequestError) -> Lost:
    if isinstance(error, _httpx().TimeoutException):
        return _LATE
    return Lost(f"the connection failed: {str(error) or type(error).__name__}", late=False)

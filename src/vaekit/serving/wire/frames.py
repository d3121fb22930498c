"""Frames on a Unix socket pair: a message in msgpack, and the bodies beside it as they are.

A frame is a prefix (length of the head, length of all bodies), the head (lengths of the single bodies, message), and
the bodies. Nothing of it can be code.
"""

from __future__ import annotations

import asyncio
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from vaekit.serving.wire.messages import Message

__all__ = ["Buffer", "FrontLine", "WorkerLine", "frame"]

Buffer = bytes | bytearray | memoryview

_PREFIX = struct.Struct("<IQ")
_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(tuple[list[int], Message])
_SMALL = 1 << 16  # frames up to this size are read with one call, and sent as one piece
_PIECES = 512  # most buffers of one sendmsg; the kernel allows 1,024


def frame(message: Message, bodies: Sequence[Buffer] = ()) -> list[Buffer]:
    """The pieces of a frame, ready to be written one after the other.

    Args:
        message: The message.
        bodies: What travels beside it.

    Example:
        >>> from vaekit.serving.wire.messages import Beat
        >>> b"".join(frame(Beat(), [b"abc"]))[-3:]
        b'abc'
    """
    sizes = [len(body) for body in bodies]
    head = _ENCODER.encode((sizes, message))
    return [_PREFIX.pack(len(head), sum(sizes)) + head, *bodies]


def _unpacked(head: Buffer, bodies: memoryview) -> tuple[Any, list[memoryview]]:
    """Message and bodies of a frame; the bodies are views."""
    sizes, message = _DECODER.decode(head)
    found, start = [], 0
    for size in sizes:
        found.append(bodies[start : start + size])
        start += size
    return message, found


class FrontLine(asyncio.BufferedProtocol):
    """The front's end of the line, on an event loop.

    Args:
        heard: Called with each message and its bodies, which are views that are good during the call.
        lost: Called once when the worker's end is closed.
    """

    def __init__(self, heard: Callable[[Any, list[memoryview]], None], lost: Callable[[], None]) -> None:
        self._heard, self._lost = heard, lost
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray(_SMALL)
        self._filled = 0

    def send(self, message: Message, bodies: Sequence[Buffer] = ()) -> None:
        """Write a message; what does not fit into the socket at once is written by the event loop."""
        if self._transport is None or self._transport.is_closing():
            return  # the loss is told, or about to be
        pieces = frame(message, bodies)
        if sum(map(len, pieces)) <= _SMALL:
            self._transport.write(b"".join(pieces))
        else:
            self._transport.writelines(pieces)

    def close(self) -> None:
        """Close the line; the worker notices and ends."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The line is open."""
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, error: Exception | None) -> None:
        """The worker's end is closed."""
        self._transport = None
        self._lost()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        return memoryview(self._buffer)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Hand on every frame that is complete."""
        self._filled += nbytes
        start = 0
        view = memoryview(self._buffer)
        while self._filled - start >= _PREFIX.size:
            head, rest = _PREFIX.unpack_from(view, start)
            end = start + _PREFIX.size + head + rest
            if end > self._filled:
                break
            at = start + _PREFIX.size + head
            self._heard(*_unpacked(view[start + _PREFIX.size : at], view[at:end]))
            start = end
        self._keep(start)

    def _keep(self, start: int) -> None:
        """Move an incomplete frame to the front of a buffer that has room for it."""
        left, need = self._filled - start, _SMALL
        if left >= _PREFIX.size:
            need = max(_SMALL, _PREFIX.size + sum(_PREFIX.unpack_from(self._buffer, start)))
        if need != len(self._buffer):
            fresh = bytearray(need)
            fresh[:left] = self._buffer[start : self._filled]
            self._buffer = fresh
        elif start:
            self._buffer[:left] = self._buffer[start : self._filled]
        self._filled = left


class WorkerLine:
    """The worker's end of the line, with calls that wait. Several threads may send.

    Args:
        sock: The socket.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._lock = threading.Lock()

    def send(self, message: Message, bodies: Sequence[Buffer] = ()) -> None:
        """Write a message and wait until it is on its way.

        Raises:
            OSError: If the front's end is closed.
        """
        pieces = frame(message, bodies)
        if sum(map(len, pieces)) <= _SMALL:
            pieces = [b"".join(pieces)]
        with self._lock:
            for some in _groups(pieces):
                self._send(some)

    def receive(self) -> tuple[Any, list[memoryview]]:
        """The next message and its bodies.

        Raises:
            EOFError: If the front's end is closed.
        """
        head, rest = _PREFIX.unpack(self._exactly(_PREFIX.size))
        whole = memoryview(self._exactly(head + rest))
        return _unpacked(whole[:head], whole[head:])

    def waits(self, seconds: float) -> bool:
        """Whether something can be received within some seconds."""
        ready, _, _ = select.select([self._socket], [], [], seconds)
        return bool(ready)

    def _send(self, pieces: list[memoryview]) -> None:
        while pieces:
            sent = self._socket.sendmsg(pieces)
            while pieces and sent >= len(pieces[0]):
                sent -= len(pieces.pop(0))
            if sent:
                pieces[0] = pieces[0][sent:]

    def _exactly(self, size: int) -> bytearray:
        buffer = bytearray(size)
        view, filled = memoryview(buffer), 0
        while filled < size:
            got = self._socket.recv_into(view[filled:])
            if not got:
                raise EOFError("the front has closed the line")
            filled += got
        return buffer


def _groups(pieces: Sequence[Buffer]) -> Iterator[list[memoryview]]:
    """Pieces that are not empty, as many at a time as one call may send."""
    views = [memoryview(piece) for piece in pieces if len(piece)]
    for start in range(0, len(views), _PIECES):
        yield views[start : start + _PIECES]

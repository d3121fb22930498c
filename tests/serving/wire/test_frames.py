"""Messages and bodies cross a real socket pair whole, in order, whatever their size."""

import asyncio
import socket
import threading

import pytest
import uvloop

from vaekit.serving.wire.asking import Ask
from vaekit.serving.wire.frames import FrontLine, WorkerLine
from vaekit.serving.wire.messages import Beat, Work

LOOPS = {"asyncio": asyncio.run, "uvloop": uvloop.run}
SIZES = (0, 1, 100, 65_000, 65_536, 70_000, 3_000_000, 0, 7)


@pytest.mark.parametrize("loop", LOOPS)
def test_frames_of_all_sizes_come_back_as_they_went(loop):
    """A thread that echoes every message, as a worker that answers."""
    front, worker = socket.socketpair()

    def echo():
        line = WorkerLine(worker)
        try:
            while True:
                message, bodies = line.receive()
                line.send(message, [bytes(body) for body in bodies])
                line.send(Beat())
        except EOFError:
            worker.close()

    async def story():
        heard, lost = [], asyncio.Event()
        line = FrontLine(lambda message, bodies: heard.append((message, [bytes(b) for b in bodies])), lost.set)
        front.setblocking(False)
        await asyncio.get_running_loop().create_unix_connection(lambda: line, sock=front)
        sent = []
        for number, size in enumerate(SIZES):
            bodies = [bytes([number]) * size, b"", b"tail"]
            asks = [Ask(id=str(number), model="é", query="q", takes="t", gives="g") for _ in bodies]
            sent.append((Work(batch=number, asks=asks), bodies))
            line.send(*sent[-1])
        async with asyncio.timeout(60):
            while len(heard) < 2 * len(SIZES):
                await asyncio.sleep(0.005)
        assert [one for one in heard if one[0] != Beat()] == sent
        line.close()
        async with asyncio.timeout(60):
            await lost.wait()
        line.send(Beat())  # to nobody, which is no error: the loss was told

    thread = threading.Thread(target=echo)
    thread.start()
    LOOPS[loop](story())
    thread.join(60)
    assert not thread.is_alive()


def test_more_bodies_than_the_kernel_sends_at_once():
    ours, theirs = (WorkerLine(one) for one in socket.socketpair())
    bodies = [bytes([index % 256]) * 100 for index in range(3000)]
    sender = threading.Thread(target=ours.send, args=(Beat(), bodies))
    sender.start()
    message, found = theirs.receive()
    sender.join(60)
    assert message == Beat()
    assert [bytes(body) for body in found] == bodies


def test_a_frame_that_breaks_off_is_the_end():
    ours, theirs = socket.socketpair()
    ours.sendall(b"\x05\x00\x00")
    ours.close()
    with pytest.raises(EOFError):
        WorkerLine(theirs).receive()

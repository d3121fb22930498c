"""A worker process: holds the models, and answers batches that the front sends over a Unix socket.

``python -m vaekit.serving.worker FD``; the front starts it, and it ends when the front's end of the socket is closed.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import resource
import signal
import socket
import sys
import threading
import time

import msgspec

from vaekit.errors import VaekitError
from vaekit.serving.observing.bridge import bridged
from vaekit.serving.observing.logs import Log
from vaekit.serving.wire.frames import WorkerLine
from vaekit.serving.wire.messages import Beat, Done, Hello, Refused

__all__ = ["main"]

BEATS = 0.25  # seconds between two signs of life
PATIENCE = 0.1  # seconds without work after which the front is told what was noticed


def main(descriptor: int) -> None:
    """Serve until the front has gone.

    Args:
        descriptor: File descriptor of the socket.
    """
    for number in (signal.SIGINT, signal.SIGTERM):  # the front drains first, and closes the line when it is done
        signal.signal(number, signal.SIG_IGN)
    line = WorkerLine(socket.socket(fileno=descriptor))
    threading.Thread(target=_beat, args=(line,), daemon=True).start()
    try:
        with Log() as log, bridged(log):
            _serve(line)
    except (EOFError, OSError):
        return


def _serve(line: WorkerLine) -> None:
    load, contents = line.receive()
    resource.setrlimit(resource.RLIMIT_DATA, (load.memory, load.memory))
    from vaekit.serving.worker.answering import Answering
    from vaekit.serving.worker.hosted import Hosted
    from vaekit.serving.worker.noticing import Noticing

    try:
        models, start = {}, 0
        for packed in load.models:
            files = dict(zip(packed.files, map(bytes, contents[start:]), strict=False))
            start += len(packed.files)
            models[packed.name] = Hosted(
                packed, files, load.limits, backend=load.backend, threads=load.threads, queries=load.queries
            )
    except VaekitError as error:
        line.send(Refused(message=str(error)))
        return
    del contents, files
    noticing = Noticing(load.log_samples)
    for hosted in models.values():
        hosted.engine = noticing.watch(hosted.name, hosted.engine)
    answering = Answering(models, noticing)
    line.send(Hello(models=tuple(hosted.facts for hosted in models.values())))
    _settle()
    while True:
        if noticing.waiting and not line.waits(PATIENCE):
            line.send(noticing.noted())
            continue
        work, bodies = line.receive()
        tolds, seen = answering.answer(work.asks, bodies)
        answers = [told.body for told in tolds]
        slim = [msgspec.structs.replace(told, body=b"") if told.body else told for told in tolds]
        line.send(Done(batch=work.batch, tolds=slim, seen=seen), answers)
        if noticing.due:  # after the answers: nobody waits for it
            line.send(noticing.noted())


def _settle() -> None:
    """Give back the memory that loading took for a while, and let the collector pass over what stays."""
    gc.collect()
    gc.freeze()
    with contextlib.suppress(OSError, AttributeError):  # not every C library can be asked to
        ctypes.CDLL(None).malloc_trim(0)


def _beat(line: WorkerLine) -> None:
    """Tell the front again and again that this process runs; end with it."""
    while True:
        try:
            line.send(Beat())
        except OSError:
            os._exit(0)  # the front has gone, and an answer that is being computed is of no use
        time.sleep(BEATS)


if __name__ == "__main__":
    main(int(sys.argv[1]))

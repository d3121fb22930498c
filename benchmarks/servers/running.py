"""Environments and processes of servers: made once, pinned to a core, stopped with all that they started."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["SOURCE", "Process", "busy", "environment", "free_port", "post", "resident"]

ROOT = Path(__file__).resolve().parent.parent.parent
RIVALS, SOURCE = ROOT / ".venv-rivals", ROOT / "src"
START = 120.0  # seconds that a server has to give its first answer
STOP = 10.0
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def environment(packages: Sequence[str]) -> Path:
    """The Python of a virtual environment with some packages, made if it is not there; ours for none.

    Args:
        packages: What pip installs. The folder is named after the first and a hash of all.
    """
    if not packages:
        return Path(sys.executable)
    wanted = "\n".join(packages)
    folder = RIVALS / f"{packages[0].partition('=')[0]}-{hashlib.sha256(wanted.encode()).hexdigest()[:8]}"
    stamp, python = folder / ".packages", folder / "bin" / "python"
    if stamp.exists():
        return python
    print(f"making the environment {folder.name}: {' '.join(packages)}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], check=True)
    stamp.write_text(wanted)
    return python


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port


def post(url: str, body: bytes | None, headers: Mapping[str, str], timeout: float = 30.0) -> bytes:
    """The body of the answer to a POST, or to a GET without a body; an `urllib.error.HTTPError` if it is refused."""
    request = urllib.request.Request(url, body, dict(headers))
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        found: bytes = answer.read()
        return found


class Process:
    """A server on one core.

    Args:
        command: What starts it.
        core: The core that it and its children are pinned to.
        env: Environment variables beside those of this process.
        cwd: Where it runs.
        log: File for what it prints.
    """

    def __init__(self, command: Sequence[str], core: int, env: Mapping[str, str], cwd: Path, log: Path) -> None:
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self.log = log
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                ["taskset", "-c", str(core), *command],
                env=inherited | dict.fromkeys(_THREADS, "1") | dict(env),
                cwd=cwd,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def wait(
        self, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None, pause: float = 0.2
    ) -> bytes:
        """Wait for its first answer, asking again after each pause, in seconds.

        Raises:
            RuntimeError: If it ends, or does not answer in time; the message holds the end of its log.
        """
        until = time.monotonic() + START
        why: object = "no answer"
        while time.monotonic() < until and self._process.poll() is None:
            try:
                return post(url, body, headers or {})
            except urllib.error.HTTPError as error:
                why = f"{error} {error.read()[:500]!r}"
            except OSError as error:
                why = error
            time.sleep(pause)
        raise RuntimeError(f"the server did not answer ({why}): {self.log.read_text(errors='replace')[-2000:]}")

    def stop(self) -> None:
        """Stop it and whatever it started, also in sessions of their own."""
        family = [*_family(self.pid)]
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP)
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()


def busy(root: int) -> float:
    """Processor seconds that a process and all that it started, directly or not, have used so far."""
    return sum(int(stat[11]) + int(stat[12]) for stat in _family(root).values()) / os.sysconf("SC_CLK_TCK")


def resident(root: int) -> float:
    """Megabytes of memory that are resident for a process and all that it started; shared pages count for each."""
    return sum(int(stat[21]) for stat in _family(root).values()) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _family(root: int) -> dict[int, list[str]]:
    """A process and its descendants: process id to the fields of /proc/PID/stat after the name."""
    stats: dict[int, list[str]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            stats[int(path.parent.name)] = path.read_text().rpartition(")")[2].split()
    found, fresh = dict[int, list[str]](), {root} & stats.keys()
    while fresh:
        found |= {pid: stats[pid] for pid in fresh}
        fresh = {pid for pid, stat in stats.items() if int(stat[1]) in fresh} - found.keys()
    return found

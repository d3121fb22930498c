"""The ledger: which model answered which request, and what was said of the answer later. SQLite, one thread.

Answers are noted from the event loop by an append to a deque; the thread writes those of a quarter of a second as one
statement, so that the interpreter lock is not held while it does.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import msgspec

from vaekit.errors import ConfigError

__all__ = ["IN_MEMORY", "Answered", "Ledger", "Remark", "Source"]

PAUSE = 0.25  # seconds of answers that are written together, and that a crash may lose
WAITING = 100_000  # answers that wait for the thread; the oldest are dropped beyond
_PRUNE = 60.0  # seconds between two looks at what is too old
IN_MEMORY = 20_000  # answers, and remarks, that are kept where there is no folder: about 8 MB
_TABLES = """
CREATE TABLE IF NOT EXISTS sources (
    number INTEGER PRIMARY KEY, model TEXT NOT NULL, version TEXT NOT NULL, contract TEXT NOT NULL, data TEXT NOT NULL,
    UNIQUE (model, version, contract, data)
);
CREATE TABLE IF NOT EXISTS answered (
    number INTEGER PRIMARY KEY, request TEXT NOT NULL UNIQUE, at REAL NOT NULL, source INTEGER NOT NULL,
    query TEXT NOT NULL, rows INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS remarks (
    number INTEGER PRIMARY KEY, request TEXT NOT NULL, row INTEGER NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
    value TEXT NOT NULL, measure REAL, note TEXT NOT NULL, at REAL NOT NULL, source INTEGER NOT NULL,
    query TEXT NOT NULL,
    UNIQUE (request, row, kind, name)
);
PRAGMA user_version = 1;
"""
_SOURCE = "INSERT INTO sources (model, version, contract, data) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
_NUMBER = "SELECT number FROM sources WHERE model = ? AND version = ? AND contract = ? AND data = ?"
_ADD = """
INSERT OR REPLACE INTO answered (request, at, source, query, rows)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4 FROM json_each(?)
"""
_FIND = """
SELECT request, at, model, version, contract, data, query, rows
FROM answered JOIN sources ON sources.number = source WHERE request = ?
"""
_REMARK = """
INSERT INTO remarks (request, row, kind, name, value, measure, note, at, source, query)
SELECT request, :row, :kind, :name, :value, :measure, :note, :at, source, query FROM answered WHERE request = :request
ON CONFLICT (request, row, kind, name) DO UPDATE
SET value = excluded.value, measure = excluded.measure, note = excluded.note, at = excluded.at
"""
_OLD = """
DELETE FROM {table} WHERE number <= (SELECT max(number) FROM {table}) - :rows
OR number < (SELECT number FROM {table} WHERE at >= :since ORDER BY number LIMIT 1)
OR (SELECT max(at) FROM {table}) < :since
"""


class Source(msgspec.Struct, frozen=True):
    """What gave an answer.

    Args:
        model: Name of the model.
        version: Its version.
        contract: Hash of its contract.
        data: Hash of the data that it was trained on.
    """

    model: str
    version: str
    contract: str
    data: str


class Answered(msgspec.Struct, frozen=True):
    """One answer.

    Args:
        request: Id of the request.
        at: When, in seconds since 1970.
        source: What gave it.
        query: Name of the query.
        rows: Rows that were asked about.
    """

    request: str
    at: float
    source: Source
    query: str
    rows: int


class Remark(msgspec.Struct, frozen=True):
    """One thing said of an answer.

    Args:
        request: Id of the request.
        kind: ``outcome``, ``label`` or ``kpi``.
        value: The value as JSON.
        measure: The value as a number, where it is one; true is 1.
        name: Name of the KPI.
        row: Zero-based row of the answer; -1: all of it.
        note: Words for people.
    """

    request: str
    kind: str
    value: str
    measure: float | None = None
    name: str = ""
    row: int = -1
    note: str = ""


class Ledger:
    """Answers and what was said of them, bounded by age and number.

    Args:
        folder: Where the database lies; None: in memory, lost with the process.
        days: Days after which answers and remarks are forgotten.
        most: Answers, and remarks, that are kept; in memory `IN_MEMORY` at most.

    Raises:
        ConfigError: If the database cannot be opened.
    """

    def __init__(self, folder: Path | None, days: float, most: int) -> None:
        self.days, self.most = days, most if folder is not None else min(most, IN_MEMORY)
        self.waiting: deque[Answered] = deque(maxlen=WAITING)
        self.lost = 0  # answers that could not be written
        self._jobs: queue.SimpleQueue[tuple[Callable[[sqlite3.Connection], Any], Future[Any]] | None]
        self._jobs = queue.SimpleQueue()
        self._database = _opened(folder)
        self._numbers: dict[Source, int] = {}
        self._pruned = 0.0
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()

    def answered(self, answer: Answered) -> None:
        """Note an answer; it is written soon."""
        self.lost += len(self.waiting) == WAITING
        self.waiting.append(answer)

    def find(self, request: str) -> Future[Answered | None]:
        """The answer to a request, if it is known."""

        def find(database: sqlite3.Connection) -> Answered | None:
            found = database.execute(_FIND, [request]).fetchone()
            return None if found is None else Answered(found[0], found[1], Source(*found[2:6]), *found[6:])

        return self.ask(find)

    def remark(self, remarks: list[Remark]) -> Future[int]:
        """Write remarks on answers, in place of what was said of the same before.

        Returns:
            How many were joined to an answer.
        """

        def write(database: sqlite3.Connection) -> int:
            at = time.time()
            return sum(
                database.execute(_REMARK, msgspec.structs.asdict(remark) | {"at": at}).rowcount for remark in remarks
            )

        return self.ask(write)

    def ask(self, job: Callable[[sqlite3.Connection], Any]) -> Future[Any]:
        """Run a job on the database, in the thread, after all answers so far are written."""
        future: Future[Any] = Future()
        self._jobs.put((job, future))
        return future

    def close(self) -> None:
        """Write what waits, and close the database."""
        self._jobs.put(None)
        self._thread.join()

    # ------------------------------------------------------------------------------------------------------ the thread

    def _run(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=PAUSE)
            except queue.Empty:
                self._write()
                continue
            self._write()
            if job is None:
                self._database.close()
                return
            work, future = job
            try:
                with self._database:
                    found = work(self._database)
            except Exception as error:  # of this job alone: the thread serves all that come after it
                future.set_exception(error)
            else:
                future.set_result(found)

    def _write(self) -> None:
        batch = [self.waiting.popleft() for _ in range(len(self.waiting))]
        try:
            with self._database:
                if batch:
                    plain = [(one.request, one.at, self._number(one.source), one.query, one.rows) for one in batch]
                    self._database.execute(_ADD, [msgspec.json.encode(plain).decode()])
                if (now := time.time()) > self._pruned + _PRUNE:
                    self._pruned = now
                    for table in ("answered", "remarks"):
                        since = {"rows": self.most, "since": now - 86400 * self.days}
                        self._database.execute(_OLD.format(table=table), since)
        except sqlite3.Error:
            self._numbers.clear()
            self.lost += len(batch)  # told by a metric: a full disk must not stop the service

    def _number(self, source: Source) -> int:
        if source not in self._numbers:
            values = msgspec.structs.astuple(source)
            self._database.execute(_SOURCE, values)
            self._numbers[source] = self._database.execute(_NUMBER, values).fetchone()[0]
        return self._numbers[source]


def _opened(folder: Path | None) -> sqlite3.Connection:
    path = ":memory:" if folder is None else str(folder / "feedback.sqlite")
    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(path, timeout=5.0, check_same_thread=False)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.executescript(_TABLES)
    except (sqlite3.Error, OSError) as error:
        raise ConfigError(
            f"{path}: the state of the service cannot be kept here ({error}); give another --state"
        ) from error
    return database

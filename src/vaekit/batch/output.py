"""The folder that a batch job writes: parts that are whole or absent, and what tells how far it came."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from vaekit.batch.asking import ROW, Answered, Fault
from vaekit.batch.plan import Plan
from vaekit.errors import ConfigError
from vaekit.files import replace_file, write_file

__all__ = ["Folder", "Part"]

PLAN, SUMMARY, SUCCESS, QUARANTINE = "_plan.json", "_summary.json", "_SUCCESS", "_quarantine"
GROUP_ROWS, GROUP_BYTES = 2**16, 2**25  # of a row group
_KEY = b"vaekit.part"  # under which the footer of a part says what it is


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What a part says of itself.

    Args:
        first: Number of the first row of the input that it is about.
        rows: How many rows it is about.
        quarantined: How many of them are in quarantine.
    """

    first: int
    rows: int
    quarantined: int


class Folder:
    """The output of a job. Names that begin with ``_`` are left aside by everything that reads a folder of Parquet.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    # ---------------------------------------------------------------- beginning

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from writing here; the folder is made if it is not there.

        Raises:
            ConfigError: If another process is writing, or the path is a file.
        """
        if self.path.exists() and not self.path.is_dir():
            raise ConfigError(f"{self.path} is a file; the output of a job is a folder")
        self.path.mkdir(parents=True, exist_ok=True)
        if sys.platform == "win32":
            yield
            return
        import fcntl

        handle = os.open(self.path, os.O_RDONLY)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # given back by the system however the process ends
            except BlockingIOError as error:
                raise ConfigError(
                    f"another process is writing to {self.path}; wait for it, or choose another folder"
                ) from error
            yield
        finally:
            os.close(handle)

    def plan(self) -> Plan | None:
        """The job that was begun here; None if the folder is empty.

        Raises:
            ConfigError: If something else lies here.
        """
        file = self.path / PLAN
        if file.exists():
            try:
                return msgspec.json.decode(file.read_bytes(), type=Plan)
            except msgspec.DecodeError as error:
                raise ConfigError(f"{file} is no plan of a batch job: {error}; choose another folder") from error
        if any(self.path.iterdir()):
            raise ConfigError(f"{self.path} holds other files, and no batch job; choose an empty folder, or a new one")
        return None

    def begin(self, plan: Plan) -> None:
        """Write down what the job is."""
        write_file(self.path / PLAN, msgspec.json.format(msgspec.json.encode(plan, order="sorted"), indent=1) + b"\n")

    def clear(self) -> None:
        """Take away everything that a job wrote here: first that it is done, and the plan last.

        Who is killed meanwhile leaves a half-done job, which goes on.
        """
        quarantine = self.path / QUARANTINE
        for name in (SUCCESS, SUMMARY):
            (self.path / name).unlink(missing_ok=True)
        for file in (*self.path.glob("part-*.parquet"), *quarantine.glob("part-*.jsonl")):
            file.unlink()
        self.tidy()
        if quarantine.exists():
            quarantine.rmdir()
        (self.path / PLAN).unlink(missing_ok=True)

    def tidy(self) -> None:
        """Take away what a killed process had not finished."""
        for file in (*self.path.glob(".*"), *(self.path / QUARANTINE).glob(".*")):
            if file.name.startswith((".part-", f".{PLAN}", f".{SUMMARY}", f".{SUCCESS}")):
                file.unlink()

    # ---------------------------------------------------------------- parts

    def parts(self) -> dict[int, Part]:
        """The parts that are done, by their number; one that cannot be read counts as not done."""
        found = {}
        for file in self.path.glob("part-*.parquet"):
            try:
                facts = (pq.read_metadata(file).metadata or {})[_KEY]
                found[int(file.stem.removeprefix("part-"))] = msgspec.json.decode(facts, type=Part)
            except (pa.ArrowException, OSError, KeyError, ValueError, msgspec.DecodeError):
                continue
        return dict(sorted(found.items()))

    def write(self, number: int, answers: Iterable[Answered], schema: pa.Schema) -> Part:
        """Write a part: its rows in quarantine first, then the answers; whole or not at all.

        Args:
            number: Number of the part.
            answers: Answers to its rows, in order; at least one.
            schema: Schema of the answers.
        """
        part: list[Part] = []

        def fill(target: Path) -> None:
            faults = list[Fault]()
            part.append(_written(target, answers, schema, faults))
            self._quarantine(number, faults)

        replace_file(self.path / f"part-{number:05d}.parquet", fill)
        return part[0]

    def _quarantine(self, number: int, faults: list[Fault]) -> None:
        file = self.path / QUARANTINE / f"part-{number:05d}.jsonl"
        if faults:
            write_file(file, b"".join(msgspec.json.encode(fault) + b"\n" for fault in faults))
        else:
            file.unlink(missing_ok=True)

    # ---------------------------------------------------------------- the end

    def finish(self, summary: bytes) -> None:
        """Say that everything is done."""
        write_file(self.path / SUMMARY, summary)
        write_file(self.path / SUCCESS, b"")

    def finished(self) -> bytes | None:
        """The summary of a job that is done; None if it is not."""
        return (self.path / SUMMARY).read_bytes() if (self.path / SUCCESS).exists() else None


def _written(target: Path, answers: Iterable[Answered], schema: pa.Schema, faults: list[Fault]) -> Part:
    """Write answers as row groups whose size does not depend on that of the answers, collecting the rows at fault."""
    first, rows, size = -1, 0, 0
    held = list[pa.Table]()
    with pq.ParquetWriter(target, schema, use_dictionary=_repeating(schema)) as writer:

        def flush() -> None:
            writer.write_table(pa.concat_tables(held).unify_dictionaries().combine_chunks(), row_group_size=size)
            held.clear()

        for answer in answers:
            first, rows = (answer.first if first < 0 else first), rows + answer.rows
            faults.extend(answer.faults)
            start = 0
            while start < answer.table.num_rows:
                size = size or _group_rows(answer.table)
                room = size - sum(table.num_rows for table in held)
                held.append(answer.table.slice(start, room))
                start += held[-1].num_rows
                if held[-1].num_rows == room:
                    flush()
        if held:
            flush()
        facts = Part(first=max(first, 0), rows=rows, quarantined=len(faults))
        writer.add_key_value_metadata({_KEY: msgspec.json.encode(facts)})
    return facts


def _group_rows(table: pa.Table) -> int:
    """Rows of a row group, told by the width of the first rows."""
    some = table.slice(0, 256)
    fitting: int = GROUP_BYTES * some.num_rows // max(some.nbytes, 1)
    return max(1, min(GROUP_ROWS, fitting))


def _repeating(schema: pa.Schema) -> list[str]:
    """Columns whose values come again, so that a dictionary of them pays: not measurements, nor numbers of rows."""
    names = {
        field.name for field in schema if not pa.types.is_floating(field.type) and not pa.types.is_nested(field.type)
    }
    return sorted(names - {ROW} | {"p_value"} & set(schema.names))

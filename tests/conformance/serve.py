"""Models, rows and the answers of the models themselves in a folder, and then the service over them: `serve.py FOLDER`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa

import vaekit as vk
from tests.support import MODELS, Zoo, fit
from vaekit.bundle.manifest import read_manifest
from vaekit.serving.server import serve
from vaekit.serving.settings import Settings

ASKED = 20


def numbers() -> pa.Table:
    """Rows in which every field is one number."""
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(400, 2))
    values = hidden @ rng.normal(size=(2, 5)) + 0.3 * rng.normal(size=(400, 5))
    return pa.table({f"x{at}": column for at, column in enumerate(values.T)})


def answers(model: vk.Model, rows: pa.Table, given: dict) -> dict:
    """What a model says, as plain values."""
    found = {query: getattr(model, query)(rows).to_pydict() for query in ("score", "embed", "reconstruct")}
    found["impute"] = model.impute(rows, interval=0.9).to_pydict()
    found["sample"] = model.sample(6, given=given, seed=3).to_pydict()
    return found


def main(folder: Path) -> int:
    """Fill the folder and serve until the signal to stop."""
    zoo = Zoo(folder / "zoo")
    asked = {
        name: (zoo[name].bundle, zoo[name].rows.slice(0, ASKED), MODELS[name].given) for name in ("flights", "digits")
    }
    table = numbers()
    asked["numbers"] = (fit(table).save(folder / "zoo" / "numbers"), table.slice(0, ASKED), {})
    expected = {}
    for name, (bundle, rows, given) in asked.items():
        model = vk.load(bundle, backend="onnx")
        expected[name] = {
            "rows": rows.to_pydict(),
            "given": given,
            "version": read_manifest(bundle).version,
            "answers": answers(model, rows, given),
        }
    (folder / "expected.json").write_text(json.dumps(expected, default=str))
    settings = Settings(bundles={name: str(bundle) for name, (bundle, *_) in asked.items()}, port=0, grpc_port=0)
    return serve(settings, say=lambda line: said(folder, line))


def said(folder: Path, line: str) -> None:
    """Note where the service listens, once it is ready."""
    print(line, file=sys.stderr)
    if line.startswith("listening on "):
        addresses = line.removeprefix("listening on ").partition(";")[0].split(", ")
        (folder / "listening.json").write_text(json.dumps(addresses))
    if line.startswith("ready"):
        (folder / "listening.json").rename(folder / "address.json")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: serve.py FOLDER")
    sys.exit(main(Path(sys.argv[1])))

"""Our service as a contender: the command `vae serve` as it comes, asked in every form that it takes."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa

from benchmarks.data import vectors
from benchmarks.servers.contenders import JSON, Row, Server, Way
from benchmarks.servers.model import PIXELS
from benchmarks.servers.running import SOURCE
from vaekit.client.wire import ARROW, arrow_stream

__all__ = ["MODEL", "OTHERS", "OURS"]

MODEL = "mnist"
_V1, _V2 = f"/v1/models/{MODEL}", f"/v2/models/{MODEL}/infer"
_ARROW = {"content-type": ARROW}


def _rows(row: Row) -> bytes:
    return json.dumps({"rows": [{PIXELS: row.tolist()}]}).encode()


def _first(body: bytes) -> float:
    return float(json.loads(body)["rows"][0]["score"])


def _stream(row: Row) -> bytes:
    return arrow_stream(vectors(row[None], PIXELS))


def _read_stream(body: bytes) -> float:
    return float(pa.ipc.open_stream(body).read_all()["score"][0].as_py())


def _tensor_head(row: Row) -> bytes:
    """The JSON part of a request of the Open Inference Protocol whose tensor is binary."""
    tensor = {
        "name": PIXELS,
        "shape": [1, row.size],
        "datatype": "FP32",
        "parameters": {"binary_data_size": row.nbytes},
    }
    asked = {"query": "score", "samples": 1, "binary_data_output": True}
    outputs = [{"name": "score", "parameters": {"binary_data": True}}]
    return json.dumps({"parameters": asked, "inputs": [tensor], "outputs": outputs}).encode()


_HEAD = len(_tensor_head(np.zeros(784, np.float32)))
_BINARY = {"content-type": "application/octet-stream", "inference-header-content-length": str(_HEAD)}

OURS = Server(
    "vaekit",
    (),
    lambda python, port, served: [
        *(str(python), "-m", "vaekit.cli", "serve", f"{MODEL}={served.bundle}"),
        *("--port", str(port), "--threads", "1"),
    ],
    (
        Way("JSON", f"{_V1}/score?samples=1", JSON, _rows, _first),
        Way("Arrow", f"{_V1}/score?samples=1", _ARROW, _stream, _read_stream),
        Way(
            "Open Inference, binary",
            _V2,
            _BINARY,
            lambda row: _tensor_head(row) + row.tobytes(),
            lambda body: float(np.frombuffer(body[-8:], np.float64)[0]),
        ),
    ),
    env=lambda _: {"PYTHONPATH": str(SOURCE)},
)

# Asked of ours alone: what rivals have no like of. Nothing is compared, so nothing is read.
OTHERS = (
    Way("JSON, 8 samples", f"{_V1}/score", JSON, _rows, _first),
    Way("JSON, embed", f"{_V1}/embed", JSON, _rows, len),
    Way("Arrow, embed", f"{_V1}/embed", _ARROW, _stream, len),
)

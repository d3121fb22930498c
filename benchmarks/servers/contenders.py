"""What a contender is, and the rivals: how each is installed, started and asked. Batching is on where there is any."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.servers.model import PIXELS, Served

__all__ = ["JSON", "RIVALS", "Row", "Server", "Way"]

APPS = Path(__file__).with_name("apps")
JSON = {"content-type": "application/json"}
BINARY = {"content-type": "application/octet-stream"}
Row = NDArray[np.float32]


@dataclass(frozen=True)
class Way:
    """One way to ask a server for the score of a row.

    Args:
        name: For the reader: ``JSON``, ``binary``, …
        path: Path of the URL.
        headers: Headers of the request.
        write: From a row (784,) to the body of a request.
        read: From the body of an answer to the score.
    """

    name: str
    path: str
    headers: Mapping[str, str]
    write: Callable[[Row], bytes]
    read: Callable[[bytes], float]


@dataclass(frozen=True)
class Server:
    """A server.

    Args:
        name: For the reader.
        packages: What its environment holds; servers with the same packages share one. None: it runs in ours.
        command: From its interpreter, a port and what it serves, to what starts it.
        ways: How it can be asked.
        env: Environment variables from spare ports.
        cwd: Where it runs.
    """

    name: str
    packages: Sequence[str]
    command: Callable[[Path, int, Served], Sequence[str]]
    ways: Sequence[Way]
    env: Callable[[Sequence[int]], Mapping[str, str]] = lambda _: {}
    cwd: Path = field(default=APPS)


def app(name: str) -> Callable[[Path, int, Served], Sequence[str]]:
    """The command that runs a script of `apps`."""
    return lambda python, _port, _served: [str(python), f"{name}.py"]


def rows(row: Row) -> bytes:
    """A table of one row, as most services want it."""
    return json.dumps({"rows": [row.tolist()]}).encode()


def first_score(body: bytes) -> float:
    """The score of an answer that is written so."""
    return float(json.loads(body)["score"][0])


def _tensor(row: Row) -> bytes:
    """A request of the Open Inference Protocol."""
    tensor = {"name": PIXELS, "shape": [1, row.size], "datatype": "FP32", "data": row.tolist()}
    return json.dumps({"inputs": [tensor]}).encode()


def _ports(ports: Sequence[int]) -> dict[str, str]:
    return {
        "MLSERVER_HOST": "127.0.0.1",
        "MLSERVER_HTTP_PORT": str(ports[0]),
        "MLSERVER_GRPC_PORT": str(ports[1]),
        "MLSERVER_METRICS_PORT": str(ports[2]),
        "MLSERVER_PARALLEL_WORKERS": "0",  # on one core a pool of processes only costs
        "MLSERVER_DEBUG": "false",
    }


ONNX = "onnxruntime==1.32.0"
SCORE = Way("JSON", "/score", JSON, rows, first_score)
RAW = Way(
    "binary", "/binary", BINARY, lambda row: row.tobytes(), lambda body: float(np.frombuffer(body, np.float32)[0])
)

RIVALS = (
    Server(
        "FastAPI + pydantic + torch",
        ("torch==2.13.0", "fastapi==0.165.0", "uvicorn[standard]==0.54.0", "numpy"),
        app("fastapi_torch"),
        (SCORE,),
    ),
    Server(
        "FastAPI + orjson + onnxruntime",
        ("fastapi==0.165.0", "uvicorn[standard]==0.54.0", "orjson==3.13.0", ONNX),
        app("fastapi_onnx"),
        (SCORE, RAW),
    ),
    Server(
        "bare ASGI + onnxruntime",
        ("fastapi==0.165.0", "uvicorn[standard]==0.54.0", "orjson==3.13.0", ONNX),
        app("asgi_onnx"),
        (SCORE, RAW),
    ),
    Server(
        "LitServe",
        ("litserve==0.2.19", "pyzmq", ONNX),
        app("litserve_onnx"),
        (Way("JSON", "/score", JSON, lambda row: json.dumps({"row": row.tolist()}).encode(), first_score),),
    ),
    Server(
        "BentoML",
        ("bentoml==1.4.40", ONNX),
        lambda python, port, _: [
            *(str(python), "-m", "bentoml", "serve", "bentoml_onnx:Scorer"),
            *("--host", "127.0.0.1", "--port", str(port)),
        ],
        (Way("JSON", "/score", JSON, rows, lambda body: float(json.loads(body)[0])),),
        env=lambda _: {"BENTOML_DO_NOT_TRACK": "true"},
    ),
    Server(
        "MLServer",
        ("mlserver==1.7.1", ONNX),
        lambda python, _port, _served: [str(python.with_name("mlserver")), "start", "."],
        (
            Way(
                *("Open Inference, JSON", "/v2/models/scorer/infer", JSON, _tensor),
                lambda body: float(json.loads(body)["outputs"][0]["data"][0]),
            ),
        ),
        env=_ports,
        cwd=APPS / "mlserver_onnx",
    ),
)

"""FastAPI with its costs taken out: orjson instead of pydantic, onnxruntime instead of torch, no threads."""

import os

import numpy as np
import onnxruntime
import orjson
import uvicorn
from fastapi import FastAPI, Request, Response

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(os.environ["GRAPH"], options)
app = FastAPI()


def scores(rows: np.ndarray) -> np.ndarray:
    """Scores of rows."""
    return session.run(["score"], {"pixels": rows})[0]


@app.post("/score")
async def score(request: Request) -> Response:
    """Score rows that are written as JSON."""
    rows = np.array(orjson.loads(await request.body())["rows"], np.float32)
    found = orjson.dumps({"score": scores(rows)}, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(found, media_type="application/json")


@app.post("/binary")
async def binary(request: Request) -> Response:
    """Score rows that are float32 after float32."""
    rows = np.frombuffer(await request.body(), np.float32).reshape(-1, 784)
    return Response(scores(rows).tobytes(), media_type="application/octet-stream")


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="warning", access_log=False)

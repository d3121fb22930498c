"""No framework: an ASGI function with one route that calls onnxruntime. What a handwritten service can reach."""

import os

import numpy as np
import onnxruntime
import orjson
import uvicorn

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(os.environ["GRAPH"], options)


async def app(scope, receive, send):
    """Score rows: float32 after float32 at /binary, else JSON."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    body, more = b"", True
    while more:
        event = await receive()
        body, more = body + event.get("body", b""), event.get("more_body", False)
    binary = scope["path"] == "/binary"
    rows = np.frombuffer(body, np.float32).reshape(-1, 784) if binary else np.array(orjson.loads(body)["rows"], "f4")
    (found,) = session.run(["score"], {"pixels": rows})
    told = found.tobytes() if binary else orjson.dumps({"score": found}, option=orjson.OPT_SERIALIZE_NUMPY)
    headers = [(b"content-length", str(len(told)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": told})


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="warning", access_log=False)

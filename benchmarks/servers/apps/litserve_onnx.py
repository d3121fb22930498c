"""LitServe with its batching and its fast queue switched on."""

import os

import litserve as ls
import numpy as np
import onnxruntime


class Scorer(ls.LitAPI):
    """Scores one row per request, in batches."""

    def setup(self, device: str) -> None:
        """Load the graph in the worker."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(os.environ["GRAPH"], options)

    def decode_request(self, request: dict) -> np.ndarray:
        """Read a row."""
        return np.array(request["row"], np.float32)

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Score the rows of a batch, or one row."""
        return self.session.run(["score"], {"pixels": np.atleast_2d(rows)})[0]

    def encode_response(self, score: np.ndarray) -> dict:
        """Write a score."""
        return {"score": [float(np.squeeze(score))]}


if __name__ == "__main__":
    api = Scorer(max_batch_size=64, batch_timeout=0.002, api_path="/score")
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        num_api_servers=1,
        log_level="warning",
        access_log=False,
        generate_client_file=False,
    )

"""BentoML with its adaptive batching switched on."""

import os

import bentoml
import numpy as np
import onnxruntime


@bentoml.service(workers=1, traffic={"timeout": 30})
class Scorer:
    """Scores rows."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(os.environ["GRAPH"], options)

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=1000)
    def score(self, rows: np.ndarray) -> np.ndarray:
        """Score the rows of a batch."""
        return self.session.run(["score"], {"pixels": rows.astype(np.float32)})[0]

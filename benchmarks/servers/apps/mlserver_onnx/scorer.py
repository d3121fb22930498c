"""MLServer with its adaptive batching switched on."""

import os

import numpy as np
import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Scorer(MLModel):
    """Scores rows."""

    async def load(self) -> bool:
        """Load the graph."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(os.environ["GRAPH"], options)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Score the rows of a batch."""
        rows = NumpyCodec.decode_input(payload.inputs[0]).astype(np.float32, copy=False)
        (found,) = self.session.run(["score"], {"pixels": rows})
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("score", found)])

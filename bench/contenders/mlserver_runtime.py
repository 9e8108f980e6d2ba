"""MLServer with a runtime of our own for onnxruntime, and its adaptive batching.

Source: MLServer, "Custom Inference Runtimes" and "Adaptive Batching" (max_batch_size, max_batch_time).
"""

from __future__ import annotations

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from bench.contenders.onnx_session import open_session


class OnnxRuntime(MLModel):
    async def load(self) -> bool:
        self._session = open_session()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        data = NumpyCodec.decode_input(payload.inputs[0]).astype(np.float32, copy=False)
        (result,) = self._session.run(None, {"x": data})
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("y", result)])

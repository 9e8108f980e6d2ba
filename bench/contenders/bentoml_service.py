"""BentoML with its adaptive batching (Source: BentoML, "Adaptive batching")."""

from __future__ import annotations

from typing import Annotated

import bentoml
import numpy as np
from bentoml.validators import DType

from bench.contenders.onnx_session import open_session

Rows = Annotated[np.ndarray, DType("float32")]


@bentoml.service(workers=1)
class Dense:
    def __init__(self) -> None:
        self._session = open_session()

    @bentoml.api(batchable=True, batch_dim=0, max_batch_size=64, max_latency_ms=1000)
    def predict(self, x: Rows) -> Rows:
        result: np.ndarray = self._session.run(None, {"x": x})[0]
        return result

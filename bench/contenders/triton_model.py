"""Triton's Python backend with onnxruntime: this file is its model.py.

Source: Triton Inference Server, python_backend; dynamic batching without a delay, as its documentation advises first.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np
import triton_python_backend_utils as triton

# The backend leaves PYTHONPATH out.
sys.path.append(os.environ["PYTHONPATH"])
from bench.contenders.onnx_session import open_session


class TritonPythonModel:
    def initialize(self, args: dict[str, Any]) -> None:  # noqa: ARG002
        self._session = open_session()

    def execute(self, requests: list[Any]) -> list[Any]:
        inputs = [triton.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        rows = self._session.run(None, {"x": inputs[0] if len(inputs) == 1 else np.concatenate(inputs)})[0]
        parts = np.split(rows, np.cumsum([len(one) for one in inputs])[:-1])
        return [triton.InferenceResponse([triton.Tensor("y", part)]) for part in parts]

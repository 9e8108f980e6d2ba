"""What is sent: the same rows in the wire format of each server."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import orjson


@dataclass(frozen=True)
class Request:
    """One request, ready to be sent."""

    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


def rows(count: int, width: int = 784) -> np.ndarray:
    """Make rows with as many digits as real pixels scaled to floats have."""
    return np.random.default_rng(7).random((count, width), np.float32)


def v2_binary(model: str, data: np.ndarray, *, name: str = "x") -> Request:
    """The Open Inference Protocol with binary tensors both ways, as Triton's client sends it."""
    header = orjson.dumps(
        {
            "inputs": [
                {
                    "name": name,
                    "shape": data.shape,
                    "datatype": "FP32",
                    "parameters": {"binary_data_size": data.nbytes},
                }
            ],
            "parameters": {"binary_data_output": True},
        }
    )
    return Request(
        f"/v2/models/{model}/infer",
        header + data.tobytes(),
        {"Inference-Header-Content-Length": str(len(header)), "Content-Type": "application/octet-stream"},
    )


def v2_json(model: str, data: np.ndarray, *, name: str = "x") -> Request:
    """The Open Inference Protocol with the numbers as a flat JSON list."""
    tensor = {"name": name, "shape": data.shape, "datatype": "FP32", "data": data.ravel().tolist()}
    return Request(
        f"/v2/models/{model}/infer", orjson.dumps({"inputs": [tensor]}), {"Content-Type": "application/json"}
    )


def v1_json(model: str, data: np.ndarray) -> Request:
    """TensorFlow Serving's predict, by rows."""
    return Request(
        f"/v1/models/{model}:predict", orjson.dumps({"instances": data.tolist()}), {"Content-Type": "application/json"}
    )


def v2_text(model: str, texts: list[str], *, name: str = "text") -> Request:
    """Strings in the Open Inference Protocol."""
    tensor = {"name": name, "shape": [len(texts)], "datatype": "BYTES", "data": texts}
    return Request(
        f"/v2/models/{model}/infer", orjson.dumps({"inputs": [tensor]}), {"Content-Type": "application/json"}
    )

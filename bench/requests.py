"""What is sent: the same rows in the wire format of each server."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from service.sample_requests import Payload, encode


@dataclass(frozen=True)
class Request:
    """One POST, ready to be sent."""

    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


def rows(count: int, width: int = 784) -> np.ndarray:
    """Make rows with as many digits as real pixels scaled to floats have."""
    return np.random.default_rng(7).random((count, width), np.float32)


def v2_binary(model: str, data: np.ndarray) -> Request:
    """The Open Inference Protocol with binary tensors both ways, as Triton's client sends it."""
    return _v2(model, "x", "FP32", data, "binary")


def v2_json(model: str, data: np.ndarray) -> Request:
    """The Open Inference Protocol with the numbers as a flat JSON list."""
    return _v2(model, "x", "FP32", data, "json")


def v2_text(model: str, texts: list[str]) -> Request:
    """Strings in the Open Inference Protocol, as JSON."""
    return _v2(model, "text", "BYTES", np.array(texts, object), "json")


def _v2(model: str, name: str, datatype: str, data: np.ndarray, payload: Payload) -> Request:
    return Request(f"/v2/models/{model}/infer", *encode({name: data}, {name: datatype}, payload))


def picture(model: str, side: int = 28) -> Request:
    """A grey PNG, as people send one."""
    pixels = np.random.default_rng(7).integers(256, size=(side, side)).astype(np.uint8)
    with io.BytesIO() as file:
        Image.fromarray(pixels).save(file, "PNG")
        return Request(f"/v2/models/{model}/predict", file.getvalue(), {"Content-Type": "image/png"})

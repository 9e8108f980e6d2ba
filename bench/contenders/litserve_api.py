"""LitServe with its batching (Source: LitServe, "Batching": max_batch_size, batch_timeout)."""

from __future__ import annotations

import os
from typing import Any

import litserve
import numpy as np

from bench.contenders.onnx_session import open_session


class Dense(litserve.LitAPI):
    def setup(self, device: str) -> None:  # noqa: ARG002
        self._session = open_session()

    # An annotation of `request` would change what it is given.
    def decode_request(self, request) -> np.ndarray:  # type: ignore[no-untyped-def]
        return np.asarray(request["x"], np.float32)

    def batch(self, inputs: list[np.ndarray]) -> tuple[np.ndarray, list[int]]:
        return np.concatenate(inputs), [len(rows) for rows in inputs]

    def predict(self, batch: tuple[np.ndarray, list[int]]) -> list[np.ndarray]:
        rows, sizes = batch
        return np.split(self._session.run(None, {"x": rows})[0], np.cumsum(sizes)[:-1])

    def unbatch(self, output: list[np.ndarray]) -> list[np.ndarray]:
        return output

    def encode_response(self, output: np.ndarray) -> dict[str, Any]:
        return {"y": output.tolist()}


if __name__ == "__main__":
    api = Dense(max_batch_size=64, batch_timeout=0.002)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(os.environ["PORT"]), generate_client_file=False, log_level="warning")

"""How much faster 100 rows are answered together than one by one: python -m bench.rows_at_once

The network of the recipe `scratch`, 784-50-100-10, is written as ONNX with random weights and run by onnxruntime in
one thread. Every answer is checked to be the same either way.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import onnxruntime

from training.scratch.network import DenseNetwork, random_layers
from training.scratch.onnx_graph import NumpyComputation, Scaling

SIZES = (784, 50, 100, 10)
ROWS = 100
ROUNDS = 50


def main() -> None:
    random = np.random.default_rng(0)
    session = session_of(DenseNetwork(random_layers(SIZES, random), "sigmoid"))
    pictures = random.integers(0, 256, (ROWS, 28, 28, 1), dtype=np.uint8)

    def together() -> np.ndarray:
        return np.asarray(session.run(None, {"raw": pictures})[0])

    def one_by_one() -> np.ndarray:
        return np.concatenate([session.run(None, {"raw": pictures[row : row + 1]})[0] for row in range(ROWS)])

    np.testing.assert_allclose(together(), one_by_one(), rtol=1e-5, atol=1e-7)
    batch, single = median_seconds(together), median_seconds(one_by_one)
    print(f"{ROWS} rows together: {batch * 1e6:.0f} µs; one by one: {single * 1e6:.0f} µs")
    print(f"together is {single / batch:.1f} times as fast")


def session_of(network: DenseNetwork) -> onnxruntime.InferenceSession:
    scaling = Scaling(np.zeros(1, dtype=np.float32), np.full(1, 255, dtype=np.float32))
    model = NumpyComputation(network, scaling, (28, 28, 1), np.dtype(np.uint8)).to_onnx()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def median_seconds(run: Callable[[], object]) -> float:
    seconds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds))


if __name__ == "__main__":
    main()

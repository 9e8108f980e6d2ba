"""How long the exported file takes on onnxruntime's CPU provider, beside Keras on the same rows. Knows no store."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from training.datasets.dataset import Array
from training.exporting.onnx_session import Session
from training.network import Graph

BATCH_SIZES = (1, 32, 256)
# A network keeps many times the bytes of its pictures while it runs: a job must not need more memory to time a batch
# than it needed to fit.
MOST_BYTES = 8_000_000
# A median of a few dozen runs is steady enough for two digits; a slow model is not run for long.
FEWEST_RUNS, MOST_RUNS = 3, 30
ENOUGH_SECONDS = 0.1


def measure_latency(graph: Graph, file: Session, inputs: Array) -> dict[str, Any]:
    """Time whole batches of raw inputs, repeated if they are few: the median run of each size, in microseconds."""
    onnx, keras = time_batches(file.run, inputs), time_batches(graph.answer, inputs)
    return {
        "unit": "microseconds, median of whole batches",
        "processors": os.cpu_count(),
        "batches": [{"rows": rows, "onnxruntime": onnx[rows], "keras": keras[rows]} for rows in onnx],
    }


def time_batches(answer: Callable[[Array], object], inputs: Array) -> dict[int, float]:
    """Time what answers a batch: rows → median microseconds. Batches of large pictures are left out."""
    inputs = inputs[: max(BATCH_SIZES)]
    sizes = [size for size in BATCH_SIZES if size == 1 or size * inputs[:1].nbytes <= MOST_BYTES]
    batches = {size: np.take(inputs, range(size), axis=0, mode="wrap") for size in sizes}
    return {size: _median_us(partial(answer, batch)) for size, batch in batches.items()}


def _median_us(run: Callable[[], object]) -> float:
    run()
    times: list[float] = []
    while len(times) < FEWEST_RUNS or (len(times) < MOST_RUNS and sum(times) < ENOUGH_SECONDS):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return float(f"{statistics.median(times) * 1e6:.3g}")

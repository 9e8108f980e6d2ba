"""Warm-up: the first runs of a session, and what they teach about run time against batch size."""

from __future__ import annotations

import bisect
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from service.runtime.session import Session
from service.tensors import Array, Arrays

# At most so long a version is kept from traffic by measuring; the smallest batch is always measured.
BUDGET_SECONDS = 0.5
REPEATS = 5


@dataclass(frozen=True)
class CostCurve:
    """Run time in seconds against rows, measured at some batch sizes (ascending); linear in between and beyond."""

    points: tuple[tuple[int, float], ...]

    def seconds(self, rows: int) -> float:
        """Predict the run time of so many rows; infinite where nothing was measured."""
        if not self.points:
            return math.inf
        sizes = [size for size, _ in self.points]
        right = bisect.bisect_left(sizes, rows)
        if right < len(sizes) and sizes[right] == rows:
            return self.points[right][1]
        if len(sizes) == 1 or right == 0:
            return self.points[0][1] * max(1.0, rows / sizes[0])
        (left_rows, left), (right_rows, right_seconds) = self.points[min(right, len(sizes) - 1) - 1 :][:2]
        slope = max(0.0, (right_seconds - left) / (right_rows - left_rows))
        return left + slope * (rows - left_rows)


def measure(
    session: Session, examples: Arrays, *, max_batch_size: int, clock: Callable[[], float] = time.perf_counter
) -> CostCurve:
    """Run growing batches made of example rows, and note the shortest of a few runs of each size."""
    return _measure(session, [(rows, _repeat_rows(examples, rows)) for rows in _sizes(max_batch_size)], clock)


def measure_alone(session: Session, example: Arrays, *, clock: Callable[[], float] = time.perf_counter) -> CostCurve:
    """Run one example as it is, for a model whose requests run alone: the curve has one point."""
    return _measure(session, [(1, example)], clock)


def _measure(session: Session, batches: Iterable[tuple[int, Arrays]], clock: Callable[[], float]) -> CostCurve:
    points: list[tuple[int, float]] = []
    started = clock()
    for rows, batch in batches:
        session.run(batch)
        times = []
        for _ in range(REPEATS):
            before = clock()
            session.run(batch)
            times.append(clock() - before)
            if clock() - started > BUDGET_SECONDS:
                break
        points.append((rows, min(times)))
        if clock() - started > BUDGET_SECONDS:
            break
    return CostCurve(tuple(points))


def _sizes(max_batch_size: int) -> list[int]:
    """Powers of four up to the largest batch, and the largest batch itself."""
    sizes = [4**power for power in range(10) if 4**power < max_batch_size]
    return [*sizes, max_batch_size]


def _repeat_rows(examples: Arrays, rows: int) -> dict[str, Array]:
    return {name: np.resize(array, (rows, *array.shape[1:])) for name, array in examples.items()}

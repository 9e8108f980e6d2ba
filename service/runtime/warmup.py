"""Warm-up: the first runs of a session, and what they teach about run time against batch size."""

from __future__ import annotations

import bisect
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from service.errors import InferenceFailed
from service.runtime.providers import CPU, Obtained
from service.tensors import Array, Arrays, bytes_of

# At most so long a version is kept from traffic by measuring; the smallest batch is always measured.
BUDGET_SECONDS = 0.5
# Each size runs so often, but is not begun anew after so long.
REPEATS = 3
SIZE_SECONDS = 0.005

# What a batch costs besides its run, measured under load: a thread is woken, and then waits for Python's lock while the
# event loop reads other requests. (bench/micro_batcher.py has 60 µs for a loop with nothing else to do.)
SECONDS_PER_BATCH = 150e-6
# A batch that costs so little more for a row than the best one is as good, and its first rows are answered sooner.
AS_GOOD = 1.05
# How many rows run together where measuring does not tell. Larger batches are tried only if so many run for less.
USUAL_ROWS = 64
LONG_RUN_SECONDS = 5e-3
# Where nobody says how large batches may be, none is tried that is larger. A GPU takes more rows before it is filled.
LARGEST_ROWS_ON_CPU = 256
LARGEST_ROWS = 1024
LARGEST_BYTES = 8 * 2**20


class Runner(Protocol):
    """What is warmed: a session, or what pads its batches."""

    obtained: Obtained

    def prepare(self, batch: Arrays) -> None:
        """Make ready for batches of as many rows."""

    def run(self, inputs: Arrays) -> dict[str, Array]:
        """Compute all outputs."""

    def give_memory_back(self, inputs: Arrays) -> None:
        """Let go of what only larger batches than these inputs needed."""


@dataclass(frozen=True)
class CostCurve:
    """Run time in seconds against rows, measured at some batch sizes (ascending); linear in between and beyond.

    Where batches are padded to those sizes, a batch in between runs as long as the next larger size.
    """

    points: tuple[tuple[int, float], ...]
    padded: bool = False

    def seconds(self, rows: int) -> float:
        """Predict the run time of so many rows; infinite where nothing was measured."""
        if not self.points:
            return math.inf
        sizes = [size for size, _ in self.points]
        right = bisect.bisect_left(sizes, rows)
        if right < len(sizes) and (self.padded or sizes[right] == rows):
            return self.points[right][1]
        if len(sizes) == 1 or right == 0:
            return self.points[0][1] * max(1.0, rows / sizes[0])
        (left_rows, left), (right_rows, right_seconds) = self.points[min(right, len(sizes) - 1) - 1 :][:2]
        slope = max(0.0, (right_seconds - left) / (right_rows - left_rows))
        return left + slope * (rows - left_rows)

    def useful_rows(self) -> int:
        """Find the smallest batch that was measured to compute nearly as many rows in a second as the best one.

        Where measuring ended while larger batches still paid, so many as are usual run together.
        """
        return self._best_rows() if self.has_ceased_to_pay else max(self._best_rows(), USUAL_ROWS)

    @property
    def has_ceased_to_pay(self) -> bool:
        """Whether the largest batch that was measured is no better than one of a quarter of its size."""
        return bool(self.points) and self.points[-1][0] >= 4 * self._best_rows()

    def _best_rows(self) -> int:
        row_seconds = [(seconds + SECONDS_PER_BATCH) / rows for rows, seconds in self.points]
        good = AS_GOOD * min(row_seconds, default=0.0)
        return next((rows for (rows, _), cost in zip(self.points, row_seconds, strict=True) if cost <= good), 0)

    def rows_within(self, seconds: float, *, most: int) -> int:
        """Find how many rows, at least 1 and at most so many, run within so many seconds."""
        return max(1, bisect.bisect_right(range(1, most + 1), seconds, key=self.seconds)) if self.points else most


def measure(
    session: Runner, examples: Arrays, *, max_batch_size: int = 0, clock: Callable[[], float] = time.perf_counter
) -> CostCurve:
    """Run growing batches made of example rows, and note the shortest of a few runs of each size.

    It ends at `max_batch_size` (for 0 at a bound in rows and bytes), or where larger batches have ceased to pay.
    """
    largest = max_batch_size or _largest(session, bytes_of(repeat_rows(examples, 1)))
    return _measure(session, ((rows, repeat_rows(examples, rows)) for rows in _sizes(largest)), clock)


def measure_alone(session: Runner, example: Arrays, *, clock: Callable[[], float] = time.perf_counter) -> CostCurve:
    """Run one example as it is, for a model whose requests run alone: the curve has one point."""
    return _measure(session, [(1, example)], clock)


def _measure(session: Runner, batches: Iterable[tuple[int, Arrays]], clock: Callable[[], float]) -> CostCurve:
    curve = CostCurve(())
    started = clock()
    for rows, batch in batches:
        try:
            seconds = _shortest_run(session, batch, clock)
        except InferenceFailed:
            # So large a batch does not fit into the memory, perhaps; but one must run.
            if curve.points:
                break
            raise
        curve = CostCurve((*curve.points, (rows, seconds)))
        if clock() - started > BUDGET_SECONDS or curve.has_ceased_to_pay:
            break
        if rows >= USUAL_ROWS and seconds > LONG_RUN_SECONDS:
            break
    return curve


def _shortest_run(session: Runner, batch: Arrays, clock: Callable[[], float]) -> float:
    begun = clock()
    session.prepare(batch)
    session.run(batch)
    times = []
    for _ in range(REPEATS):
        before = clock()
        session.run(batch)
        after = clock()
        times.append(after - before)
        if after - begun > SIZE_SECONDS:
            break
    return min(times)


def _largest(session: Runner, row_bytes: int) -> int:
    rows = LARGEST_ROWS_ON_CPU if session.obtained.first == CPU else LARGEST_ROWS
    return max(1, min(rows, LARGEST_BYTES // max(1, row_bytes)))


def _sizes(largest: int) -> list[int]:
    """Powers of two up to the largest batch, and the largest batch itself."""
    return [*(2**power for power in range(largest.bit_length()) if 2**power < largest), largest]


def repeat_rows(examples: Arrays, rows: int) -> dict[str, Array]:
    """Make a batch of so many rows out of those there are."""
    return {name: np.resize(array, (rows, *array.shape[1:])) for name, array in examples.items()}

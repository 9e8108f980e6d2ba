"""What Triton's statistics extension tells of each model version, counted over all workers.

Each worker counts in an array for each version that it has loaded. With several workers the arrays are files below
the run directory, mapped into memory: a reader adds up everybody's as they stand, and those of workers that have ended.
An array has a place for each batch size that is possible, so that rows and batches are sums over batch sizes, which no
reader can see disagree. Its numbers are floats, as a clock gives them: whole ones are exact up to 2**53.

Source: Triton Inference Server, protocol extension "statistics": times are summed over requests, each of which has the
whole time of its batch; only the times by batch size are summed over batches. A request that is cut to fit the largest
batch is one success, but waits and runs once for each piece.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from service import run_dir

# Places in an array: seconds since the epoch; requests and seconds, of success and failure; requests that ran, and the
# seconds that they spent waiting, joining, running, cutting; from there on four places for each batch size from 0:
# batches, and the seconds that they spent joining, running, cutting.
_LAST, _SUCCESS, _FAIL, _RAN, _BATCHES = 0, 1, 3, 5, 10
_PER_BATCH_SIZE = 4


@dataclass(frozen=True, slots=True)
class Duration:
    """How often something was done, and the nanoseconds that it took altogether."""

    count: int
    ns: int


@dataclass(frozen=True, slots=True)
class Compute:
    """Joining the requests' rows, running the model, cutting its outputs."""

    input: Duration
    infer: Duration
    output: Duration


@dataclass(frozen=True)
class Numbers:
    """One version's statistics; `last_inference` is in milliseconds since the epoch, `batches` by batch size."""

    last_inference: int
    success: Duration
    fail: Duration
    queue: Duration
    compute: Compute
    batches: Mapping[int, Compute]

    @property
    def inference_count(self) -> int:
        """The rows that ran."""
        return sum(rows * compute.infer.count for rows, compute in self.batches.items())

    @property
    def execution_count(self) -> int:
        """The batches that ran."""
        return sum(compute.infer.count for compute in self.batches.values())


class VersionStatistics:
    """One version's numbers in this worker.

    `_cells` change under `_lock`: requests are counted by the loop and by Flask's threads, batches by the loop and by
    a model's thread, and a version that is loaded anew shares its numbers with the one that it replaces.
    """

    def __init__(self, cells: memoryview[float]) -> None:
        self._cells = cells
        self._lock = threading.Lock()

    def answered(self, seconds: float) -> None:
        """Count a request that was answered with success."""
        self._count(_SUCCESS, seconds)

    def failed(self, seconds: float) -> None:
        """Count a request that was answered with an error."""
        self._count(_FAIL, seconds)

    def _count(self, place: int, seconds: float) -> None:
        cells = self._cells
        with self._lock:
            cells[place] += 1
            cells[place + 1] += seconds

    def batch(
        self,
        *,
        rows: int,
        queue_seconds: Sequence[float],
        input_seconds: float,
        infer_seconds: float,
        output_seconds: float,
    ) -> None:
        """Count a batch that ran, and its requests, each of which waited for so many seconds."""
        cells, requests, place = self._cells, len(queue_seconds), _BATCHES + rows * _PER_BATCH_SIZE
        with self._lock:
            cells[_LAST] = time.time()
            cells[_RAN] += requests
            cells[_RAN + 1] += sum(queue_seconds)
            cells[_RAN + 2] += requests * input_seconds
            cells[_RAN + 3] += requests * infer_seconds
            cells[_RAN + 4] += requests * output_seconds
            cells[place] += 1
            cells[place + 1] += input_seconds
            cells[place + 2] += infer_seconds
            cells[place + 3] += output_seconds


class Statistics:
    """The statistics of all versions: this worker's arrays, by model, version and largest batch, change under a lock.

    Args:
        folder: where the workers share their arrays; None for a worker that is alone.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._arrays: dict[tuple[str, int, int], tuple[memoryview[float], VersionStatistics]] = {}

    def for_version(self, model: str, version: int, *, max_batch_size: int) -> VersionStatistics:
        """Find or make this worker's numbers for a version; loaded anew, it goes on counting where it was."""
        key = (model, version, max_batch_size)
        with self._lock:
            if key not in self._arrays:
                count = _BATCHES + (max_batch_size + 1) * _PER_BATCH_SIZE
                cells = run_dir.cells(self._path(model, version, max_batch_size), count)
                self._arrays[key] = cells, VersionStatistics(cells)
            return self._arrays[key][1]

    def _path(self, model: str, version: int, max_batch_size: int) -> Path | None:
        if self._folder is None:
            return None
        return run_dir.own_file(self._folder / model / str(version), suffix=str(max_batch_size))

    def total(self, model: str, version: int) -> Numbers:
        """Add up what all workers have counted for a version since the service started."""
        if self._folder is None:
            with self._lock:
                arrays = [list(cells) for key, (cells, _) in self._arrays.items() if key[:2] == (model, version)]
        else:
            arrays = run_dir.everybodys_cells(self._folder / model / str(version))
        return _numbers(arrays)


def _numbers(arrays: Iterable[Sequence[float]]) -> Numbers:
    columns = [*zip_longest(*arrays, fillvalue=0.0)] or [(0.0,)] * _BATCHES
    sums = [sum(column) for column in columns]
    ran, waiting, *computing = sums[_RAN:_BATCHES]
    places = range(_BATCHES, len(sums), _PER_BATCH_SIZE)
    return Numbers(
        last_inference=int(max(columns[_LAST]) * 1000),
        success=_duration(*sums[_SUCCESS:_FAIL]),
        fail=_duration(*sums[_FAIL:_RAN]),
        queue=_duration(ran, waiting),
        compute=_compute(ran, *computing),
        batches={
            rows: _compute(*sums[place : place + _PER_BATCH_SIZE]) for rows, place in enumerate(places) if sums[place]
        },
    )


def _duration(count: float, seconds: float) -> Duration:
    return Duration(int(count), int(seconds * 1e9))


def _compute(count: float, joining: float, running: float, cutting: float) -> Compute:
    return Compute(_duration(count, joining), _duration(count, running), _duration(count, cutting))

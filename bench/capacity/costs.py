"""What requests to one model cost a worker, as a straight line fitted through measurements. Knows no server.

A worker turns in cycles: it reads what has come, runs that as one batch, and writes the answers. The processor time of
a cycle with `n` requests of `r` rows is taken to be

    batch_seconds + n * (request_seconds + r * row_seconds)

so that a request in a batch of n costs `batch_seconds / n + request_seconds + r * row_seconds`.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np

RESULTS = Path(__file__).parents[1] / "results"
SUFFIX = "capacity.json"


class NothingMeasured(Exception):
    """There are no costs of a model, or none that can be read."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One measurement: processor time for each request, of so many rows, when so many requests shared a batch."""

    rows: int
    requests_per_batch: float
    cpu_seconds: float


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What one worker on one core needs; times in seconds, memory in bytes.

    `outside_seconds` is what a lone request takes beyond its processor time: the kernel, and the way back and forth.
    `largest_batch` counts rows; `worker_bytes` is the memory of one worker with all models of the store.
    """

    request_seconds: float
    batch_seconds: float
    row_seconds: float
    outside_seconds: float = 0.0
    largest_batch: int = 64
    worker_bytes: int = 0

    def cycle(self, requests: int, rows: int = 1) -> float:
        """Seconds of a cycle in which so many requests, of so many rows each, run together."""
        return self.batch_seconds + requests * (self.request_seconds + rows * self.row_seconds)

    def most_together(self, rows: int = 1) -> int:
        """How many requests of so many rows share a batch at most."""
        return max(1, self.largest_batch // rows)

    def capacity(self, rows: int = 1) -> float:
        """Requests a second that one worker computes when every batch is full."""
        most = self.most_together(rows)
        return most / self.cycle(most, rows)

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Self:
        """Take what a file of results says of a model, passing over what was measured besides."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in stored.items() if name in known})


def fit(points: Sequence[Point]) -> tuple[float, float, float]:
    """Find the costs of a request, a batch and a row, none of them negative, with the least relative errors.

    Raises:
        NothingMeasured: fewer than three points, which say nothing of three costs.
    """
    if len(points) < 3:
        raise NothingMeasured(f"three costs need three measurements or more, not {len(points)}")
    design = np.array([(1.0, 1 / point.requests_per_batch, point.rows) for point in points])
    design /= np.array([[point.cpu_seconds] for point in points])
    _, costs = min((found for found in _candidates(design)), key=lambda found: found[0])
    return costs[0], costs[1], costs[2]


def _candidates(design: np.ndarray) -> Iterator[tuple[float, list[float]]]:
    """Solve for every choice of costs that are not 0; the best without a negative one is the bounded least squares."""
    wanted = np.ones(len(design))
    for size in range(1, 4):
        for chosen in itertools.combinations(range(3), size):
            part = design[:, chosen]
            found, *_ = np.linalg.lstsq(part, wanted, rcond=None)
            if (found >= 0).all():
                costs = [0.0, 0.0, 0.0]
                for place, value in zip(chosen, found, strict=True):
                    costs[place] = float(value)
                yield float(((part @ found - wanted) ** 2).sum()), costs


def errors(costs: Costs, points: Sequence[Point]) -> list[float]:
    """Say by what part of it each measurement is missed; positive where the line expects too much."""
    expected = [
        costs.cycle(1, point.rows) - costs.batch_seconds * (1 - 1 / point.requests_per_batch) for point in points
    ]
    return [line / point.cpu_seconds - 1 for line, point in zip(expected, points, strict=True)]


def load(model: str, path: Path | None = None) -> tuple[Costs, Path]:
    """Read a model's costs from a file, or from the newest in bench/results that has them.

    Raises:
        NothingMeasured: no such file has them; says which models it has.
    """
    paths = [path] if path else sorted(RESULTS.glob(f"*{SUFFIX}"), reverse=True)
    models: set[str] = set()
    for place in paths:
        found = read(place)["models"]
        if model in found:
            return Costs.read(found[model]), place
        models |= found.keys()
    known = f"measured are: {', '.join(sorted(models))}" if models else "nothing was measured yet"
    raise NothingMeasured(f"no costs of model {model!r}; {known}. Measure it: python -m bench.capacity --measure")


def read(path: Path) -> dict[str, Any]:
    """Read a file of results; raise `NothingMeasured` for what is none."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise NothingMeasured(f"{path}: {error}") from None
    if not isinstance(found, dict) or "models" not in found:
        raise NothingMeasured(f"{path}: expected the JSON that --measure writes, with 'models'")
    return found


def entry(costs: Costs, points: Sequence[Point]) -> dict[str, Any]:
    """What a file of results holds of a model: its costs, and the measurements that they were fitted to."""
    return {**asdict(costs), "points": [asdict(point) for point in points], "errors": errors(costs, points)}

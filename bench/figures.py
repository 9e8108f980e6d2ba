"""What was measured, as values: figures of single runs, their medians, and the goals that ratios are held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One run of load against one server, or of onnxruntime alone; None for what does not apply."""

    who: str
    network: str
    payload: str
    rows: int
    clients: int
    requests_per_second: float
    cpu_microseconds: float
    p50_seconds: float | None = None
    p99_seconds: float | None = None
    p999_seconds: float | None = None
    resident_bytes: int | None = None
    rows_per_batch: float | None = None
    errors: int = 0

    @property
    def rows_per_second(self) -> float:
        return self.requests_per_second * self.rows

    @property
    def case(self) -> tuple[Any, ...]:
        """What was run, without what came out."""
        return self.who, self.network, self.payload, self.rows, self.clients


def median_round(rounds: Sequence[Figure]) -> Figure:
    """Choose the round whose processor time is the median; of an even number the upper one."""
    return sorted(rounds, key=lambda figure: figure.cpu_microseconds)[len(rounds) // 2]


def medians(figures: Sequence[Figure]) -> list[Figure]:
    """Put the rounds of each case together: the median of each number; errors are added."""
    cases: dict[tuple[Any, ...], list[Figure]] = {}
    for figure in figures:
        cases.setdefault(figure.case, []).append(figure)
    return [_median(rounds) for rounds in cases.values()]


def _median(rounds: Sequence[Figure]) -> Figure:
    first = rounds[0]
    numbers = [field.name for field in fields(Figure) if field.name not in ("who", "network", "payload", "errors")]
    together: dict[str, Any] = {
        name: None if getattr(first, name) is None else median(getattr(figure, name) for figure in rounds)
        for name in numbers
    }
    return Figure(first.who, first.network, first.payload, errors=sum(one.errors for one in rounds), **together)


@dataclass(frozen=True)
class Goal:
    """A ratio that is to be reached: `least` must be, `aim` is hoped for; a smaller one is better if aim < least."""

    what: str
    least: float
    aim: float

    def verdict(self, value: float) -> str:
        """Say whether a value reaches it."""
        sign = -1 if self.aim < self.least else 1
        if sign * value >= sign * self.aim:
            return "aim reached"
        return "reached" if sign * value >= sign * self.least else "missed"


SMALL, LARGE = "784-128-10", "784-1024-1024-10"
ONE = f"{SMALL}, one row"


def _ahead_of(peer: str) -> Goal:
    return Goal(f"{ONE}, 64 clients: requests/s against {peer}, JSON", 6, 12)


GOALS = {
    "floor": Goal(f"{ONE}, binary, 64 clients: CPU per request against the bare ASGI application", 2.2, 1.6),
    "naive": Goal(f"{ONE}, 64 clients: requests/s against naive Flask, binary", 10, 16),
    "triton-binary": Goal(f"{ONE}, 64 clients: requests/s against Triton, binary", 1.3, 2),
    "triton-json": Goal(f"{ONE}, 64 clients: requests/s against Triton, JSON", 1.3, 2),
    "triton-1": Goal(f"{ONE}, 1 client: requests/s against Triton, binary", 12, 20),
    "mlserver": _ahead_of("MLServer"),
    "bentoml": _ahead_of("BentoML"),
    "litserve": _ahead_of("LitServe"),
    "ray": _ahead_of("Ray Serve"),
    "raw-large": Goal(
        f"{LARGE}, one row, binary, 64 clients: rows/s against onnxruntime alone at batch 32", 0.30, 0.45
    ),
    "raw-100-small": Goal(f"{SMALL}, 100 rows, binary: rows/s against onnxruntime alone at batch 100", 0.30, 0.45),
    "raw-100-large": Goal(f"{LARGE}, 100 rows, binary: rows/s against onnxruntime alone at batch 100", 0.60, 0.80),
    "json": Goal(f"{SMALL}, 100 rows, JSON: requests/s against the same code with json.loads", 3.5, 5),
    "open": Goal(f"{ONE}, binary: p99 at half of the greatest load against p50", 4, 2),
    "lstm": Goal("LSTM(64), 200 tokens, 64 clients: requests/s against max_batch_size 1", 3, 5),
    "start-seconds": Goal("start to ready with the starter models, seconds", 2, 1),
    "start-megabytes": Goal("resident memory with the starter models, MB", 150, 100),
}

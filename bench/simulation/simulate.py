"""Time is simulated event by event: requests come, a policy says what runs, a curve says for how long."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.simulation.policies import Policy, Request

# The first requests find an empty queue, and AIMD has to find its size: they do not count.
WARM_UP_SHARE = 0.2


@dataclass(frozen=True)
class Outcome:
    """What one run came to; latencies in seconds, from arrival to answer."""

    per_second: float
    p50: float
    p99: float
    mean_batch: float


def poisson(rate: float, count: int, random: np.random.Generator) -> np.ndarray:
    """Arrival times of single requests that know nothing of each other, so many a second."""
    return np.cumsum(random.exponential(1 / rate, count))


def bursts(rate: float, count: int, random: np.random.Generator, *, mean: int = 16) -> np.ndarray:
    """Arrival times of requests that come several at once, as many a second in the long run."""
    sizes = random.geometric(1 / mean, count)
    times = np.cumsum(random.exponential(mean / rate, count))
    return np.repeat(times, sizes)[:count]


def simulate(arrivals: np.ndarray, policy: Policy, seconds: Callable[[int], float]) -> Outcome:
    """Serve all that arrives on one model, a batch at a time."""
    coming = arrivals.tolist()
    waiting: deque[Request] = deque()
    latencies: list[float] = []
    batches: list[int] = []
    now, index, count = 0.0, 0, len(coming)
    while index < count or waiting:
        while index < count and coming[index] <= now:
            waiting.append(Request(coming[index]))
            index += 1
        if not waiting:
            now = coming[index]
            continue
        decision = policy.decide(waiting, now)
        if not decision.run:
            now = min(decision.until, coming[index] if index < count else decision.until)
            continue
        took = seconds(decision.run)
        now += took
        policy.ran(decision.run, took)
        latencies += [now - waiting.popleft().arrival for _ in range(decision.run)]
        batches.append(decision.run)
    return _outcome(latencies, batches, now - coming[0])


def _outcome(latencies: Sequence[float], batches: Sequence[int], span: float) -> Outcome:
    counted = latencies[int(len(latencies) * WARM_UP_SHARE) :]
    p50, p99 = np.quantile(counted, (0.5, 0.99))
    return Outcome(len(latencies) / span, float(p50), float(p99), len(latencies) / len(batches))

"""One worker under random arrivals, reckoned: how long requests wait, how large batches are. No simulation.

A worker takes all that waits, up to a largest batch, and is busy for a time that depends on how many they are; what
comes meanwhile is the next batch. What waits when a batch begins is a Markov chain, since arrivals are a Poisson
process: its balance is solved as linear equations, and the latency of a request follows from the batch during which
it came. With a largest batch of 1 this is the queue that textbooks call M/D/1; a batch queue with linear run times is
studied by Y. Inoue, "Queueing analysis of GPU-based inference servers with dynamic batching" (2021).

It leaves out what a real machine adds: a core that is taken away, garbage, a network. Balancers that look at the
replicas, and arrivals in bursts, are left to the simulation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

# So many states of a queue are kept, and more where it is longer than most of them with more than this probability.
TAIL = 1e-6
STATES = (64, 128, 256, 512)
# A request may come at any moment of a batch: so many are looked at.
MOMENTS = 12
NEGLIGIBLE = 1e-8


@dataclass(frozen=True)
class Waiting:
    """What requests see of one worker; seconds from arrival to answer. Infinite where it is overloaded."""

    mean: float
    p50: float
    p99: float
    mean_batch: float
    busy: float

    @property
    def is_overloaded(self) -> bool:
        """Whether more comes than is answered."""
        return math.isinf(self.mean)


OVERLOADED = Waiting(math.inf, math.inf, math.inf, math.nan, 1.0)


def waiting(rate: float, seconds: Callable[[int], float], largest: int) -> Waiting:
    """Reckon the latencies of one worker at so many requests a second.

    Args:
        rate: requests a second, of a Poisson process.
        seconds: how long a batch of so many requests keeps the worker busy.
        largest: how many requests a batch holds at most.
    """
    largest = _reached(rate, seconds, largest)
    if rate * seconds(largest) >= largest:
        return OVERLOADED
    for most in STATES:
        if most >= 2 * largest:
            balance = _balance(rate, seconds, largest, most)
            if balance[-most // 16 :].sum() < TAIL:
                return _latencies(rate, seconds, largest, balance)
    return OVERLOADED


def _reached(rate: float, seconds: Callable[[int], float], largest: int) -> int:
    """Bound the batch by what comes at all during a batch, so that a large limit does not cost large matrices."""
    size = 1
    while size < largest and rate * seconds(size) + 8 * math.sqrt(rate * seconds(size)) + 8 >= size:
        size = min(largest, size * 2)
    return min(size, STATES[-1] // 4)


def _counts(means: np.ndarray, most: int) -> np.ndarray:
    """Probabilities of 0 … most arrivals, a line for each mean; the last column holds all that are more."""
    numbers = np.arange(most + 1)
    factorials = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, most + 1)))))
    chances = np.exp(-means[:, None] + numbers * np.log(np.maximum(means[:, None], 1e-300)) - factorials)
    chances[:, -1] = np.maximum(0.0, 1 - chances[:, :-1].sum(axis=1))
    return np.asarray(chances)


def _balance(rate: float, seconds: Callable[[int], float], largest: int, most: int) -> np.ndarray:
    """How often 1 … most requests wait when a batch begins; an empty queue waits for the next request."""
    queues = np.arange(1, most + 1)
    run = np.minimum(queues, largest)
    arrivals = _counts(rate * np.array([seconds(int(size)) for size in run]), most)
    steps = np.zeros((most, most + 1))
    for place, left in enumerate(queues - run):
        kept = arrivals[place, : most + 1 - left]
        steps[place, left:] = kept
        steps[place, -1] += arrivals[place, most + 1 - left :].sum()
    steps[:, 1] += steps[:, 0]
    matrix = steps[:, 1:].T - np.eye(most)
    matrix[-1] = 1.0
    return np.asarray(np.linalg.solve(matrix, np.eye(most)[-1]).clip(0))


def _latencies(rate: float, seconds: Callable[[int], float], largest: int, balance: np.ndarray) -> Waiting:
    """Weigh every latency by how many requests have it: those that find a batch running, and those that find none."""
    most = len(balance)
    queues = np.arange(1, most + 1)
    run = np.minimum(queues, largest)
    took = np.array([seconds(int(size)) for size in run])
    busy = balance * rate * took
    idle = float((balance * np.exp(-rate * took))[queues <= largest].sum())
    kept = np.flatnonzero(busy > NEGLIGIBLE)
    found, weights = [np.array([seconds(1)])], [np.array([idle])]
    for place in kept:
        latencies, shares = _during(rate, seconds, largest, int(queues[place] - run[place]), float(took[place]))
        found.append(latencies)
        weights.append(shares * busy[place])
    values, shares = np.concatenate(found), np.concatenate(weights)
    mean = float((values * shares).sum() / shares.sum())
    p50, p99 = _quantiles(values, shares, (0.5, 0.99))
    # A cycle is a batch and, after some, the wait for a request.
    cycle = float((balance * took).sum()) + idle / rate
    return Waiting(mean, p50, p99, float((balance * run).sum()), float((balance * took).sum()) / cycle)


def _during(
    rate: float, seconds: Callable[[int], float], largest: int, left: int, took: float
) -> tuple[np.ndarray, np.ndarray]:
    """Latencies of a request that comes during a batch, which `left` others wait for already, and their shares."""
    most = int(rate * took + 10 * math.sqrt(rate * took) + 10)
    others = np.arange(most + 1)
    chances = _counts(np.array([rate * took]), most)[0]
    rest = took * (np.arange(MOMENTS) + 0.5) / MOMENTS
    # Of those that come during the same batch, as large a part as of its time is ahead: 0 … all, each as often.
    ahead = left + np.floor((others[:, None] + 1) * (1 - rest / took))
    full = np.floor(ahead / largest).astype(int)
    whole = seconds(largest)
    together = left + others[:, None] + 1 - full * largest + rate * whole * full
    sizes = np.clip(np.round(together), 1, largest).astype(int)
    table = np.array([seconds(size) for size in range(1, largest + 1)])
    latencies = rest + full * whole + table[sizes - 1]
    shares = np.broadcast_to(chances[:, None] / MOMENTS, latencies.shape)
    return latencies.ravel(), shares.ravel()


def _quantiles(values: np.ndarray, shares: np.ndarray, wanted: tuple[float, ...]) -> list[float]:
    order = np.argsort(values)
    reached = np.cumsum(shares[order]) / shares.sum()
    return [float(values[order[min(len(order) - 1, int(np.searchsorted(reached, share)))]]) for share in wanted]

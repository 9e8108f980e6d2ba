"""What is simulated, what is in it while time goes by, and what was seen in the end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from bench.capacity.changes import Autoscaler, Outage


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """What is simulated; times in seconds.

    Args:
        replicas: how many there are at first.
        seconds: how long a batch of so many requests keeps a replica busy.
        largest: how many requests a batch holds at most.
        queue: how many may wait in a replica; more are refused.
        cores: how many replicas may compute at once; 0 for all of them.
        notice: how long the balancer sends to a replica that has died.
        retries: to how many other replicas a request is sent that was lost.
    """

    replicas: int
    seconds: Callable[[int], float]
    largest: int
    queue: int = 8192
    cores: int = 0
    notice: float = 0.0
    retries: int = 0
    outages: Sequence[Outage] = ()
    autoscaler: Autoscaler | None = None


@dataclass(frozen=True)
class Seen:
    """What became of the arrivals. `replicas` holds (when, how many) from each change on."""

    answered_at: np.ndarray
    latencies: np.ndarray
    refused: int
    lost: int
    batches: int
    busy_seconds: float
    replicas: tuple[tuple[float, int], ...]

    def quantile(self, share: float, *, after: float = 0.0) -> float:
        """Latency that a share of the requests does not exceed, of those answered after a moment."""
        found = self.latencies[self.answered_at >= after]
        return float(np.quantile(found, share)) if len(found) else float("nan")

    @property
    def mean_batch(self) -> float:
        """Requests of a batch."""
        return len(self.latencies) / max(1, self.batches)


@dataclass(slots=True)
class Request:
    """One request, and how often it may still be sent to another replica."""

    arrival: float
    tries_left: int


@dataclass(slots=True, eq=False)
class Replica:
    """One worker: what waits, what runs, and how long it has been busy."""

    number: int
    alive: bool = True
    waiting: deque[Request] = field(default_factory=deque)
    running: list[Request] = field(default_factory=list)
    in_line: bool = False
    awake: bool = False
    # Changes when it dies, so that the end of a batch that died with it is told from that of a later one.
    life: int = 0
    busy_since: float = 0.0
    busy: float = 0.0

    @property
    def in_flight(self) -> int:
        """Requests that it was sent and has not answered."""
        return len(self.waiting) + len(self.running)

"""What happens to a fleet while it serves: replicas go away and come back, an autoscaler adds and removes some."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from bench.simulation.simulate import poisson


@dataclass(frozen=True, kw_only=True)
class Outage:
    """One replica goes at `start` and is back after so many seconds; one that is drained first loses nothing."""

    replica: int
    start: float
    seconds: float
    drained: bool = False


def rolling_restart(replicas: int, *, start: float, seconds: float, at_once: int = 1) -> list[Outage]:
    """Restart all replicas in turn, so many at a time, each away for so many seconds and drained before."""
    return [
        Outage(replica=number, start=start + number // at_once * seconds, seconds=seconds, drained=True)
        for number in range(replicas)
    ]


@dataclass
class Autoscaler:
    """Keeps the busy share of the replicas near a target, as Kubernetes' HorizontalPodAutoscaler does; in seconds.

    It looks every `period`; what it adds serves after `start`; it adds at once, and takes away what was not wanted
    during `patience`. What changes is `_wishes`: when how many replicas were wanted.
    Source: Kubernetes documentation, "Horizontal Pod Autoscaling", algorithm details and stabilization window.
    """

    target: float = 0.6
    period: float = 15.0
    start: float = 30.0
    least: int = 1
    most: int = 1000
    patience: float = 300.0
    tolerance: float = 0.1
    _wishes: list[tuple[float, int]] = field(default_factory=list)

    def wanted(self, there: int, share: float, *, listed: int, now: float) -> int:
        """Say how many replicas there should be, given those that are there or on their way, and how busy they are."""
        ratio = share / self.target
        wish = there if abs(ratio - 1) <= self.tolerance else math.ceil(listed * ratio)
        wish = min(self.most, max(self.least, wish))
        self._wishes = [(when, count) for when, count in self._wishes if now - when < self.patience] + [(now, wish)]
        return max(wish, min(there, max(count for _, count in self._wishes)))


def steps(rates: Sequence[tuple[float, float]], random: np.random.Generator) -> np.ndarray:
    """Arrival times of a Poisson process whose rate changes: (seconds, requests a second), one after the other."""
    began, found = 0.0, []
    for seconds, rate in rates:
        times = poisson(rate, int(rate * seconds + 8 * math.sqrt(rate * seconds) + 8), random)
        found.append(began + times[times < seconds])
        began += seconds
    return np.concatenate(found)

"""When to run what waits. The greedy policy is the service's own; the others are what other servers do.

Each is asked when the model is free and something waits: it answers with how many of those that wait run now, oldest
first, or with the time until which it waits for company.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol

from service.scheduler.policy import plan


@dataclass(slots=True)
class Request:
    """One row that waits."""

    arrival: float
    rows: int = 1
    deadline: float = math.inf
    key: Hashable = None
    abandoned: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """How many run now; if none, until when to wait, unless more come before."""

    run: int = 0
    until: float = math.inf


class Policy(Protocol):
    """What the simulation asks."""

    def decide(self, waiting: deque[Request], now: float) -> Decision:
        """Say what to do with what waits."""

    def ran(self, rows: int, seconds: float) -> None:
        """Hear how long a batch took."""


@dataclass
class Greedy:
    """Whatever waits runs, up to the largest batch: through the service's `plan`."""

    largest: int

    def decide(self, waiting: deque[Request], now: float) -> Decision:
        return Decision(len(plan(waiting, now=now, max_batch_size=self.largest).run))

    def ran(self, rows: int, seconds: float) -> None: ...


@dataclass
class Delay:
    """A batch that is not full waits for company until its oldest has waited for so long (TorchServe, LitServe)."""

    largest: int
    delay: float

    def decide(self, waiting: deque[Request], now: float) -> Decision:
        until = waiting[0].arrival + self.delay
        return (
            Decision(min(len(waiting), self.largest))
            if len(waiting) >= self.largest or now >= until
            else Decision(until=until)
        )

    def ran(self, rows: int, seconds: float) -> None: ...


@dataclass
class Preferred:
    """The largest preferred size that is reached runs; below the smallest, wait for so long (Triton)."""

    sizes: Sequence[int]
    delay: float

    def decide(self, waiting: deque[Request], now: float) -> Decision:
        reached = [size for size in self.sizes if size <= len(waiting)]
        if reached:
            return Decision(max(reached))
        until = waiting[0].arrival + self.delay
        return Decision(len(waiting)) if now >= until else Decision(until=until)

    def ran(self, rows: int, seconds: float) -> None: ...


@dataclass
class AIMD:
    """Greedy; the largest batch grows by two while full ones run within the objective, or else shrinks (Clipper)."""

    objective: float
    most: int
    largest: float = 1.0

    def decide(self, waiting: deque[Request], now: float) -> Decision:  # noqa: ARG002 (others look at it)
        return Decision(min(len(waiting), int(self.largest)))

    def ran(self, rows: int, seconds: float) -> None:
        if seconds > self.objective:
            self.largest = max(1.0, 0.9 * self.largest)
        elif rows >= int(self.largest):
            self.largest = min(self.most, self.largest + 2)

"""How a balancer chooses a replica. Each sees those that it believes to be there, and how much each has to do."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Protocol


class Replica(Protocol):
    """What a balancer sees of a replica."""

    number: int

    @property
    def in_flight(self) -> int:
        """Requests that it was sent and has not answered."""


class Balancer(Protocol):
    """Chooses for each request."""

    def choose(self, replicas: Sequence[Replica]) -> Replica:
        """Choose one; there is at least one."""

    def answered(self, replica: Replica) -> None:
        """Hear that a replica has answered a request, so that its connection is free again."""


class RoundRobin:
    """One after the other."""

    def __init__(self) -> None:
        self._next = 0

    def choose(self, replicas: Sequence[Replica]) -> Replica:
        self._next += 1
        return replicas[self._next % len(replicas)]

    def answered(self, replica: Replica) -> None: ...


class Random:
    """Any of them, by chance."""

    def __init__(self, seed: int = 0) -> None:
        self._chance = random.Random(seed)

    def choose(self, replicas: Sequence[Replica]) -> Replica:
        return replicas[int(self._chance.random() * len(replicas))]

    def answered(self, replica: Replica) -> None: ...


class LeastConnections:
    """The one with the fewest requests in flight; by chance among those that have as few."""

    def __init__(self, seed: int = 0) -> None:
        self._chance = random.Random(seed)

    def choose(self, replicas: Sequence[Replica]) -> Replica:
        fewest = min([replica.in_flight for replica in replicas])
        idle = [replica for replica in replicas if replica.in_flight == fewest]
        return idle[int(self._chance.random() * len(idle))]

    def answered(self, replica: Replica) -> None: ...


class TwoChoices:
    """Of two by chance the one with fewer requests in flight: what many balancers really do for 'least'."""

    def __init__(self, seed: int = 0) -> None:
        self._chance = random.Random(seed)

    def choose(self, replicas: Sequence[Replica]) -> Replica:
        one, other = (replicas[int(self._chance.random() * len(replicas))] for _ in range(2))
        return one if one.in_flight <= other.in_flight else other

    def answered(self, replica: Replica) -> None: ...


class KeptConnections:
    """One client whose connections stay where the kernel has put them; the one used last is used again first."""

    def __init__(self, seed: int = 0) -> None:
        self._chance = random.Random(seed)
        self._free: list[Replica] = []

    def choose(self, replicas: Sequence[Replica]) -> Replica:
        while self._free:
            kept = self._free.pop()
            if kept in replicas:
                return kept
        return replicas[int(self._chance.random() * len(replicas))]

    def answered(self, replica: Replica) -> None:
        self._free.append(replica)


BALANCERS = {
    "round robin": RoundRobin,
    "random": Random,
    "least connections": LeastConnections,
    "two choices": TwoChoices,
    "kept connections": KeptConnections,
}

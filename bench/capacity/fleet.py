"""A fleet of replicas behind a balancer, in simulated time: replicas fail, are restarted in turn, come and go.

Events are arrivals, ends of batches, and what happens to replicas. A replica is one worker that turns as the service
does: all that waits, up to the largest batch, runs as one. Every arrival ends in exactly one way: answered, refused
(the queue is full), or lost (nobody was there, or the replica went away with it).
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bench.capacity.balancers import Balancer
from bench.capacity.changes import Outage
from bench.capacity.records import Fleet, Replica, Request, Seen


class _Simulation:
    """One run. What changes is in `_replicas`, `_listed` (whom the balancer sends to), and the heap of events."""

    def __init__(self, fleet: Fleet, balancer: Balancer) -> None:
        self._fleet, self._balancer = fleet, balancer
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = itertools.count()
        self._now = 0.0
        self._replicas = [Replica(number) for number in range(fleet.replicas)]
        self._listed = list(self._replicas)
        self._for_a_core: deque[Replica] = deque()
        self._computing = 0
        self._coming = 0
        self._latencies: list[tuple[float, float]] = []
        self._refused = self._lost = self._batches = 0
        self._counts = [(0.0, fleet.replicas)]
        self._measured_busy = 0.0

    def run(self, arrivals: Sequence[float]) -> Seen:
        for outage in self._fleet.outages:
            # Put down first, so that who is back at a moment is there before another goes.
            self._at(outage.start + outage.seconds, self._come_back, outage)
        for outage in self._fleet.outages:
            self._at(outage.start, self._begin_outage, outage)
        if self._fleet.autoscaler:
            self._at(self._fleet.autoscaler.period, self._scale)
        self._until = arrivals[-1] if len(arrivals) else 0.0
        for arrival in arrivals:
            self._go_on_until(arrival)
            self._now = arrival
            self._send(Request(arrival, self._fleet.retries))
        self._go_on_until(float("inf"))
        return self._seen()

    def _go_on_until(self, moment: float) -> None:
        while self._events and self._events[0][0] < moment:
            self._now, _, act, details = heapq.heappop(self._events)
            act(*details)

    def _at(self, moment: float, act: Callable[..., None], *details: Any) -> None:
        heapq.heappush(self._events, (moment, next(self._order), act, details))

    def _send(self, request: Request) -> None:
        if not self._listed:
            self._lost += 1
            return
        replica: Any = self._balancer.choose(self._listed)
        if not replica.alive:
            self._lose(request)
        elif len(replica.waiting) >= self._fleet.queue:
            self._refused += 1
        else:
            replica.waiting.append(request)
            self._wake(replica)

    def _lose(self, request: Request) -> None:
        if request.tries_left:
            request.tries_left -= 1
            self._send(request)
        else:
            self._lost += 1

    def _wake(self, replica: Replica) -> None:
        """Let one that does nothing begin after all that arrive at this very moment: they are one batch."""
        if not (replica.running or replica.in_line or replica.awake):
            replica.awake = True
            self._at(self._now, self._start, replica)

    def _start(self, replica: Replica) -> None:
        """Begin the next batch, as soon as a core is free."""
        replica.awake = False
        if replica.running or replica.in_line or not replica.waiting:
            return
        if self._fleet.cores and self._computing >= self._fleet.cores:
            replica.in_line = True
            self._for_a_core.append(replica)
            return
        count = min(len(replica.waiting), self._fleet.largest)
        replica.running = [replica.waiting.popleft() for _ in range(count)]
        replica.busy_since = self._now
        self._computing += 1
        self._at(self._now + self._fleet.seconds(count), self._finish, replica, replica.life)

    def _finish(self, replica: Replica, life: int) -> None:
        if life != replica.life:
            return
        self._latencies += [(self._now, self._now - request.arrival) for request in replica.running]
        self._batches += 1
        for _ in replica.running:
            self._balancer.answered(replica)
        self._free_core(replica)
        self._start(replica)

    def _free_core(self, replica: Replica) -> None:
        replica.running = []
        replica.busy += self._now - replica.busy_since
        self._computing -= 1
        while self._for_a_core and self._computing < max(1, self._fleet.cores):
            following = self._for_a_core.popleft()
            following.in_line = False
            self._start(following)

    def _begin_outage(self, outage: Outage) -> None:
        if outage.replica >= len(self._replicas):
            return
        replica = self._replicas[outage.replica]
        if outage.drained:
            self._unlist(replica)
        else:
            self._at(self._now + self._fleet.notice, self._unlist_dead, replica)
            self._die(replica)

    def _die(self, replica: Replica) -> None:
        """Lose what it holds; the balancer sends there on until it notices."""
        held = [*replica.running, *replica.waiting]
        replica.alive = False
        replica.life += 1
        replica.waiting.clear()
        if replica.running:
            self._free_core(replica)
        for request in held:
            self._lose(request)

    def _unlist(self, replica: Replica) -> None:
        if replica in self._listed:
            self._listed.remove(replica)
            self._counts.append((self._now, len(self._listed)))

    def _unlist_dead(self, replica: Replica) -> None:
        if not replica.alive:
            self._unlist(replica)

    def _come_back(self, outage: Outage) -> None:
        if outage.replica >= len(self._replicas):
            return
        replica = self._replicas[outage.replica]
        replica.alive = True
        if replica not in self._listed:
            self._listed.append(replica)
            self._counts.append((self._now, len(self._listed)))

    def _scale(self) -> None:
        scaler = self._fleet.autoscaler
        assert scaler is not None
        busy = self._busy_so_far()
        share = (busy - self._measured_busy) / scaler.period / max(1, len(self._listed))
        self._measured_busy = busy
        wanted = scaler.wanted(len(self._listed) + self._coming, share, listed=len(self._listed), now=self._now)
        for _ in range(wanted - len(self._listed) - self._coming):
            self._coming += 1
            self._at(self._now + scaler.start, self._add)
        for replica in self._listed[wanted:] if not self._coming else ():
            self._unlist(replica)
        if self._now < self._until:
            self._at(self._now + scaler.period, self._scale)

    def _add(self) -> None:
        self._coming -= 1
        self._replicas.append(Replica(len(self._replicas)))
        self._listed.append(self._replicas[-1])
        self._counts.append((self._now, len(self._listed)))

    def _busy_so_far(self) -> float:
        running = [self._now - replica.busy_since for replica in self._replicas if replica.running]
        return sum(replica.busy for replica in self._replicas) + sum(running)

    def _seen(self) -> Seen:
        moments, latencies = np.array(self._latencies).T if self._latencies else np.empty((2, 0))
        return Seen(
            moments, latencies, self._refused, self._lost, self._batches, self._busy_so_far(), tuple(self._counts)
        )


def simulate(fleet: Fleet, balancer: Balancer, arrivals: Sequence[float] | np.ndarray) -> Seen:
    """Let requests arrive at these moments, ascending, until all have been answered, refused or lost."""
    return _Simulation(fleet, balancer).run(arrivals.tolist() if isinstance(arrivals, np.ndarray) else arrivals)

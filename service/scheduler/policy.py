"""The batching policy: a pure function of what waits and of the time."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Protocol

# The rank of a request without a priority: after all that have one.
LAST = 2**63


class Waiting(Protocol):
    """What the policy looks at in a waiting request."""

    rows: int
    deadline: float
    # Only requests with equal keys may run together: their row shapes agree.
    key: Hashable

    @property
    def abandoned(self) -> bool:
        """Whether nobody waits for the answer any more."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do with the queue now, as positions in it: run as one batch, answer as too late, forget."""

    run: tuple[int, ...]
    expired: tuple[int, ...] = ()
    abandoned: tuple[int, ...] = ()

    @property
    def taken(self) -> tuple[int, ...]:
        """The positions that leave the queue."""
        return self.run + self.expired + self.abandoned


def plan(queue: Iterable[Waiting], *, now: float, max_batch_size: int) -> Plan:
    """Choose the next batch: the first request that is not too late, and all that fit beside it.

    The first always runs; those behind it join in order while their rows fit, passing over those of another key.
    Work-conserving: nothing waits for company. The queue stands in the order in which it is to run. `now` and
    deadlines are on one clock, in seconds; batches hold at most `max_batch_size` rows (a single request may be
    larger).
    """
    chosen: list[int] = []
    expired: list[int] = []
    abandoned: list[int] = []
    rows = 0
    key: Hashable = None
    for position, request in enumerate(queue):
        if request.abandoned:
            abandoned.append(position)
        elif request.deadline <= now:
            expired.append(position)
        elif not chosen:
            chosen.append(position)
            rows, key = request.rows, request.key
        elif request.key == key and rows + request.rows <= max_batch_size:
            chosen.append(position)
            rows += request.rows
        if rows >= max_batch_size:
            break
    return Plan(tuple(chosen), tuple(expired), tuple(abandoned))


def has_room(*, rows: int, size: int, waiting_rows: int, waiting_bytes: int, max_rows: int, max_bytes: int) -> bool:
    """Tell whether a request may join a queue. Into an empty queue any request may go."""
    if waiting_rows == 0:
        return True
    return waiting_rows + rows <= max_rows and waiting_bytes + size <= max_bytes

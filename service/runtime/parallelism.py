"""How a model uses the processors: threads of one run, and runs at once, from what is measured at load.

A run with all processors answers soonest when it is alone; several runs with few threads each mostly compute more rows
in a second, since no thread waits for another. Which of them pays for a model only measuring tells.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from service.runtime.bound import BoundSession
from service.runtime.providers import CPU
from service.runtime.session import Session
from service.runtime.warmup import USUAL_ROWS, CostCurve, Runner
from service.tensors import Arrays

# A batch that runs for less is left to one thread, mostly the event loop's: others would be woken for longer than they
# help.
WORTH_SECONDS = 200e-6
# Each way is tried for so long, and each of its instances at least once.
TRY_SECONDS = 0.01
# A way that computes so large a part of what the best one does is as good, if its runs take more threads: an answer
# comes sooner, and batches are not split among instances. Below it, threads of one run mostly wait for each other.
AS_GOOD = 0.75


@dataclass(frozen=True)
class Parallelism:
    """How many threads one run takes, and how many runs of a model go on at once."""

    threads: int
    instances: int


@dataclass(frozen=True)
class Settled:
    """What runs a model's batches in the way that was chosen, and its run times."""

    runner: Session | BoundSession
    parallelism: Parallelism
    cost: CostCurve


def ways(processors: int, *, threads: int = 0, instances: int = 0) -> list[Parallelism]:
    """List the ways to use so many processors, most threads first; `threads` or `instances` other than 0 are kept."""
    if threads:
        return [Parallelism(threads, instances or max(1, processors // threads))]
    if instances:
        return [Parallelism(max(1, processors // instances), instances)]
    found = [processors]
    while found[-1] > 1:
        found.append(max(1, found[-1] // 4))
    return [Parallelism(count, processors // count) for count in found]


def settle(
    build: Callable[[int], Session | BoundSession],
    measure: Callable[[Session | BoundSession], CostCurve],
    batch_of: Callable[[int], Arrays],
    choices: Sequence[Parallelism],
    *,
    elsewhere: int = 1,
) -> Settled:
    """Build a model's session in the way that pays.

    Args:
        build: makes a session, or what pads its batches, whose runs take so many threads.
        measure: warms a session and measures its run times; an empty curve if it cannot.
        batch_of: makes a batch of so many rows.
        choices: the ways there are, most threads first.
        elsewhere: how many runs go on at once on other providers than the CPU, where the processors do not matter.
    """
    widest = build(choices[0].threads)
    if widest.obtained.first != CPU:
        return Settled(widest, Parallelism(choices[0].threads, elsewhere), measure(widest))
    if len(choices) == 1:
        return Settled(widest, choices[0], measure(widest))
    narrowest = build(choices[-1].threads)
    cost = measure(narrowest)
    if not cost.points:
        return Settled(widest, Parallelism(choices[0].threads, 1), cost)
    # As they come under load, if the settings allow so many and so many were measured; more are rare.
    rows = min(cost.useful_rows(), USUAL_ROWS, cost.points[-1][0])
    if cost.seconds(rows) < WORTH_SECONDS:
        return Settled(narrowest, Parallelism(choices[-1].threads, 1), cost)
    sessions = [widest, *(build(choice.threads) for choice in choices[1:-1]), narrowest]
    speeds = [
        runs_per_second(session, batch_of(rows), instances=choice.instances)
        for session, choice in zip(sessions, choices, strict=True)
    ]
    chosen = as_good_as_the_best(speeds)
    session = sessions[chosen]
    return Settled(session, choices[chosen], cost if session is narrowest else measure(session))


def as_good_as_the_best(speeds: Sequence[float]) -> int:
    """Find the first of the ways, in the order of `ways`, that is nearly as fast as the fastest."""
    return next(place for place, speed in enumerate(speeds) if speed >= AS_GOOD * max(speeds))


def runs_per_second(session: Runner, batch: Arrays, *, instances: int) -> float:
    """Run a batch again and again in so many threads at once; return how many runs end in a second."""
    session.run(batch)
    with ThreadPoolExecutor(instances) as threads:
        began = time.perf_counter()
        counts = list(threads.map(lambda _: _run_until(session, batch, began + TRY_SECONDS), range(instances)))
        return sum(counts) / (time.perf_counter() - began)


def _run_until(session: Runner, batch: Arrays, end: float) -> int:
    count = 0
    while not count or time.perf_counter() < end:
        session.run(batch)
        count += 1
    return count

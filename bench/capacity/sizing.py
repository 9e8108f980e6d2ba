"""How many replicas a load takes, what they are busy with, hold and cost. Pure: costs and a demand in, a plan out."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bench.capacity.costs import Costs
from bench.capacity.queueing import Waiting, waiting

MOST_WORKERS = 1_000_000


class OutOfReach(Exception):
    """No number of replicas answers so soon."""


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What is asked for.

    Args:
        rate: requests a second, over the whole fleet.
        p99: seconds within which 99 of 100 requests are to be answered.
        rows: rows of each request.
        headroom: part of what the workers could take that stays free.
        spare: replicas that may be away (a failure, a rollout) while all of this holds.
        workers: workers of a replica, a core for each.
        core_hour: what a core costs in an hour, in any currency.
    """

    rate: float
    p99: float
    rows: int = 1
    headroom: float = 0.3
    spare: int = 1
    workers: int = 1
    core_hour: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What it takes; `utilisation` is a part of what all workers could take, `busy` of their time."""

    replicas: int
    workers: int
    for_throughput: int
    for_latency: int
    utilisation: float
    seen: Waiting
    without_spare: Waiting
    bytes: int
    per_million: float


def plan(costs: Costs, demand: Demand) -> Plan:
    """Find the replicas that a demand takes; each worker is taken to get its share of the requests by chance.

    Raises:
        OutOfReach: a request that finds an idle worker already takes longer than it may.
    """
    for_throughput = math.ceil(demand.rate / (costs.capacity(demand.rows) * (1 - demand.headroom)))
    for_latency = _workers_for_latency(costs, demand)
    needed = math.ceil(max(for_throughput, for_latency) / demand.workers)
    replicas = needed + demand.spare
    workers = replicas * demand.workers
    return Plan(
        replicas=replicas,
        workers=workers,
        for_throughput=for_throughput,
        for_latency=for_latency,
        utilisation=demand.rate / (workers * costs.capacity(demand.rows)),
        seen=seen_by_requests(costs, demand.rate / workers, demand.rows),
        without_spare=seen_by_requests(costs, demand.rate / (needed * demand.workers), demand.rows),
        bytes=workers * costs.worker_bytes,
        per_million=workers * demand.core_hour / 3600 / demand.rate * 1e6,
    )


def seen_by_requests(costs: Costs, rate: float, rows: int = 1) -> Waiting:
    """Reckon the latencies of one worker, and what a request takes outside of it."""
    found = waiting(rate, lambda requests: costs.cycle(requests, rows), costs.most_together(rows))
    outside = costs.outside_seconds
    return Waiting(found.mean + outside, found.p50 + outside, found.p99 + outside, found.mean_batch, found.busy)


def _workers_for_latency(costs: Costs, demand: Demand) -> int:
    """Find the fewest workers with which it holds; more of them never make it worse."""

    def holds(workers: int) -> bool:
        return seen_by_requests(costs, demand.rate / workers, demand.rows).p99 <= demand.p99

    alone = costs.cycle(1, demand.rows) + costs.outside_seconds
    if alone > demand.p99:
        raise OutOfReach(
            f"p99 of {demand.p99 * 1e3:g} ms: a request that waits for nobody takes {alone * 1e3:.3g} ms; "
            f"allow more time, send fewer rows, or take a smaller model or a GPU"
        )
    high = max(1, math.ceil(demand.rate / costs.capacity(demand.rows)))
    while not holds(high):
        high *= 2
        if high > MOST_WORKERS:
            raise OutOfReach(f"p99 of {demand.p99 * 1e3:g} ms: not with {MOST_WORKERS} workers; allow more time")
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high

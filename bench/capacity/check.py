"""A plan, checked by a simulated fleet: how it fares behind each balancer, in bursts, when replicas go away."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from bench.capacity.balancers import BALANCERS, Balancer, LeastConnections
from bench.capacity.changes import Outage, rolling_restart
from bench.capacity.costs import Costs
from bench.capacity.fleet import simulate
from bench.capacity.records import Fleet, Seen
from bench.capacity.sizing import Demand
from bench.simulation.simulate import bursts, poisson

# Simulated requests: few enough for seconds, and enough for a p99.
REQUESTS = 40_000
SEED = 1
# A crash is noticed, and the replica back, after such parts of the simulated time.
NOTICE_SHARE, AWAY_SHARE = 0.02, 0.5


def checks(costs: Costs, demand: Demand, workers: int) -> list[str]:
    """Simulate so many workers under a demand, in a table."""
    lines = [f"  {'simulated':<44} {'p50 ms':>8} {'p99 ms':>8} {'lost':>8}"]
    return lines + [
        f"  {what:<44} {seen.quantile(0.5) * 1e3:>8.2f} {seen.quantile(0.99) * 1e3:>8.2f} {_lost(seen):>8.3%}"
        for what, seen in _cases(costs, demand, workers)
    ]


def _lost(seen: Seen) -> float:
    gone = seen.lost + seen.refused
    return gone / (gone + len(seen.latencies))


def _cases(costs: Costs, demand: Demand, workers: int) -> Iterator[tuple[str, Seen]]:
    even = poisson(demand.rate, REQUESTS, np.random.default_rng(SEED))
    span = float(even[-1])

    def run(arrivals: np.ndarray, balancer: Balancer, *, outages: Sequence[Outage] = (), retries: int = 0) -> Seen:
        fleet = Fleet(
            replicas=workers,
            seconds=lambda requests: costs.cycle(requests, demand.rows),
            largest=costs.most_together(demand.rows),
            outages=outages,
            retries=retries,
            notice=NOTICE_SHARE * span,
        )
        return simulate(fleet, balancer, arrivals)

    for name, make in BALANCERS.items():
        yield name, run(even, make())
    yield (
        "bursts of 16, least connections",
        run(bursts(demand.rate, REQUESTS, np.random.default_rng(SEED)), LeastConnections()),
    )
    crash = [Outage(replica=0, start=0.2 * span, seconds=AWAY_SHARE * span)]
    yield "one crashes, least connections", run(even, LeastConnections(), outages=crash)
    yield "the same, a lost request is sent once more", run(even, LeastConnections(), outages=crash, retries=1)
    turns = rolling_restart(workers, start=0.1 * span, seconds=0.8 * span / workers)
    yield "all restarted in turn, least connections", run(even, LeastConnections(), outages=turns)

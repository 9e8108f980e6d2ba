"""What balancers, bursts, crashes, rollouts and surges do to a fleet: `python -m bench.capacity.scenarios`.

Simulated on costs that were measured. Writes a page of tables and a picture into bench/results; takes minutes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import click
import numpy as np

from bench.capacity import costs as measured
from bench.capacity.balancers import BALANCERS, LeastConnections
from bench.capacity.changes import Autoscaler, Outage, rolling_restart, steps
from bench.capacity.costs import Costs
from bench.capacity.fleet import simulate
from bench.capacity.records import Fleet, Seen
from bench.capacity.sizing import seen_by_requests
from bench.capacity.surge import Surge, draw
from bench.simulation.simulate import bursts, poisson

REPLICAS = 8
LOADS = (0.3, 0.5, 0.7, 0.8, 0.9)
REQUESTS = 60_000
SEED = 1
# In the scenarios of many seconds a request has so many rows, so that there are fewer to simulate.
ROWS = 8
SPAN = 60.0


def fleet_of(costs: Costs, rows: int, replicas: int = REPLICAS) -> Fleet:
    return Fleet(replicas=replicas, seconds=lambda count: costs.cycle(count, rows), largest=costs.most_together(rows))


def balancing(costs: Costs) -> tuple[list[str], dict[str, list[float]]]:
    """p99 by load and balancer, with arrivals by chance and in bursts; the reckoned one first."""
    lines = [
        f"| load | reckoned | {' | '.join(BALANCERS)} | bursts of 16: random | bursts: least connections |",
        "|--:|" + "--:|" * (len(BALANCERS) + 3),
    ]
    curves: dict[str, list[float]] = {}
    for load in LOADS:
        rate = load * costs.capacity() * REPLICAS
        found = {"reckoned": seen_by_requests(replace(costs, outside_seconds=0.0), rate / REPLICAS).p99}
        for name, make in BALANCERS.items():
            found[name] = _p99(costs, poisson, rate, make)
        for name in ("random", "least connections"):
            found[f"bursts, {name}"] = _p99(costs, bursts, rate, BALANCERS[name])
        lines.append(f"| {load:.0%} | " + " | ".join(f"{value * 1e3:.2f}" for value in found.values()) + " |")
        for name, value in found.items():
            curves.setdefault(name, []).append(value)
    return lines, curves


def _p99(costs: Costs, draw_times: Callable[..., np.ndarray], rate: float, make: Callable[[], object]) -> float:
    times = draw_times(rate, REQUESTS, np.random.default_rng(SEED))
    return simulate(fleet_of(costs, 1), make(), times).quantile(0.99, after=float(times[REQUESTS // 5]))  # type: ignore[arg-type]


def going_away(costs: Costs) -> list[str]:
    """Crashes and rollouts of a fleet that is at 60 % of the most that it takes, over a minute."""
    rate = 0.6 * costs.capacity(ROWS) * REPLICAS
    times = poisson(rate, int(rate * SPAN), np.random.default_rng(SEED))
    crash = [Outage(replica=0, start=10, seconds=30)]
    cases: dict[str, dict[str, object]] = {
        "nothing happens": {},
        "one crashes, noticed at once": {"outages": crash},
        "noticed after 1 s": {"outages": crash, "notice": 1.0},
        "noticed after 10 s": {"outages": crash, "notice": 10.0},
        "noticed after 10 s, sent once more": {"outages": crash, "notice": 10.0, "retries": 1},
        "restarted in turn, one at a time, 5 s each": {"outages": rolling_restart(REPLICAS, start=5, seconds=5)},
        "two at a time": {"outages": rolling_restart(REPLICAS, start=5, seconds=5, at_once=2)},
        "four at a time": {"outages": rolling_restart(REPLICAS, start=5, seconds=5, at_once=4)},
    }
    lines = ["| what happens | p50 ms | p99 ms | p99.9 ms | lost | lost of all |", "|---|--:|--:|--:|--:|--:|"]
    for what, changes in cases.items():
        seen = simulate(replace(fleet_of(costs, ROWS), **changes), LeastConnections(), times)  # type: ignore[arg-type]
        lines.append(f"| {what} | {_quantiles(seen)} | {seen.lost} | {seen.lost / len(times):.3%} |")
    return lines


def _quantiles(seen: Seen) -> str:
    return " | ".join(f"{seen.quantile(share) * 1e3:.2f}" for share in (0.5, 0.99, 0.999))


def surges(costs: Costs) -> tuple[list[str], list[Surge]]:
    """A load that doubles at once, met by an autoscaler whose replicas take so long to start."""
    target = 0.6
    rate = target * costs.capacity(ROWS) * 4
    times = steps([(60, rate), (240, 2 * rate)], np.random.default_rng(SEED))
    lines = [
        "| from wish to ready | replicas at the end | p99 over the surge | later than 1 s | back below 50 ms after |"
    ]
    lines.append("|--:|--:|--:|--:|--:|")
    found = []
    for start in (5.0, 30.0, 120.0):
        scaler = Autoscaler(target=target, start=start, least=4)
        seen = simulate(
            replace(fleet_of(costs, ROWS, 4), autoscaler=scaler, queue=1_000_000), LeastConnections(), times
        )
        surge = Surge.of(start, seen, since=60.0)
        found.append(surge)
        lines.append(
            f"| {start:g} s | {seen.replicas[-1][1]} | {surge.p99:.3g} s | {surge.late:.1%} | {surge.recovered:.0f} s |"
        )
    return lines, found


@click.command()
@click.option("--model", default="mnist-cnn", show_default=True, help="Whose costs to take.")
@click.option("--out", type=click.Path(path_type=Path), default=measured.RESULTS, help="Folder of the results.")
def main(model: str, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    costs, source = measured.load(model)
    about = json.loads(source.read_text())
    balanced, curves = balancing(costs)
    away = going_away(costs)
    surged, series = surges(costs)
    stem = f"{date.today().isoformat()}-fleet"
    draw(out / f"{stem}.svg", [load * 100 for load in LOADS], curves, series)
    text = [
        f"# Fleets in simulated time, {date.today().isoformat()}", "",
        f"`python -m bench.capacity.scenarios --model {model}`, on the costs in [{source.name}]({source.name})"
        f" ({about['machine']['processor']}, {about['date']}). Load is a part of the most that the replicas take.", "",
        f"![p99 against load, and a surge]({stem}.svg)", "",
        f"## Balancers: p99 in ms, {REPLICAS} replicas, requests of one row", "", *balanced, "",
        f"## Crashes and rollouts: {REPLICAS} replicas at 60 %, requests of {ROWS} rows, one minute, least connections",
        "", *away, "",
        f"## A surge: 4 replicas at 60 %, the load doubles, an autoscaler looks every 15 s, requests of {ROWS} rows",
        "", *surged, "",
    ]  # fmt: skip
    (out / f"{stem}.md").write_text("\n".join(text))
    print("\n".join(text))


if __name__ == "__main__":
    main()

"""Hold the model and the simulation against the real service with 1, 2 and 4 workers, under open-loop load.

`python -m bench.capacity.compare`. One worker and the client have a core each, where there are two: a client that turns
until its next request is due would otherwise keep the worker from its core for a slice of the scheduler, 3 ms. More
workers share the cores with it. Requests take longer than those that the costs were measured with: a worker that slept
finds its caches cold, and one whose core others use waits for it. Both are measured (processor time; the kernel's
/proc/PID/task/*/schedstat), so that each prediction is given for the costs as they are, and for cycles stretched by as
much as they really were.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np

from bench import open_loop
from bench.capacity.balancers import KeptConnections
from bench.capacity.costs import Costs, load
from bench.capacity.fleet import simulate
from bench.capacity.measure import STARTERS, get, kept_to, request_for, serving
from bench.capacity.queueing import Waiting, waiting
from bench.capacity.records import Fleet
from bench.figures import median_round
from bench.loads import Case, against
from bench.processes import Server, cpu_seconds, wait_until_idle
from bench.simulation.simulate import poisson

WORKERS = (1, 2, 4)
SIMULATED = 40_000


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One measurement and what was expected of it; times in seconds."""

    model: str
    workers: int
    rate: float
    kept_up: bool
    failures: int
    stretch: float
    waited: float
    cpu: float
    idle: float
    cpu_expected: float
    batch: float
    batch_expected: float
    p50: float
    p99: float
    model_p50: float
    model_p99: float
    stretched_p50: float
    stretched_p99: float
    simulated_p50: float
    simulated_p99: float


@dataclass(frozen=True, kw_only=True)
class Saturated:
    """What a request cost workers that had as much to do as they could; seconds of processor time."""

    model: str
    workers: int
    requests_per_second: float
    cpu: float
    cpu_expected: float
    batch: float


def saturate(
    model: str, costs: Costs, *, seconds: int, rounds: int, counts: Sequence[int] = WORKERS
) -> list[Saturated]:
    """Ask workers as fast as they answer, from 64 clients: what a request costs hardly depends on others' work."""
    found = []
    for workers in counts:
        with started(workers) as server:
            wait_until_idle(server.pids, timeout=30)
            case, path = Case("ovenbird", model, "binary", 1, 64), f"/v2/models/{model}/stats"
            load = against(server, case, request_for(server, model, 1), statistics=path)
            seen = median_round([load(seconds) for _ in range(rounds)])
        batch = seen.rows_per_batch or 1.0
        expected = costs.request_seconds + costs.row_seconds + costs.batch_seconds / batch
        found.append(
            Saturated(
                model=model, workers=workers, requests_per_second=seen.requests_per_second,
                cpu=seen.cpu_microseconds / 1e6, cpu_expected=expected, batch=batch,
            )
        )  # fmt: skip
    return found


def compare(
    model: str, costs: Costs, rates: Sequence[float], *, seconds: float, rounds: int, counts: Sequence[int] = WORKERS
) -> list[Compared]:
    """Measure a model with every number of workers at every rate; of the rounds all are returned."""
    found = []
    for workers in counts:
        with started(workers) as server:
            # The first worker answers while others still load.
            wait_until_idle(server.pids, timeout=30)
            open_loop.run(server.port, request_for(server, model, 1), rate=rates[0], seconds=0.5)
            idle = _idle_share(server)
            found += [_one(server, model, costs, workers, rate, seconds, idle) for _ in range(rounds) for rate in rates]
    return found


@contextlib.contextmanager
def started(workers: int) -> Iterator[Server]:
    """Start the service with the starter models; a single worker and the client get a core each."""
    cores = sorted(os.sched_getaffinity(0))
    if workers > 1 or len(cores) == 1:
        with serving(STARTERS, workers=workers) as server:
            yield server
    else:
        with serving(STARTERS, cores[:1]) as server, kept_to(cores[1:]):
            yield server


def least_disturbed(found: Sequence[Compared]) -> list[Compared]:
    """Keep, of the rounds of each case, the one in which cycles were stretched least."""
    cases: dict[tuple[int, float], list[Compared]] = {}
    for one in found:
        cases.setdefault((one.workers, one.rate), []).append(one)
    return [min(rounds, key=lambda one: one.stretch) for rounds in cases.values()]


def _idle_share(server: Server, seconds: float = 1.0) -> float:
    """The part of a core that is used while nobody asks."""
    before = cpu_seconds(server.pids)
    time.sleep(seconds)
    return (cpu_seconds(server.pids) - before) / seconds


def _one(server: Server, model: str, costs: Costs, workers: int, rate: float, seconds: float, idle: float) -> Compared:
    request = request_for(server, model, 1)
    before, batches = _scheduled(server.pids), _counts(server, model)
    used, began = cpu_seconds(server.pids), time.monotonic()
    seen = open_loop.run(server.port, request, rate=rate, seconds=seconds)
    # The client's own start counts among the time in which nobody asks.
    used = cpu_seconds(server.pids) - used - idle * (time.monotonic() - began)
    ran, delayed = (now - then for now, then in zip(_scheduled(server.pids), before, strict=True))
    rows, runs = (now - then for now, then in zip(_counts(server, model), batches, strict=True))
    cpu, cpu_expected = used / seen.answered, costs.cycle(1)
    stretch = max(1.0, cpu / cpu_expected) * (1 + delayed / ran)
    alone, stretched = (reckoned(costs, rate / workers, by) for by in (1.0, stretch))
    p50, p99 = simulated(costs, rate, workers, stretch)
    return Compared(
        model=model, workers=workers, rate=rate, kept_up=seen.kept_up, failures=sum(seen.failures.values()),
        stretch=stretch, waited=1 + delayed / ran, cpu=cpu, idle=idle, batch=rows / max(1, runs),
        cpu_expected=costs.cycle(1) - costs.batch_seconds * (1 - 1 / stretched.mean_batch),
        batch_expected=stretched.mean_batch, p50=seen.p50_seconds, p99=seen.p99_seconds, model_p50=alone.p50,
        model_p99=alone.p99, stretched_p50=stretched.p50, stretched_p99=stretched.p99, simulated_p50=p50,
        simulated_p99=p99,
    )  # fmt: skip


def reckoned(costs: Costs, rate: float, stretch: float) -> Waiting:
    """Reckon one worker's latencies with all times as much longer; what is outside is not counted."""
    return waiting(rate, lambda requests: stretch * costs.cycle(requests), costs.most_together())


def simulated(costs: Costs, rate: float, workers: int, stretch: float) -> tuple[float, float]:
    """Simulate workers among which connections were divided by chance, and a client that reuses the latest."""
    fleet = Fleet(replicas=workers, seconds=lambda n: stretch * costs.cycle(n), largest=costs.most_together())
    seen = simulate(fleet, KeptConnections(1), poisson(rate, SIMULATED, np.random.default_rng(1)))
    return seen.quantile(0.5), seen.quantile(0.99)


def _counts(server: Server, model: str) -> tuple[int, int]:
    (stats,) = get(server, f"/v2/models/{model}/stats")["model_stats"]
    return stats["inference_count"], stats["execution_count"]


def _scheduled(pids: Sequence[int]) -> tuple[int, int]:
    """Nanoseconds that all threads of processes ran, and that they waited for a core."""
    ran = delayed = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                fields = (task / "schedstat").read_text().split()
                ran, delayed = ran + int(fields[0]), delayed + int(fields[1])
    return ran, delayed


def saturated_table(found: Sequence[Saturated]) -> str:
    """Write what a request cost beside what was expected at batches of that size."""
    lines = [
        "| model | workers | requests/s | rows a batch | CPU µs: expected, measured | |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {one.model} | {one.workers} | {one.requests_per_second:,.0f} | {one.batch:.2f} "
        f"| {one.cpu_expected * 1e6:.0f}, {one.cpu * 1e6:.0f} | {one.cpu_expected / one.cpu - 1:+.0%} |"
        for one in found
    ]
    return "\n".join(lines)


def table(found: Sequence[Compared]) -> str:
    """Write what was measured beside what was expected."""
    lines = [
        "| model | workers | requests/s | CPU µs: expected, measured | rows a batch: the same | stretch "
        "| p50 ms: model, stretched, simulated, measured | p99 ms: the same | |",
        "|---|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for one in found:
        p50, p99 = (
            ", ".join(f"{getattr(one, kind + share) * 1e3:.2f}" for kind in ("model_", "stretched_", "simulated_", ""))
            for share in ("p50", "p99")
        )
        lines.append(
            f"| {one.model} | {one.workers} | {one.rate:g} | {one.cpu_expected * 1e6:.0f}, {one.cpu * 1e6:.0f} "
            f"| {one.batch_expected:.2f}, {one.batch:.2f} | {one.stretch:.2f} | {p50} | {p99} "
            f"| {'' if one.kept_up else 'the client was late'} |"
        )
    return "\n".join(lines)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--model", default="mnist-cnn", help="A starter model whose costs were measured.")
@click.option("--rate", "rates", multiple=True, type=float, default=(200.0, 500.0), help="Requests a second.")
@click.option("--seconds", default=3.0, help="How long each measurement lasts.")
@click.option("--rounds", default=3, help="How often each is made; the least disturbed is shown.")
@click.option("--out", type=click.Path(path_type=Path), help="Also write the figures to this file, as JSON.")
def main(model: str, rates: tuple[float, ...], seconds: float, rounds: int, out: Path | None) -> None:
    """Measure 1, 2 and 4 workers, and print what was expected beside it."""
    before = os.getloadavg()[0]
    costs = load(model)[0]
    full = saturate(model, costs, seconds=1, rounds=rounds)
    found = compare(model, costs, rates, seconds=seconds, rounds=rounds)
    loads = (before, os.getloadavg()[0])
    if out:
        figures = {"saturated": [asdict(one) for one in full], "compared": [asdict(one) for one in found]}
        out.write_text(json.dumps({"load_average": loads, **figures}, indent=1) + "\n")
    print(saturated_table(full), end="\n\n")
    print(table(least_disturbed(found)))
    print(f"load average before and after: {loads[0]:.1f}, {loads[1]:.1f}")


if __name__ == "__main__":
    main()

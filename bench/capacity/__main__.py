"""How many replicas a load takes: `python -m bench.capacity --model mnist-cnn --rate 10000 --p99-ms 50`."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict
from datetime import date
from pathlib import Path

import click

from bench.capacity import costs as measured
from bench.capacity.check import checks
from bench.capacity.costs import Costs, NothingMeasured
from bench.capacity.sizing import Demand, OutOfReach, Plan, plan, seen_by_requests

STARTERS = ("mnist-dnn", "mnist-cnn", "nsmc-text")
LOADS = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--model", "models", multiple=True, metavar="NAME", help="A model; with --measure also several.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Requests a second, over all replicas.")
@click.option("--p99-ms", type=click.FloatRange(0, min_open=True), default=50.0,
              help="Milliseconds within which 99 of 100 requests are to be answered.")  # fmt: skip
@click.option("--rows", type=click.IntRange(1), default=1, help="Rows of each request.")
@click.option("--headroom", type=click.FloatRange(0, 1, max_open=True), default=0.3,
              help="Part of what the replicas could take that stays free.")  # fmt: skip
@click.option("--spare", type=click.IntRange(0), default=1, help="Replicas that may be away while this holds.")
@click.option("--workers", type=click.IntRange(1), default=1, help="Workers of a replica; each takes a core.")
@click.option("--core-hour", type=click.FloatRange(0), help="Price of a core for an hour, for the costs.")
@click.option("--costs", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="Read what was measured from this file.  [default: the newest in bench/results]")  # fmt: skip
@click.option("--simulate", is_flag=True, help="Check it by a simulated fleet: balancers, bursts, failures, rollouts.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; times in seconds.")
@click.option("--measure", is_flag=True, help="Measure what requests cost on this machine, into bench/results.")
def main(
    models: tuple[str, ...], rate: float | None, p99_ms: float, rows: int, headroom: float, spare: int, workers: int,
    core_hour: float | None, file: Path | None, simulate: bool, as_json: bool, measure: bool,
) -> None:  # fmt: skip
    """Say how many replicas a load takes, from costs that were measured.

    \b
    Examples:
      python -m bench.capacity --measure                                the starter models, two minutes; needs wrk
      python -m bench.capacity --model mnist-cnn --rate 10000 --p99-ms 50
      python -m bench.capacity --model mnist-cnn --rate 10000 --core-hour 0.04
      python -m bench.capacity --model mnist-cnn --rate 10000 --simulate

    Latencies are those of requests that come by chance and are divided among the workers by chance; they leave out the
    network and whatever else runs on the machine. deploy/SCALING.md says how far that is from what was measured.
    """
    try:
        if measure:
            click.echo(f"written: {_measure(models or STARTERS)}")
        if rate is None:
            if not measure:
                raise click.UsageError("give --rate, the requests a second that are to be answered (or --measure)")
            return
        if len(models) != 1:
            raise click.UsageError(f"--rate needs one --model, not {len(models)}")
        costs, source = measured.load(models[0], file)
        demand = Demand(rate=rate, p99=p99_ms / 1e3, rows=rows, headroom=headroom, spare=spare, workers=workers,
                        core_hour=core_hour or 0.0)  # fmt: skip
        found = plan(costs, demand)
    except (NothingMeasured, OutOfReach) as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        click.echo(json.dumps({"model": models[0], "costs": asdict(costs), **asdict(demand), "plan": asdict(found)}))
        return
    click.echo("\n".join(_lines(models[0], costs, demand, found, source, priced=core_hour is not None)))
    if simulate:
        click.echo("\n".join(["", *checks(costs, demand, found.workers)]))


def _measure(models: tuple[str, ...]) -> Path:
    # These start servers and draw: whoever only reckons needs neither.
    from bench.capacity.measure import Plan as Length
    from bench.capacity.measure import measure
    from bench.report import machine

    before, about = os.getloadavg()[0], machine()
    found = measure(models, Length())
    for model in found["models"].values():
        model["load_average"] = before, os.getloadavg()[0]
    stem = re.sub(r"[^a-z0-9]+", "-", f"{about['processor']} {about['cores']} cores".lower()).strip("-")
    path = measured.RESULTS / f"{date.today().isoformat()}-{stem}-{measured.SUFFIX}"
    if path.exists():
        # The models that were measured on the same day are kept.
        found["models"] = measured.read(path)["models"] | found["models"]
    written = {"date": date.today().isoformat(), "machine": about}
    path.write_text(json.dumps({**written, **found}, indent=1) + "\n")
    return path


def _lines(model: str, costs: Costs, demand: Demand, found: Plan, source: Path, *, priced: bool) -> list[str]:
    most = costs.capacity(demand.rows)
    gone = found.without_spare
    each = "" if demand.workers == 1 else f" of {demand.workers} workers"
    lines = [
        f"{model}: {demand.rate:,.0f} requests/s of {demand.rows} row{'s' * (demand.rows > 1)}, "
        f"p99 within {demand.p99 * 1e3:g} ms",
        f"  measured     {source.name}",
        f"  costs        a request {costs.request_seconds * 1e6:.0f} µs, a batch {costs.batch_seconds * 1e6:.0f} µs, "
        f"a row {costs.row_seconds * 1e6:.0f} µs; {costs.largest_batch} rows together at most",
        f"  a worker     takes {most:,.0f} requests/s at most, in full batches on a core of its own",
        f"  replicas     {found.replicas}{each}: {found.for_throughput} workers for the rate with "
        f"{demand.headroom:.0%} headroom, {found.for_latency} for p99, and {demand.spare} spare",
        f"  utilisation  {found.utilisation:.0%} of the most; workers busy {found.seen.busy:.0%} of the time",
        f"  at most      {found.workers * most:,.0f} requests/s",
        f"  latency      p50 {found.seen.p50 * 1e3:.2f} ms, p99 {found.seen.p99 * 1e3:.2f} ms, "
        f"{found.seen.mean_batch:.1f} requests a batch; p99 {gone.p99 * 1e3:.2f} ms without the spare",
        "               (reckoned: waiting and computing alone, on cores that nobody shares; the least that it can be)",
        f"  memory       {found.bytes / 1e9:.1f} GB, {found.bytes / found.replicas / 1e6:.0f} MB each",
    ]
    if priced:
        lines.append(
            f"  cost         {found.per_million:.4f} per million requests, "
            f"{found.workers * demand.core_hour:.2f} an hour, at {demand.core_hour:g} a core-hour"
        )
    else:
        lines.append("  cost         give --core-hour, your price of a core for an hour")
    return [*lines, "", *_sweep(costs, demand, found.workers)]


def _sweep(costs: Costs, demand: Demand, workers: int) -> list[str]:
    lines = [f"  {'load':>5} {'requests/s':>12} {'p50 ms':>8} {'p99 ms':>8}  of {workers} workers"]
    for load in LOADS:
        seen = seen_by_requests(costs, load * costs.capacity(demand.rows), demand.rows)
        rate = load * workers * costs.capacity(demand.rows)
        lines.append(f"  {load:>5.0%} {rate:>12,.0f} {seen.p50 * 1e3:>8.2f} {seen.p99 * 1e3:>8.2f}")
    return lines


if __name__ == "__main__":
    main()

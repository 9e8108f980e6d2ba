"""Run every policy on every curve at several loads; write a page, a table and a picture into bench/results."""

from __future__ import annotations

import csv
import functools
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import click
import numpy as np

from bench.simulation.curves import CURVES
from bench.simulation.policies import AIMD, Delay, Greedy, Policy, Preferred
from bench.simulation.simulate import Outcome, bursts, poisson, simulate
from service.runtime.warmup import SECONDS_PER_BATCH, CostCurve
from service.scheduler.batcher import INLINE_SECONDS

ROOT = Path(__file__).parents[2]
LOADS = (0.1, 0.5, 0.9)
ARRIVALS = {"Poisson": poisson, "bursts": bursts}
SEED = 1
# What a batch costs besides its run when it runs in the loop: bench/micro_batcher.py.
SECONDS_IN_LOOP = 12e-6


def policies(curve: CostCurve) -> dict[str, Callable[[], Policy]]:
    """All but one know the largest useful batch of the curve, so that it is waiting that is compared."""
    useful = curve.useful_rows()
    alone = curve.seconds(1)
    return {
        "greedy": lambda: Greedy(useful),
        "greedy, 64": lambda: Greedy(64),
        "delay 1 ms": lambda: Delay(useful, 1e-3),
        "delay 5 ms": lambda: Delay(useful, 5e-3),
        "delay, a run": lambda: Delay(useful, alone),
        "preferred, 1 ms": lambda: Preferred(sorted({max(1, useful // 4), max(1, useful // 2), useful}), 1e-3),
        "AIMD": lambda: AIMD(objective=1.2 * curve.seconds(useful), most=1024),
    }


@dataclass(frozen=True)
class Line:
    """One policy on one curve at one load."""

    curve: str
    arrivals: str
    load: float
    policy: str
    outcome: Outcome


@functools.cache
def batch_seconds(curve: CostCurve, rows: int) -> float:
    """Add to a run what a batch costs besides, in the loop or by a thread, as the service has it."""
    run = curve.seconds(rows)
    return run + (SECONDS_IN_LOOP if run <= INLINE_SECONDS else SECONDS_PER_BATCH)


def run_all(count: int) -> list[Line]:
    """Offer each curve shares of the most that it can take, to each policy the very same arrivals."""
    lines = []
    for name, curve in CURVES.items():
        seconds = functools.partial(batch_seconds, curve)
        most = max(rows / seconds(rows) for rows, _ in curve.points)
        for arrivals, draw in ARRIVALS.items():
            for load in LOADS:
                times = draw(load * most, count, np.random.default_rng(SEED))
                lines += [
                    Line(name, arrivals, load, policy, simulate(times, make(), seconds))
                    for policy, make in policies(curve).items()
                ]
    return lines


def page(lines: list[Line], picture: str, table: str) -> str:
    names = list(dict.fromkeys(line.policy for line in lines))
    text = [
        f"# Batching policies in simulated time, {date.today().isoformat()}",
        "",
        "`python -m bench.simulation`. Single-row requests on one model; p50 / p99 from arrival to answer, in ms; the",
        "best p99 of a line, and what is within 5 % of it, is bold. Load is a share of the most rows per second that",
        "the curve allows. Every policy but `greedy, 64` and AIMD, which looks for it, is given the curve's largest",
        f"useful batch; `greedy` is the service's own `policy.plan`. Throughput, mean batches: [{table}]({table}).",
        "",
        f"![p99 against load]({picture})",
        "",
        "| curve | arrivals | load | " + " | ".join(names) + " |",
        "|---|---|--:|" + "--:|" * len(names),
    ]
    cases = list(dict.fromkeys((line.curve, line.arrivals, line.load) for line in lines))
    for case in cases:
        found = {line.policy: line.outcome for line in lines if (line.curve, line.arrivals, line.load) == case}
        best = min(outcome.p99 for outcome in found.values())
        cells = [_cell(found[name], best) for name in names]
        text.append(f"| {case[0]} | {case[1]} | {case[2]:.0%} | " + " | ".join(cells) + " |")
    return "\n".join([*text, "", *_summary(lines, names, cases), "", *_exceptions(lines, cases), ""])


def _exceptions(lines: list[Line], cases: list[tuple[str, str, float]]) -> list[str]:
    """Say where another policy than the service's is better by more than what counts as equal."""
    text = ["The service's policy, `greedy`, is the best or within 5 % of it, except for:", ""]
    for case in cases:
        found = {line.policy: line.outcome.p99 for line in lines if (line.curve, line.arrivals, line.load) == case}
        best = min(found, key=found.__getitem__)
        if found["greedy"] > 1.05 * found[best]:
            text.append(
                f"- {case[0]}, {case[1]}, {case[2]:.0%}: `{best}` has a p99 of {found[best] * 1e3:.3g} ms, "
                f"`greedy` one of {found['greedy'] * 1e3:.3g}."
            )
    return text if len(text) > 2 else ["The service's policy, `greedy`, is everywhere the best or within 5 % of it."]


def _cell(outcome: Outcome, best: float) -> str:
    shown = f"{outcome.p50 * 1e3:.3g} / {outcome.p99 * 1e3:.3g}"
    return f"**{shown}**" if outcome.p99 <= 1.05 * best else shown


def _summary(lines: list[Line], names: list[str], cases: list[tuple[str, str, float]]) -> list[str]:
    """Say how often each is the best, and how far from it at the worst."""
    text = ["| policy | best p99 (within 5 %) | mean of p99 over the best | worst |", "|---|--:|--:|--:|"]
    for name in names:
        ratios = []
        for case in cases:
            found = {line.policy: line.outcome.p99 for line in lines if (line.curve, line.arrivals, line.load) == case}
            ratios.append(found[name] / min(found.values()))
        best = sum(ratio <= 1.05 for ratio in ratios)
        text.append(
            f"| {name} | {best} of {len(cases)} | {np.exp(np.mean(np.log(ratios))):.2f} × | {max(ratios):.1f} × |"
        )
    return text


def draw(lines: list[Line], path: Path) -> None:
    """Draw p99 against load, a panel for each curve, with Poisson arrivals."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(CURVES), figsize=(4 * len(CURVES), 3.6), layout="constrained")
    for panel, curve in zip(panels, CURVES, strict=True):
        chosen = [line for line in lines if line.curve == curve and line.arrivals == "Poisson"]
        for policy in dict.fromkeys(line.policy for line in chosen):
            points = [(line.load * 100, line.outcome.p99 * 1e3) for line in chosen if line.policy == policy]
            panel.plot(*zip(*points, strict=True), marker="o", label=policy, linewidth=2.5 if policy == "greedy" else 1)
        panel.set(title=curve, xlabel="load, %", ylabel="p99, ms", yscale="log")
    panels[0].legend(fontsize="small")
    figure.savefig(path, dpi=110)


@click.command()
@click.option("--count", default=60_000, show_default=True, help="Requests of each run.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=ROOT / "bench" / "results", help="Folder of the results."
)
def main(count: int, out: Path) -> None:
    lines = run_all(count)
    out.mkdir(parents=True, exist_ok=True)
    stem = f"{date.today().isoformat()}-simulation"
    with (out / f"{stem}.csv").open("w", newline="") as file:
        rows = [{**asdict(line), **asdict(line.outcome)} for line in lines]
        writer = csv.DictWriter(file, [name for name in rows[0] if name != "outcome"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(
            {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()} for row in rows
        )
    draw(lines, out / f"{stem}.png")
    (out / f"{stem}.md").write_text(page(lines, f"{stem}.png", f"{stem}.csv"))
    print(page(lines, f"{stem}.png", f"{stem}.csv"))


if __name__ == "__main__":
    main()

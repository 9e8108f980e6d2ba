"""A run's findings as a page, as JSON, and as a picture."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

from bench.catalogue import CONTENDERS
from bench.figures import GOALS, SMALL, Figure, medians
from bench.open_loop import OpenLoop
from bench.sections import Run


def machine() -> dict[str, Any]:
    """Say what the figures were taken on."""
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": found[1] if found else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory / 1e9),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
    }


def write(run: Run, folder: Path, *, command: str, loads: tuple[float, float]) -> Path:
    """Write the three files, named by day and machine, and return the page's path."""
    found = machine()
    name = re.sub(r"[^a-z0-9]+", "-", f"{found['processor']} {found['cores']} cores".lower()).strip("-")
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / f"{date.today().isoformat()}-{name}.md"
    about = {"date": date.today().isoformat(), "command": command, "machine": found, "load_average": loads,
             "seconds": run.seconds, "rounds": run.rounds}  # fmt: skip
    values = {goal: {"median": median(values), "rounds": values} for goal, values in run.values.items()}
    everything = about | {
        "goals": values,
        "notes": run.notes,
        "open_loops": [{"who": who} | asdict(loop) for who, loop in run.open_loops],
        "figures": [asdict(figure) for figure in run.figures],
    }
    page.with_suffix(".json").write_text(json.dumps(everything, indent=1) + "\n")
    drawn = draw(medians(run.figures), page.with_suffix(".png"))
    page.write_text("\n".join(_page(run, about, picture=page.with_suffix(".png").name if drawn else None)) + "\n")
    return page


def _page(run: Run, about: dict[str, Any], *, picture: str | None) -> list[str]:
    found, (before, after) = about["machine"], about["load_average"]
    lines = [
        f"# Measured on {about['date']}: {found['processor']}, {found['cores']} cores",
        "",
        f"`{about['command']}`: {run.rounds} rounds of {run.seconds} s each, medians; {found['memory_gb']} GB of "
        f"memory, {found['system']}, Python {found['python']}. The load average was {before:.1f} at the start and "
        f"{after:.1f} at the end (its own load included). Client and servers share the machine.",
        "",
    ]
    if run.values:
        lines += ["## Goals", "", *goals(run.values), ""]
    if picture:
        lines += [f"![Requests a second, and processor time for each]({picture})", ""]
    if run.open_loops:
        lines += ["## Open loop, one row, binary, at half of the greatest load", "", *_open_loops(run.open_loops), ""]
    if run.figures:
        lines += ["## Figures", "", *_figures(medians(run.figures)), ""]
    present = {figure.who for figure in run.figures}
    lines += [f"- **{one.name}**: {one.about}" for one in CONTENDERS.values() if one.name in present]
    return [*lines, *(["", "## Notes", "", *(f"- {note}" for note in run.notes)] if run.notes else [])]


def goals(values: dict[str, list[float]]) -> list[str]:
    """Write the table of goals: the median of the rounds, and their span."""
    lines = ["| what | least | aim | measured | rounds | |", "|---|--:|--:|--:|--:|---|"]
    for key, goal in GOALS.items():
        if found := values.get(key):
            middle, span = median(found), f"{min(found):.3g} to {max(found):.3g}"
            sign = "≤" if goal.aim < goal.least else "≥"
            lines.append(
                f"| {goal.what} | {sign} {goal.least:g} | {goal.aim:g} | **{middle:.3g}** | {span} | "
                f"{goal.verdict(middle)} |"
            )
    return lines


def _figures(figures: Sequence[Figure]) -> list[str]:
    lines = [
        "| who | network | payload | rows | clients | requests/s | rows/s | CPU µs a request | p50 ms | p99 ms "
        "| p99.9 ms | rows a batch | memory MB | errors |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    ordered = sorted(figures, key=lambda figure: (figure.network, figure.payload, figure.rows, figure.clients))
    return lines + [
        f"| {one.who} | {one.network} | {one.payload} | {one.rows:g} | {one.clients:g} | "
        f"{one.requests_per_second:,.0f} | {one.rows_per_second:,.0f} | {one.cpu_microseconds:,.0f} | "
        f"{_times(one.p50_seconds, 1e3, 2)} | {_times(one.p99_seconds, 1e3, 2)} | "
        f"{_times(one.p999_seconds, 1e3, 2)} | "
        f"{_times(one.rows_per_batch, 1, 1)} | {_times(one.resident_bytes, 1e-6, 0)} | {one.errors} |"
        for one in ordered
    ]


def _open_loops(loops: Sequence[tuple[str, OpenLoop]]) -> list[str]:
    return [
        "| who | requests/s due | answered | failures | p50 ms | p99 ms | p99.9 ms "
        "| the generator's own delay, p99 ms | |",
        "|---|--:|--:|--:|--:|--:|--:|--:|---|",
        *(
            f"| {who} | {one.rate:,.0f} | {one.answered:,} | {sum(one.failures.values())} | "
            f"{one.p50_seconds * 1e3:.2f} | "
            f"{one.p99_seconds * 1e3:.2f} | {one.p999_seconds * 1e3:.2f} | {one.lateness_p99_seconds * 1e3:.2f} | "
            f"{'' if one.kept_up else 'it did not keep up: the latencies are partly its own'} |"
            for who, one in loops
        ),
    ]


def _times(value: float | None, factor: float, digits: int) -> str:
    return "" if value is None else f"{value * factor:.{digits}f}"


def draw(figures: Sequence[Figure], file: Path) -> bool:
    """Draw what one row costs, by server and payload, at most clients; False if there is nothing to compare."""
    from matplotlib.figure import Figure as Canvas

    asked = [one for one in figures if one.network == SMALL and one.rows == 1 and one.payload in ("json", "binary")]
    clients = max((one.clients for one in asked), default=0)
    shown = sorted(
        (one for one in asked if one.clients == clients), key=lambda one: (one.payload, one.requests_per_second)
    )
    if len({one.who for one in shown}) < 2:
        return False
    canvas = Canvas(figsize=(11, 1 + 0.32 * len(shown)), layout="constrained")
    names = [f"{one.who}, {one.payload}" for one in shown]
    colours = ["#b5541c" if one.who == "ovenbird" else "#bbbbbb" for one in shown]
    for axes, values, title in zip(
        canvas.subplots(1, 2, sharey=True),
        ([one.requests_per_second for one in shown], [one.cpu_microseconds for one in shown]),
        ("requests a second", "µs of processor time a request"),
        strict=True,
    ):
        bars = axes.barh(names, values, color=colours)
        axes.bar_label(bars, fmt="{:,.0f}", padding=3)
        axes.set_xscale("log")
        axes.margins(x=0.15)
        axes.set_title(f"{title} ({SMALL}, one row, {clients:g} clients)", fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    canvas.savefig(file, dpi=110)
    return True

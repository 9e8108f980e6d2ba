"""How a fleet gets over a surge, in numbers and as a picture that can be read on a light and on a dark page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from bench.capacity.records import Seen

OBJECTIVE = 0.05
LATE = 1.0
WINDOW = 5.0
GREY = "#808080"
COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#d55e00", "#cc79a7", "#8c8cff", "#a0a000", "#c08060")


@dataclass(frozen=True)
class Surge:
    """What requests saw from the moment on that a load grew; seconds. `series` has p99 by moment, in windows."""

    start: float
    p99: float
    late: float
    recovered: float
    series: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, start: float, seen: Seen, *, since: float) -> Self:
        """Read it from a simulation; requests count when they came."""
        moments, latencies = seen.answered_at - seen.latencies, seen.latencies
        series = []
        for begin in np.arange(0, moments.max(), WINDOW):
            inside = latencies[(moments >= begin) & (moments < begin + WINDOW)]
            if len(inside):
                series.append((float(begin), float(np.quantile(inside, 0.99))))
        late = [begin for begin, p99 in series if begin >= since and p99 > OBJECTIVE]
        after = latencies[moments >= since]
        recovered = max(late) + WINDOW - since if late else 0.0
        return cls(start, float(np.quantile(after, 0.99)), float((after > LATE).mean()), recovered, tuple(series))


def draw(path: Path, loads: Sequence[float], curves: Mapping[str, Sequence[float]], surges: Sequence[Surge]) -> None:
    """Draw p99 against load by balancer, and p99 over time in a surge, without a background."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    style: Any = {"svg.fonttype": "none", "svg.hashsalt": "ovenbird", "font.size": 10}
    style |= dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), GREY)
    with pyplot.rc_context(style):
        figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
        for colour, (name, values) in zip(COLOURS, curves.items(), strict=False):
            line, ink = ("--", GREY) if name == "reckoned" else ("-", colour)
            left.plot(loads, [value * 1e3 for value in values], line, marker=".", label=name, color=ink)
        left.set(xlabel="load, % of the most", ylabel="p99, ms", yscale="log", title="Balancers")
        for colour, surge in zip(COLOURS, surges, strict=False):
            right.plot(*zip(*surge.series, strict=True), color=colour, label=f"ready after {surge.start:g} s")
        right.set(xlabel="seconds; the load doubles at 60", ylabel="p99, s", yscale="log", title="A surge")
        for panel in (left, right):
            panel.grid(color=GREY, alpha=0.25)
            panel.set_facecolor("none")
        # Room for the legend above the curves.
        left.set_ylim(top=150)
        left.legend(fontsize="small", framealpha=0, ncols=2, loc="upper left")
        right.legend(fontsize="small", framealpha=0, loc="upper left")
        figure.savefig(path, transparent=True, metadata={"Date": None})
        pyplot.close(figure)

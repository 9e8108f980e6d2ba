"""The page that sets two versions side by side: their figures, curves and confusions. Measures nothing."""

from __future__ import annotations

from typing import Any

from training.evidence import figures, report_page
from training.evidence.comparison import Side
from training.evidence.comparison_cli import measured_rows, verdict
from training.evidence.report_page import CURVES, Chart, chart


def render(found: dict[str, Any], first: Side, second: Side) -> str:
    """Write a comparison as one HTML page without references to elsewhere."""
    sides = [_side(side, name) for side, name in ((first, "first"), (second, "second"))]
    shown = {
        "versions": found["versions"],
        "recipes": found["recipes"],
        "dataset": found["dataset"],
        "rows": measured_rows(found),
        "parameters": [
            (name, _written(pair["first"]), _written(pair["second"])) for name, pair in found["parameters"].items()
        ],
        "verdict": verdict(found),
        "curves": _curves(first, second, found["versions"]),
        "sides": sides,
    }
    return report_page.render_template("comparison.html", shown)


def _side(side: Side, name: str) -> dict[str, Any]:
    facts = side.evaluation
    return {
        "name": str(side.stored),
        "fit": report_page.fit_charts(facts, name) if "history" in facts else [],
        "quality": [
            one for one in report_page.quality_charts(facts, name) if one.description.startswith("calibration")
        ],
        "matrix": report_page.matrix(facts),
    }


def _curves(first: Side, second: Side, names: list[str]) -> list[Chart]:
    """Draw both versions' curves into the same charts, where both were measured."""
    one, other = first.evaluation.get("curves"), second.evaluation.get("curves")
    if not one or not other:
        return []
    charts = []
    for key, title, across, up in CURVES:
        areas = one[key]["area"], other[key]["area"]
        words = f"{title}: area {areas[0]:.4f} of {names[0]} (blue), {areas[1]:.4f} of {names[1]} (orange)"
        figure = figures.curve(one[key], title=title, across=across, up=up, others=other[key])
        charts.append(chart(figure, f"both-{key}", words))
    return charts


def _written(value: Any) -> str:
    return "-" if value is None else ", ".join(map(str, value)) if isinstance(value, list) else str(value)

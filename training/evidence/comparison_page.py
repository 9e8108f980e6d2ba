"""The page that sets two versions side by side: their figures, curves and confusions. Measures nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from training.evidence import figures, report_page
from training.evidence.comparison import Side
from training.evidence.comparison_cli import class_rows, measured_rows, verdict
from training.evidence.report_page import CURVES, Chart, chart

MOST_CLUSTERS = 20


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
        "classes": class_rows(found),
        "clusters": _shared_rows(first, second),
        "curves": [*_curves(first, second, found["versions"]), *_precisions(first, second, found["versions"])],
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


def _precisions(first: Side, second: Side, names: list[str]) -> list[Chart]:
    """Draw the precision over recall of both detectors, as a mean over the classes, into one chart."""
    one, other = (side.evaluation.get("precision_at_recalls") for side in (first, second))
    if not one or not other:
        return []
    curves = [_mean_curve(one), _mean_curve(other)]
    words = (
        f"precision over recall, mean of the classes: area {curves[0]['area']:.4f} of {names[0]} (blue), "
        f"{curves[1]['area']:.4f} of {names[1]} (orange)"
    )
    figure = figures.curve(curves[0], title="precision over recall", across="recall", up="precision", others=curves[1])
    return [chart(figure, "both-precision", words)]


def _mean_curve(by_label: dict[str, list[float]]) -> dict[str, Any]:
    mean = np.mean(list(by_label.values()), axis=0)
    return {"x": np.linspace(0, 1, len(mean)).tolist(), "y": mean.tolist(), "area": float(mean.mean())}


def _shared_rows(first: Side, second: Side) -> list[tuple[str, ...]]:
    """Count the rows that lie in each pair of clusters; nothing where there are too many to be read."""
    one, other = first.predictions, second.predictions
    if one is None or other is None or one.kind != "clustering":
        return []
    assert one.predicted is not None
    assert other.predicted is not None
    counts = np.zeros((int(one.predicted.max()) + 1, int(other.predicted.max()) + 1), np.int64)
    np.add.at(counts, (one.predicted, other.predicted), 1)
    if max(counts.shape) > MOST_CLUSTERS:
        return []
    header = ("cluster", *map(str, range(counts.shape[1])))
    return [header, *((str(number), *map(str, row)) for number, row in enumerate(counts.tolist()))]


def _written(value: Any) -> str:
    return "-" if value is None else ", ".join(map(str, value)) if isinstance(value, list) else str(value)

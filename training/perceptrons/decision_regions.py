"""Where in the plane a classifier of two columns gives which answer. Knows no recipe and no Keras."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from training.datasets import Dataset
from training.datasets.dataset import Array
from training.evidence.exhibit import Exhibit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# As many points along each side as the figure has dots to show.
RESOLUTION = 120
MARGIN = 0.15
MOST_POINTS = 500


def decision_regions(predict: Callable[[Array], Array], dataset: Dataset) -> Sequence[Exhibit]:
    """Draw what `predict` (features [n, 2] → probabilities) answers around the held-out rows.

    Returns:
        one exhibit, or none where the data set does not have exactly two columns.
    """
    if dataset.columns is None or len(dataset.columns) != 2 or dataset.labels is None:
        return ()
    return (
        Exhibit(
            name="decision_regions",
            title="Decision regions",
            text="The colour is the model's answer at each point; dots are held-out rows in their true colour.",
            figure=_figure(predict, dataset),
        ),
    )


def _figure(predict: Callable[[Array], Array], dataset: Dataset) -> Figure:
    from matplotlib import colormaps
    from matplotlib.colors import BoundaryNorm
    from matplotlib.figure import Figure

    assert dataset.labels is not None
    assert dataset.columns is not None
    points, truth = dataset.test.inputs[:MOST_POINTS], dataset.test.targets[:MOST_POINTS]
    x, y = _grid(points)
    answers = predict(np.column_stack([x.ravel(), y.ravel()]).astype(np.float32)).argmax(axis=1).reshape(x.shape)
    count = len(dataset.labels)
    colours: dict[str, Any] = {"cmap": colormaps["tab10" if count <= 10 else "tab20"].resampled(count)}
    colours["norm"] = BoundaryNorm(np.arange(count + 1) - 0.5, count)
    figure = Figure(figsize=(5, 4.4), dpi=90, layout="constrained")
    axes = figure.subplots()
    axes.pcolormesh(x, y, answers, alpha=0.35, shading="nearest", **colours)
    dots = axes.scatter(points[:, 0], points[:, 1], c=truth, s=14, edgecolors="black", linewidths=0.4, **colours)
    axes.set(xlabel=dataset.columns[0], ylabel=dataset.columns[1], title=f"{len(points)} held-out rows")
    axes.legend(dots.legend_elements(num=list(range(count)))[0], dataset.labels, loc="upper right", fontsize=8)
    return figure


def _grid(points: Array) -> Any:
    """Span the rectangle of the points [n, 2] and a margin: x and y, each [RESOLUTION, RESOLUTION]."""
    low, high = points.astype(np.float64).min(axis=0), points.astype(np.float64).max(axis=0)
    margin = MARGIN * np.where(high > low, high - low, 1.0)
    sides = np.linspace(low - margin, high + margin, RESOLUTION)
    return np.meshgrid(sides[:, 0], sides[:, 1])

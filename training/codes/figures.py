"""The figures of codes, anomalies and clusters: each function draws one. Knows matplotlib alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from training.datasets.dataset import Array
from training.evidence.figures import DOTS_PER_INCH, QUIET, TRAINING, VALIDATION, Numbers, shown

# A legend holds so many names, and a colour map so many colours that can be told apart.
MOST_NAMES = 20
COLUMNS = 10


def new_pictures(pictures: Numbers, source: str) -> Figure:
    """Draw pictures [n, height, width, channels] in 0..1 that were made of random codes."""
    lines = -(-len(pictures) // COLUMNS)
    figure = _figure(8, 0.6 + 0.8 * lines)
    figure.suptitle(f"new pictures, made of codes from {source}", fontsize=11)
    for axes, picture in zip(figure.subplots(lines, COLUMNS, squeeze=False).ravel(), pictures, strict=False):
        _picture(axes, picture)
    return figure


def plane(points: Numbers, groups: Array | None, names: Sequence[str], title: str) -> Figure:
    """Draw points [n, 2], each in the colour of its group: int64 [n], indices of `names`."""
    figure = _figure(6.2, 4.8)
    axes = figure.subplots()
    if groups is None:
        axes.scatter(points[:, 0], points[:, 1], s=8, color=TRAINING, alpha=0.6, linewidths=0)
    else:
        _coloured(axes, points, groups, names)
    axes.set(xlabel="first principal component", ylabel="second principal component")
    axes.set_title(title, fontsize=11)
    _plain(axes)
    return figure


def _coloured(axes: Axes, points: Numbers, groups: Array, names: Sequence[str]) -> None:
    colours = colormaps["tab20" if len(names) > 10 else "tab10"]
    for index, name in enumerate(names):
        x, y = points[groups == index].T
        axes.scatter(x, y, s=8, color=colours(index % MOST_NAMES), alpha=0.7, linewidths=0, label=shown(name, 16))
    if len(names) <= MOST_NAMES:
        axes.legend(frameon=False, fontsize=8, markerscale=2, loc="center left", bbox_to_anchor=(1, 0.5))


def anomaly_scores(scores: Numbers, threshold: float) -> Figure:
    """Draw how the scores [n] of held-out rows are spread, and where the alarm begins."""
    figure = _figure(5.6, 3.4)
    axes = figure.subplots()
    axes.hist(scores, bins=50, color=TRAINING)
    alarms = int(np.sum(scores >= threshold))
    axes.axvline(threshold, color=VALIDATION, linestyle=":", label=f"alarm: {alarms} of {len(scores)} rows")
    axes.set(xlabel="mean squared error of a row", ylabel="held-out rows", title="anomaly scores")
    axes.legend(frameon=False)
    _plain(axes)
    return figure


def elbow(counts: Sequence[int], inertia: Sequence[float], silhouette: Sequence[float], chosen: int) -> Figure:
    """Draw inertia and silhouette for each number of clusters that was tried."""
    figure = _figure(8.4, 3.4)
    for axes, values, name in zip(figure.subplots(1, 2), (inertia, silhouette), ("inertia", "silhouette"), strict=True):
        axes.plot(counts, values, color=TRAINING, marker="o", markersize=3)
        axes.axvline(chosen, color=QUIET, linewidth=1, linestyle=":", label=f"chosen: {chosen}")
        axes.set(xlabel="clusters", title=f"{name} of a part of the training rows")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _plain(axes)
    figure.axes[1].legend(frameon=False)
    return figure


def explained_variance(shares: Numbers) -> Figure:
    """Draw which share of the variance the first components explain together."""
    figure = _figure(5, 3.4)
    axes = figure.subplots()
    axes.plot(range(1, len(shares) + 1), np.cumsum(shares), color=TRAINING, marker="o", markersize=3)
    axes.set(xlabel="principal components", ylabel="share of the variance", ylim=(0, 1.02))
    axes.set_title(f"{np.sum(shares):.1%} explained by {len(shares)}", fontsize=11)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _plain(axes)
    return figure


def nearest_pictures(pictures: Sequence[Numbers]) -> Figure:
    """Draw, for each cluster, the pictures [n, height, width, channels] in 0..1 that lie nearest to its centre."""
    figure = _figure(0.9 + 0.7 * COLUMNS, 0.6 + 0.7 * len(pictures))
    figure.suptitle("held-out pictures nearest to the centre of each cluster", fontsize=11)
    for index, line in enumerate(figure.subplots(len(pictures), COLUMNS, squeeze=False)):
        line[0].text(-0.6, 0.5, str(index), transform=line[0].transAxes, va="center", fontsize=9)
        for axes in line:
            axes.set_axis_off()
        for axes, picture in zip(line, pictures[index], strict=False):
            _picture(axes, picture)
    return figure


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained")


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)


def _picture(axes: Axes, picture: Numbers) -> None:
    is_grey = picture.shape[-1] == 1
    axes.set_axis_off()
    axes.imshow(picture[..., 0] if is_grey else picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")

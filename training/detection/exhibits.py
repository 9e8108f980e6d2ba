"""What a report shows of a detector: scenes with boxes, precision over recall, figures per class. Draws alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from training.datasets import Dataset
from training.detection.evaluation import SURE, detections
from training.detection.metrics import RECALLS
from training.evidence.exhibit import Evaluation, Exhibit
from training.evidence.figures import DOTS_PER_INCH, TRAINING, VALIDATION, shown

Floats = npt.NDArray[np.floating]
Pixels = npt.NDArray[np.uint8]

SCENES, SCENES_ACROSS = 12, 4
# More curves than these hide each other.
MOST_CURVES = 10
LONGEST_LABEL = 12


def exhibits(dataset: Dataset, evaluation: Evaluation) -> list[Exhibit]:
    """Make the exhibits of held-out pictures."""
    assert dataset.labels is not None
    doubtful = detections({name: array[:SCENES] for name, array in evaluation.answers.items()})
    found = [boxes[boxes[:, 5] >= SURE] for boxes in doubtful]
    pictures, truths = dataset.test.inputs[:SCENES].astype(np.uint8), list(dataset.test.targets[:SCENES])
    return [
        Exhibit(
            name="scenes",
            title="Held-out pictures",
            text=f"What is there in orange, what was found with a score of {SURE} or more in blue.",
            figure=scenes(pictures, truths, found, dataset.labels),
        ),
        Exhibit(
            name="precision_recall",
            title="Precision over recall",
            text="Where an overlap of a half counts as found; a curve ends where no more objects are found.",
            figure=precision_over_recall(evaluation.details["precision_at_recalls"]),
        ),
    ]


def scenes(pictures: Pixels, truths: Sequence[Floats], found: Sequence[Floats], labels: Sequence[str]) -> Figure:
    """Draw pictures [n, height, width, 1 or 3] with the boxes that are there and those that were found."""
    lines = math.ceil(len(pictures) / SCENES_ACROSS)
    figure = Figure(figsize=(10.5, 2.75 * lines), dpi=DOTS_PER_INCH, layout="constrained")
    places = figure.subplots(lines, SCENES_ACROSS, squeeze=False).ravel()
    for axes in places:
        axes.set_axis_off()
    for axes, picture, objects, boxes in zip(places, pictures, truths, found, strict=False):
        axes.imshow(picture.squeeze(-1) if picture.shape[-1] == 1 else picture, cmap="gray", vmin=0, vmax=255)
        for left, top, right, bottom, _ in objects:
            _outline(axes, (left, top, right, bottom), VALIDATION, width=2.4)
        for left, top, right, bottom, index, score in boxes:
            _outline(axes, (left, top, right, bottom), "#5ab0ee", width=1.0)
            text = f"{shown(labels[int(index)], LONGEST_LABEL)} {score:.2f}"
            axes.text(left, top - 1, text, fontsize=6, color="white", backgroundcolor=(0.12, 0.35, 0.54, 0.8),
                      bbox={"pad": 0.5, "linewidth": 0, "facecolor": TRAINING}, parse_math=False)  # fmt: skip
    return figure


def _outline(axes: Axes, box: tuple[float, ...], colour: str, *, width: float) -> None:
    left, top, right, bottom = box
    # Pixels are drawn around their whole numbers.
    axes.add_patch(
        Rectangle((left - 0.5, top - 0.5), right - left, bottom - top, fill=False, edgecolor=colour, linewidth=width)
    )


def precision_over_recall(curves: dict[str, list[float]]) -> Figure:
    """Draw a curve per class: precision at 101 recalls."""
    figure = Figure(figsize=(5.4, 4.2), dpi=DOTS_PER_INCH, layout="constrained")
    axes = figure.subplots()
    for label, precision in list(curves.items())[:MOST_CURVES]:
        axes.plot(RECALLS, precision, linewidth=1.2, label=shown(label, LONGEST_LABEL))
    title = "all classes" if len(curves) <= MOST_CURVES else f"the first {MOST_CURVES} of {len(curves)} classes"
    axes.set(xlabel="recall", ylabel="precision", title=title, xlim=(0, 1.01), ylim=(0, 1.02))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color="#e5e5e5", linewidth=0.7)
    axes.legend(frameon=False, fontsize=8)
    return figure

"""Tells whether rounding could change which boxes of a picture are kept. NumPy alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from training.detection.geometry import intersection_over_union

Floats = npt.NDArray[np.floating]

# Twice what a published file may be off, in scores and in overlaps.
MARGIN = 2e-4


def has_margin(boxes: Floats, scores: Floats, *, score: float, iou: float) -> bool:
    """Tell whether no decision about one picture is close: no score, no order, no overlap that suppresses.

    Args:
        boxes: all candidates [anchors, 4].
        scores: theirs, [anchors, classes].
        score: what a detection needs at least.
        iou: above this overlap the worse box of one class is suppressed.
    """
    anchors, classes = np.nonzero(scores > score - MARGIN)
    candidates = scores[anchors, classes].astype(np.float64)
    if (np.abs(candidates - score) < MARGIN).any() or (np.diff(np.sort(candidates)) < MARGIN).any():
        return False
    overlaps = intersection_over_union(boxes[anchors], boxes[anchors])
    is_pair = np.triu(classes[:, None] == classes[None], k=1)
    return not (is_pair & (np.abs(overlaps - iou) < MARGIN)).any()

"""Tells whether rounding could change which boxes of a picture are kept. NumPy alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from training.detection.geometry import intersection_over_union

Floats = npt.NDArray[np.floating]

# Twice what a published file may be off: in the scores of doubtful detections, and in overlaps.
SCORE_MARGIN, OVERLAP_MARGIN = 4e-5, 2e-4


def has_margin(boxes: Floats, scores: Floats, *, score: float, iou: float) -> bool:
    """Tell whether no decision about one picture is close: no score, no overlap that suppresses, no order that counts.

    The order of two boxes counts where one suppresses the other, and where both stay.

    Args:
        boxes: all candidates [anchors, 4].
        scores: theirs, [anchors, classes].
        score: what a detection needs at least.
        iou: above this overlap the worse box of one class is suppressed.
    """
    anchors, classes = np.nonzero(scores > score - SCORE_MARGIN)
    candidates = scores[anchors, classes].astype(np.float64)
    if (np.abs(candidates - score) < SCORE_MARGIN).any():
        return False
    overlaps = intersection_over_union(boxes[anchors], boxes[anchors])
    is_pair = np.triu(classes[:, None] == classes[None], k=1)
    is_close = np.abs(candidates[:, None] - candidates[None]) < SCORE_MARGIN
    is_open = np.abs(overlaps - iou) < OVERLAP_MARGIN
    if (is_pair & (is_open | (is_close & (overlaps > iou)))).any():
        return False
    kept = np.sort(candidates[_stay(candidates, overlaps > iou, classes)])
    return not (np.diff(kept) < SCORE_MARGIN).any()


def _stay(scores: Floats, suppresses: npt.NDArray[np.bool_], classes: npt.NDArray[np.int64]) -> list[int]:
    """List the boxes that no better one of their class suppresses."""
    stay: list[int] = []
    for index in np.argsort(-scores, kind="stable").tolist():
        if not any(suppresses[index, better] and classes[index] == classes[better] for better in stay):
            stay.append(index)
    return stay

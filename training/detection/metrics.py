"""How good detections are: average precision as COCO computes it, and precision and recall at one threshold.

Source: T.-Y. Lin et al., "Microsoft COCO", arXiv:1405.0312, and cocodataset.org/#detection-eval: overlaps from 0.50 to
0.95, precision at 101 recalls, at most 100 detections of a class in a picture. NumPy alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.detection.geometry import intersection_over_union

Floats = npt.NDArray[np.floating]
Bools = npt.NDArray[np.bool_]

OVERLAPS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
MOST_DETECTIONS = 100


@dataclass(frozen=True)
class AveragePrecision:
    """Precision [overlaps, recalls, classes], float64: NaN for a class that is in no picture."""

    precision: Floats

    @property
    def by_class(self) -> Floats:
        """Average precision over all overlaps: [classes]."""
        return np.asarray(self.precision.mean(axis=(0, 1)))

    @property
    def by_class_at_half(self) -> Floats:
        """Average precision where an overlap of a half is enough: [classes]."""
        return np.asarray(self.precision[0].mean(axis=0))

    @property
    def mean(self) -> float:
        """mAP@0.5:0.95."""
        return float(np.nanmean(self.by_class))

    @property
    def mean_at_half(self) -> float:
        """mAP@0.5."""
        return float(np.nanmean(self.by_class_at_half))


def average_precision(truths: Sequence[Floats], found: Sequence[Floats], classes: int) -> AveragePrecision:
    """Measure detections.

    Args:
        truths: for each picture its objects [n, 5]: left, top, right, bottom, class.
        found: for each picture its detections [n, 6]: left, top, right, bottom, class, score.
        classes: how many classes there are.
    """
    precision = np.full((len(OVERLAPS), len(RECALLS), classes), np.nan)
    for index in range(classes):
        own_truths = [objects[objects[:, 4] == index] for objects in truths]
        own_found = [best(boxes[boxes[:, 4] == index]) for boxes in found]
        objects = sum(map(len, own_truths))
        if objects:
            precision[:, :, index] = _precision_at_recalls(own_truths, own_found, objects)
    return AveragePrecision(precision)


def precision_and_recall(
    truths: Sequence[Floats], found: Sequence[Floats], overlap: float = 0.5
) -> tuple[float, float]:
    """Tell which share of the detections is right, and which share of the objects is found; of nothing, 0."""
    right = 0
    for objects, boxes in zip(truths, found, strict=True):
        for index in np.unique(boxes[:, 4]):
            own = best(boxes[boxes[:, 4] == index], most=len(boxes))
            right += int(matched(objects[objects[:, 4] == index], own, overlap).sum())
    detections, objects_in_all = sum(map(len, found)), sum(map(len, truths))
    return right / max(detections, 1), right / max(objects_in_all, 1)


def matched(objects: Floats, boxes: Floats, overlap: float) -> Bools:
    """Tell which boxes of one class, best first, are right: each takes the free object that it overlaps most."""
    overlaps = intersection_over_union(boxes, objects)
    free = np.ones(len(objects), bool)
    right = np.zeros(len(boxes), bool)
    for index, row in enumerate(overlaps):
        candidates = np.where(free, row, -1.0)
        if not len(candidates) or candidates.max() < min(overlap, 1 - 1e-10):
            continue
        # Of equal overlaps COCO takes the last.
        taken = len(candidates) - 1 - int(candidates[::-1].argmax())
        free[taken], right[index] = False, True
    return right


def best(boxes: Floats, most: int = MOST_DETECTIONS) -> Floats:
    """Choose the boxes [n, 6] with the highest scores, best first."""
    return boxes[np.argsort(-boxes[:, 5], kind="stable")[:most]]


def _precision_at_recalls(truths: list[Floats], found: list[Floats], objects: int) -> Floats:
    """Give the precision of one class at each overlap and recall: [overlaps, recalls]."""
    order = np.argsort(-np.concatenate([boxes[:, 5] for boxes in found]), kind="stable")
    at_recalls = np.zeros((len(OVERLAPS), len(RECALLS)))
    for row, overlap in zip(at_recalls, OVERLAPS, strict=True):
        pairs = zip(truths, found, strict=True)
        right = np.concatenate([matched(own, boxes, float(overlap)) for own, boxes in pairs])[order]
        hits = np.cumsum(right)
        recall = hits / objects
        precision = hits / np.arange(1, len(hits) + 1)
        # The best precision at this recall or a higher one.
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        places = np.searchsorted(recall, RECALLS, side="left")
        reached = places < len(envelope)
        row[reached] = envelope[places[reached]]
    return at_recalls

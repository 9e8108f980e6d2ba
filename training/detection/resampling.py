"""Average precision over held-out pictures that are drawn again and again. NumPy alone.

Which detections are right is decided within a picture, so that it is found once; a picture that was drawn twice counts
twice. Source of the measure: `training.detection.metrics`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model_store.predictions import resamples
from training.detection.metrics import RECALLS, best, matched

Floats = npt.NDArray[np.floating]
Bools = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]

OVERLAP = 0.5


@dataclass(frozen=True)
class RankedClass:
    """The detections of one class, best first: whether each is right, and in which picture it is.

    `objects` [pictures] says how many objects of the class each picture holds.
    """

    right: Bools
    picture: Integers
    objects: Integers


def ranked(truths: Sequence[Floats], found: Sequence[Floats]) -> list[RankedClass]:
    """Rank the detections of every class that is in some picture; an overlap of a half is enough.

    Args:
        truths: for each picture its objects [n, 5]: left, top, right, bottom, class.
        found: for each picture its detections [n, 6]: left, top, right, bottom, class, score.
    """
    return [_rank(truths, found, index) for index in np.unique(np.concatenate(truths)[:, 4])]


def _rank(truths: Sequence[Floats], found: Sequence[Floats], index: float) -> RankedClass:
    objects = np.zeros(len(truths), np.int64)
    scores: list[Floats] = []
    right: list[Bools] = []
    picture: list[Integers] = []
    for number, (all_objects, all_boxes) in enumerate(zip(truths, found, strict=True)):
        own, boxes = all_objects[all_objects[:, 4] == index], best(all_boxes[all_boxes[:, 4] == index])
        objects[number] = len(own)
        scores.append(boxes[:, 5])
        right.append(matched(own, boxes, OVERLAP))
        picture.append(np.full(len(boxes), number))
    order = np.argsort(-np.concatenate(scores), kind="stable")
    return RankedClass(np.concatenate(right)[order], np.concatenate(picture)[order], objects)


def draws(*sides: Sequence[RankedClass]) -> Iterator[Integers]:
    """Draw the pictures of detectors that looked at the same ones: how often each came, [draws, pictures]."""
    classes = [one for side in sides for one in side]
    pictures = len(classes[0].objects)
    width = max(pictures, *(len(one.picture) for one in classes))
    return resamples(pictures, np.full(pictures, 1 / pictures), width)


def mean_average_precision(classes: Sequence[RankedClass], times: Integers) -> Floats:
    """Compute mAP@0.5 where each picture counts `times` [draws, pictures]: float64 [draws].

    A class counts in those draws that have objects of it; a draw without any object is NaN.
    """
    averages = np.stack([_average_precision(one, times) for one in classes])
    counted = ~np.isnan(averages)
    total, number = np.where(counted, averages, 0).sum(axis=0), counted.sum(axis=0)
    return np.asarray(np.divide(total, number, out=np.full(len(times), np.nan), where=number > 0))


def _average_precision(one: RankedClass, times: Integers) -> Floats:
    """Average the precision at 101 recalls: [draws]; only right detections raise the recall."""
    objects, drawn = times @ one.objects, times[:, one.picture]
    hits = np.cumsum(drawn[:, one.right], axis=1)
    places = np.cumsum(drawn, axis=1)[:, one.right]
    precision = np.divide(hits, places, out=np.zeros(hits.shape), where=places > 0)
    # The best precision at this recall or a higher one.
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    recall = hits / np.maximum(objects, 1)[:, None]
    steps = np.diff(np.searchsorted(RECALLS, recall, side="right"), axis=1, prepend=0)
    return np.where(objects > 0, (envelope * steps).sum(axis=1) / len(RECALLS), np.nan)

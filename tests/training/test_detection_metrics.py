"""Average precision against COCO's own program, and by hand; overlaps, and rows that rounding cannot change."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import coco, cocoeval

from training.detection.geometry import intersection_over_union
from training.detection.margin import has_margin
from training.detection.metrics import average_precision, matched, precision_and_recall

CLASSES = 4


def coco_averages(truths: list[np.ndarray], found: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Let pycocotools compute AP@0.5:0.95 and AP@0.5 of each class; -1 where a class is in no picture."""
    images = [{"id": index + 1} for index in range(len(truths))]
    annotations = [
        {"image_id": index + 1, "category_id": int(kind), "bbox": [left, top, right - left, bottom - top],
         "area": (right - left) * (bottom - top), "iscrowd": 0}
        for index, objects in enumerate(truths) for left, top, right, bottom, kind in objects.tolist()
    ]  # fmt: skip
    results = [
        {"image_id": index + 1, "category_id": int(kind), "bbox": [left, top, right - left, bottom - top],
         "score": score, "area": (right - left) * (bottom - top), "iscrowd": 0}
        for index, boxes in enumerate(found) for left, top, right, bottom, kind, score in boxes.tolist()
    ]  # fmt: skip
    sides = []
    for entries in (annotations, results):
        for number, entry in enumerate(entries, 1):
            entry["id"] = number
        side = coco.COCO()
        side.dataset = {"images": images, "annotations": entries,
                        "categories": [{"id": kind} for kind in range(CLASSES)]}  # fmt: skip
        side.createIndex()
        sides.append(side)
    evaluation = cocoeval.COCOeval(*sides, "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, 2]
    return precision.mean(axis=(0, 1)), precision[0].mean(axis=0)


def some_boxes(random: np.random.Generator, count: int) -> np.ndarray:
    """Boxes [count, 5] on a coarse grid, so that many overlap, and some are the same."""
    corners, sizes = random.integers(0, 6, (count, 2)) * 4.0, random.integers(1, 5, (count, 2)) * 4.0
    return np.column_stack([corners, corners + sizes, random.integers(0, CLASSES - 1, count)])


def detections_of(random: np.random.Generator, objects: np.ndarray, others: int, ties: bool) -> np.ndarray:
    """Move the objects a little, lose some, and add boxes that are wrong; scores tie where they are rounded."""
    moved = objects[random.random(len(objects)) < 0.9].copy()
    moved[:, :4] += random.normal(0, 0.7, (len(moved), 4))
    boxes = np.concatenate([moved, some_boxes(random, others)])
    scores = random.random(len(boxes))
    return np.column_stack([boxes, scores.round(1) if ties else scores])


@pytest.mark.parametrize("ties", [False, True], ids=["no-ties", "ties"])
@pytest.mark.parametrize("seed", range(6))
def test_average_precision_is_that_of_coco(seed: int, ties: bool, capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(seed)
    truths = [some_boxes(random, random.integers(0, 7)) for _ in range(12)]
    found = [detections_of(random, objects, random.integers(0, 6), ties) for objects in truths]

    ours = average_precision(truths, found, CLASSES)

    theirs, theirs_at_half = coco_averages(truths, found)
    assert np.nan_to_num(ours.by_class, nan=-1) == pytest.approx(theirs, abs=1e-6)
    assert np.nan_to_num(ours.by_class_at_half, nan=-1) == pytest.approx(theirs_at_half, abs=1e-6)
    # The last class is in no picture.
    assert np.isnan(ours.by_class[-1])
    assert ours.mean == pytest.approx(theirs[theirs >= 0].mean(), abs=1e-6)
    assert ours.mean_at_half == pytest.approx(theirs_at_half[theirs_at_half >= 0].mean(), abs=1e-6)


def test_no_more_than_a_hundred_detections_of_a_picture_count(capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    truths = [some_boxes(random, 40), some_boxes(random, 3)]
    found = [detections_of(random, objects, 400, ties=False) for objects in truths]

    ours = average_precision(truths, found, CLASSES)

    assert np.nan_to_num(ours.by_class, nan=-1) == pytest.approx(coco_averages(truths, found)[0], abs=1e-6)


ONE = np.array([[0, 0, 10, 10, 0]], float)
NOTHING = np.zeros((0, 6))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param([NOTHING], 0.0, id="nothing-found"),
        pytest.param([np.array([[0, 0, 10, 10, 0, 0.3]])], 1.0, id="exactly"),
        pytest.param([np.array([[0, 0, 10, 10, 0, 0.3], [0, 0, 10, 10, 0, 0.2]])], 1.0, id="twice-the-worse-later"),
        pytest.param([np.array([[50, 50, 60, 60, 0, 0.9], [0, 0, 10, 10, 0, 0.2]])], 0.5, id="a-wrong-one-first"),
        pytest.param([np.array([[0, 0, 10, 10, 1, 0.9]])], 0.0, id="another-class"),
        pytest.param([np.array([[0, 0, 10, 5, 0, 0.9]])], 0.1, id="half-of-it-counts-at-one-overlap-of-ten"),
    ],
)
def test_average_precision_by_hand(found: list[np.ndarray], expected: float) -> None:
    assert average_precision([ONE], found, CLASSES).mean == pytest.approx(expected)


def test_a_second_box_on_the_same_object_is_wrong() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9]], float)

    assert matched(ONE, boxes, 0.5).tolist() == [True, False]


def test_precision_and_recall_count_objects_and_detections() -> None:
    truths = [np.array([[0, 0, 10, 10, 0], [20, 20, 30, 30, 1]], float), ONE]
    found = [np.array([[0, 0, 10, 10, 0, 0.9], [20, 20, 30, 30, 0, 0.8]]), NOTHING]

    assert precision_and_recall(truths, found) == (1 / 2, 1 / 3)
    assert precision_and_recall([ONE[:0]], [NOTHING]) == (0.0, 0.0)


def test_overlaps_by_hand() -> None:
    first = np.array([[0, 0, 4, 4], [0, 0, 0, 0]], np.float32)
    second = np.array([[0, 0, 4, 4], [2, 2, 6, 6], [4, 4, 8, 8], [0, 0, 0, 0]], np.float32)

    assert intersection_over_union(first, second).tolist() == [[1, pytest.approx(4 / 28), 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("boxes", "scores", "expected"),
    [
        pytest.param([[0, 0, 4, 4], [9, 9, 12, 12]], [[0.9, 0], [0.7, 0]], True, id="apart"),
        pytest.param([[0, 0, 4, 4]], [[0.50001, 0]], False, id="at-the-threshold"),
        pytest.param([[0, 0, 4, 4]], [[0.2, 0.3]], True, id="below-it"),
        pytest.param([[0, 0, 4, 4], [9, 9, 12, 12]], [[0.9, 0], [0, 0.90001]], False, id="scores-that-tie"),
        pytest.param([[0, 0, 4, 4], [0, 0, 4, 2]], [[0.9, 0], [0.7, 0]], False, id="overlap-at-its-limit"),
        pytest.param([[0, 0, 4, 4], [0, 0, 4, 2]], [[0.9, 0], [0, 0.7]], True, id="of-other-classes"),
    ],
)
def test_a_row_has_a_margin_where_no_decision_is_close(boxes: list, scores: list, expected: bool) -> None:
    assert has_margin(np.array(boxes, float), np.array(scores), score=0.5, iou=0.5) is expected

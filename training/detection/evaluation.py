"""Measures a detector on held-out pictures. Knows Keras's side of a graph through `Graph.predict` alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from training.datasets import Dataset
from training.detection.geometry import intersection_over_union
from training.detection.metrics import AveragePrecision, average_precision, precision_and_recall
from training.detection.resampling import draws, mean_average_precision, ranked
from training.evidence.exhibit import Evaluation
from training.evidence.measures import percentile_bounds
from training.network import Answers, Graph

Floats = npt.NDArray[np.floating]

# A score that people take for sure; average precision counts the doubtful ones as well.
SURE = 0.5


def evaluate_many(graph: Graph, dataset: Dataset) -> Evaluation:
    """Measure what the graph gives: mAP over all detections, precision and recall of the sure ones."""
    answers = graph.predict(dataset.test.inputs)
    found = detections(answers)
    sure = [boxes[boxes[:, 5] >= SURE] for boxes in found]
    precision, recall = precision_and_recall(list(dataset.test.targets), sure)
    averaged, figures = _averaged(dataset, found)
    metrics = {
        "map_50": averaged.mean_at_half,
        "map_50_95": averaged.mean,
        f"precision_at_score_{SURE}": precision,
        f"recall_at_score_{SURE}": recall,
    }
    return Evaluation(answers, metrics, figures)


def evaluate_one(graph: Graph, dataset: Dataset) -> Evaluation:
    """Measure one class and one box per picture."""
    answers = graph.predict(dataset.test.inputs)
    truth = np.concatenate(list(dataset.test.targets))
    is_right = answers["probabilities"].argmax(axis=1) == truth[:, 4]
    overlaps = np.array(
        [
            intersection_over_union(box[None], true[None, :4])[0, 0]
            for box, true in zip(answers["box"].astype(np.float32), truth, strict=True)
        ]
    )
    averaged, figures = _averaged(dataset, detections(answers))
    metrics = {
        "right_and_localised": float(np.mean(is_right & (overlaps >= 0.5))),
        "accuracy": float(np.mean(is_right)),
        "mean_iou": float(overlaps.mean()),
        "map_50": averaged.mean_at_half,
        "map_50_95": averaged.mean,
    }
    return Evaluation(answers, metrics, figures)


def detections(answers: Answers) -> list[Floats]:
    """List what was found in each picture: [n, 6], left, top, right, bottom, class, score."""
    if "count" not in answers:
        probabilities = answers["probabilities"].astype(np.float64)
        best, surest = probabilities.argmax(axis=1), probabilities.max(axis=1)
        return list(np.column_stack([answers["box"], best, surest])[:, None])
    columns = [answers["boxes"], answers["classes"][..., None], answers["scores"][..., None]]
    together = np.concatenate([column.astype(np.float64) for column in columns], axis=-1)
    return [row[: int(count)] for row, count in zip(together, answers["count"].astype(np.int64), strict=True)]


def _averaged(dataset: Dataset, found: Sequence[Floats]) -> tuple[AveragePrecision, dict[str, Any]]:
    """Compute average precision, and what evaluation.json says of it."""
    assert dataset.labels is not None
    truths = list(dataset.test.targets)
    averaged = average_precision(truths, found, len(dataset.labels))
    objects = np.bincount(np.concatenate(truths)[:, 4].astype(np.int64), minlength=len(dataset.labels))
    per_class = {
        label: {
            "ap_50": _rounded(averaged.by_class_at_half[index]),
            "ap_50_95": _rounded(averaged.by_class[index]),
            "objects": int(objects[index]),
        }
        for index, label in enumerate(dataset.labels)
    }
    curves = averaged.precision[0].T.round(4)
    by_label = zip(dataset.labels, curves, objects, strict=True)
    return averaged, {
        "intervals": {"map_50": average_precision_interval(truths, found)},
        "per_class": per_class,
        "precision_at_recalls": {label: curve.tolist() for label, curve, count in by_label if count},
    }


def average_precision_interval(truths: Sequence[Floats], found: Sequence[Floats]) -> dict[str, Any]:
    """Bound mAP@0.5 with 95 % confidence, by drawing the pictures again and again."""
    classes = ranked(truths, found)
    drawn = np.concatenate([mean_average_precision(classes, times) for times in draws(classes)])
    # Where no picture that was drawn holds an object, there is nothing to find.
    return {**percentile_bounds(drawn[~np.isnan(drawn)]), "method": "bootstrap over the pictures, 95 %"}


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)

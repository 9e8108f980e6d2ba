"""What a network answered on each held-out row, for predictions.npz. Draws and measures nothing."""

from __future__ import annotations

import hashlib

import numpy as np

from model_store.predictions import Predictions
from training.datasets import Dataset
from training.datasets.dataset import digest
from training.detection.evaluation import detections
from training.evidence.evaluate import squared_errors
from training.evidence.exhibit import Evaluation
from training.network import ROWS_AT_ONCE, Floats, Network


def predictions(network: Network, dataset: Dataset, evaluation: Evaluation) -> Predictions | None:
    """Gather the rows' answers; None for an embedding, whose rows cannot be compared with those of another."""
    if network.task == "embedding":
        return None
    if network.task == "detection":
        return _detections(dataset, evaluation)
    rows, targets = rows_digest(dataset), dataset.test.targets
    if network.task == "clustering":
        return Predictions(
            rows=rows,
            kind="clustering",
            truth=None if dataset.labels is None else targets.astype(np.int32),
            predicted=evaluation.answers["label"].astype(np.int32),
        )
    answers = main_answers(network, evaluation)
    if network.task == "classification":
        truth = targets.astype(np.int32)
        return Predictions(
            rows=rows,
            kind="classification",
            truth=truth,
            predicted=answers.argmax(axis=1).astype(np.int32),
            probability=answers[np.arange(len(truth)), truth].astype(np.float16),
        )
    if network.task == "regression":
        return Predictions(rows=rows, kind="regression", truth=targets.astype(np.float32), predicted=answers[:, 0])
    errors = squared_errors(answers, network.targets(dataset.test).astype(np.float32))
    return Predictions(rows=rows, kind="reconstruction", error=errors.astype(np.float32))


def _detections(dataset: Dataset, evaluation: Evaluation) -> Predictions:
    """Put the boxes of all pictures one after the other: float32, as the graph gives them."""
    truths, found = list(dataset.test.targets), detections(evaluation.answers)
    return Predictions(
        rows=rows_digest(dataset),
        kind="detection",
        truth=np.concatenate(truths).astype(np.float32),
        predicted=np.concatenate(found).astype(np.float32),
        truth_counts=np.array([len(objects) for objects in truths], np.int32),
        predicted_counts=np.array([len(boxes) for boxes in found], np.int32),
    )


def rows_digest(dataset: Dataset) -> str:
    """Hash the held-out rows with their targets, a part at a time: they need not fit into the memory together."""
    total, rows = hashlib.sha256(), np.arange(len(dataset.test))
    for start in range(0, len(rows), ROWS_AT_ONCE):
        total.update(digest(dataset.test.part(rows[start : start + ROWS_AT_ONCE]).inputs).encode())
    targets = dataset.test.targets
    # There is a list of boxes for each picture.
    parts = [np.array([len(boxes) for boxes in targets]), *targets] if dataset.kind == "boxes" else [targets]
    total.update(digest(*parts).encode())
    return total.hexdigest()


def main_answers(network: Network, evaluation: Evaluation) -> Floats:
    """Give the first output of the main graph."""
    return evaluation.answers[network.main.outputs[0].name].astype(np.float32)

"""What a network answered on each held-out row, for predictions.npz. Draws and measures nothing."""

from __future__ import annotations

import hashlib

import numpy as np

from model_store.predictions import Predictions
from training.datasets import Dataset
from training.datasets.dataset import digest
from training.evidence.evaluate import squared_errors
from training.evidence.exhibit import Evaluation
from training.network import ROWS_AT_ONCE, Floats, Network


def predictions(network: Network, dataset: Dataset, evaluation: Evaluation) -> Predictions | None:
    """Gather the rows' answers; None for a task whose answers are not one class, one value or one picture."""
    if network.task not in ("classification", "regression", "reconstruction"):
        return None
    answers, targets = main_answers(network, evaluation), dataset.test.targets
    rows = rows_digest(dataset)
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


def rows_digest(dataset: Dataset) -> str:
    """Hash the held-out rows with their targets, a part at a time: they need not fit into the memory together."""
    total, inputs = hashlib.sha256(), dataset.test.inputs
    for start in range(0, len(dataset.test), ROWS_AT_ONCE):
        total.update(digest(inputs[start : start + ROWS_AT_ONCE]).encode())
    total.update(digest(dataset.test.targets).encode())
    return total.hexdigest()


def main_answers(network: Network, evaluation: Evaluation) -> Floats:
    """Give the first output of the main graph."""
    return evaluation.answers[network.main.outputs[0].name].astype(np.float32)

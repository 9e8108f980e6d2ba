"""Measures a fitted network on the held-out rows. Knows neither ONNX nor stores; draws nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from training.datasets import Dataset
from training.evidence import measures
from training.evidence.exhibit import Evaluation
from training.network import Floats, Network
from training.options import Task

# Far below what float32 can tell from 0, so that the logarithm of a wrong certainty stays finite (Keras's epsilon).
EPSILON = 1e-7
# Up to so many classes the five most probable ones say little.
FEW_CLASSES = 10
# An average precision up to which a detector has found nothing.
FEWEST_FOUND = 0.01


def evaluate(network: Network, dataset: Dataset) -> Evaluation:
    """Measure the network on the test split."""
    if network.evaluate is not None:
        return network.evaluate(network.main, dataset)
    answers = network.main.predict(network.main.sample(dataset.test.inputs))
    first = answers[network.main.outputs[0].name].astype(np.float32)
    if network.task == "classification":
        assert dataset.labels is not None
        return Evaluation(answers, *classification(first, dataset.test.targets.astype(np.int64), dataset.labels))
    if network.task == "regression":
        targets = dataset.test.targets.astype(np.float32)
        return Evaluation(answers, regression(first, targets), regression_details(first, targets))
    pixels = network.targets(dataset.test).astype(np.float32)
    return Evaluation(answers, reconstruction(first, pixels), reconstruction_details(first, pixels))


def no_better_than_guessing(task: Task, metrics: Mapping[str, float], dataset: Dataset) -> list[str]:
    """Tell if the same answer to every row would do as well: a line, or nothing."""
    if task == "classification":
        frequent = float(np.bincount(dataset.test.targets.astype(np.int64)).max() / len(dataset.test))
        poor = {"accuracy": (frequent, f"the most frequent class has {frequent:.4g} of the test rows")}
    elif task == "regression":
        poor = {"r2": (0.0, "the mean of the test rows has 0")}
    elif task == "detection":
        poor = {"map_50": (FEWEST_FOUND, "hardly a box is found")}
    else:
        poor = {}
    return [
        f"no better than guessing: {name} {metrics[name]:.4g}; {why}"
        for name, (reached, why) in poor.items()
        if name in metrics and metrics[name] <= reached
    ]


def classification(
    answers: Floats, targets: npt.NDArray[np.int64], labels: tuple[str, ...]
) -> tuple[dict[str, float], dict[str, Any]]:
    """Measure probabilities [n, classes] against class indices: accuracy, cross-entropy, and figures per class.

    Of more than ten classes also how often the true one is among the five most probable.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    predicted, classes = answers.argmax(axis=1), range(len(labels))
    certainty = np.clip(answers[np.arange(len(targets)), targets].astype(np.float64), EPSILON, 1.0)
    precision, recall, f1, support = precision_recall_fscore_support(
        targets, predicted, labels=list(classes), zero_division=0.0
    )
    metrics = {
        "accuracy": float(np.mean(predicted == targets)),
        "loss": float(-np.log(certainty).mean()),
        "macro_f1": float(np.mean(f1)),
    }
    if len(labels) > FEW_CLASSES:
        metrics[f"top_{measures.TOP_K}_accuracy"] = measures.top_k_accuracy(answers, targets)
    per_class = {
        labels[index]: {
            "precision": float(precision[index]),
            "recall": float(recall[index]),
            "f1": float(f1[index]),
            "support": int(support[index]),
        }
        for index in classes
    }
    matrix = confusion_matrix(targets, predicted, labels=list(classes))
    return metrics, {
        "intervals": {"accuracy": measures.wilson_interval(int(np.trace(matrix)), len(targets))},
        "per_class": per_class,
        "confusion_matrix": matrix.tolist(),
        "calibration": measures.calibration(answers, targets),
        "curves": measures.curves(answers, targets, labels),
    }


def regression(answers: Floats, targets: Floats) -> dict[str, float]:
    """Measure values [n, 1] against targets, in the data's own unit; r2 is the share of the variance explained."""
    error = answers[:, 0].astype(np.float64) - targets
    squared = float(np.mean(error**2))
    metrics = {"mean_absolute_error": float(np.mean(np.abs(error))), "mean_squared_error": squared}
    variance = float(np.var(targets.astype(np.float64)))
    if variance > 0:
        metrics["r2"] = 1 - squared / variance
    return metrics


def regression_details(answers: Floats, targets: Floats) -> dict[str, Any]:
    """Say how far the mean absolute error can be trusted, and how the errors of values [n, 1] are spread."""
    errors = np.abs(answers[:, 0].astype(np.float64) - targets)
    return {
        "intervals": {"mean_absolute_error": measures.bootstrap_interval(errors)},
        "residuals": measures.residuals(answers[:, 0], targets),
    }


def reconstruction(answers: Floats, pixels: Floats) -> dict[str, float]:
    """Measure reconstructed pixels against the originals, both in 0..1."""
    error = answers.astype(np.float64) - pixels
    squared = float(np.mean(error**2))
    return {"mean_squared_error": squared, "mean_absolute_error": float(np.mean(np.abs(error)))}


def reconstruction_details(answers: Floats, pixels: Floats) -> dict[str, Any]:
    """Say how far the mean squared error can be trusted."""
    return {"intervals": {"mean_squared_error": measures.bootstrap_interval(squared_errors(answers, pixels))}}


def squared_errors(answers: Floats, pixels: Floats) -> npt.NDArray[np.float64]:
    """Give each row's mean squared error."""
    error = (answers.astype(np.float64) - pixels) ** 2
    return np.asarray(error.reshape(len(error), -1).mean(axis=1))

"""Figures of quality, checked against small cases worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from training import datasets
from training.evidence.evaluate import classification, no_better_than_guessing, reconstruction, regression
from training.options import FileOptions, Task


def floats(*rows: object) -> np.ndarray:
    return np.array(rows, dtype=np.float32)


def test_a_classifier_is_measured_by_accuracy_first() -> None:
    answers = floats([0.9, 0.1], [0.4, 0.6], [0.5, 0.5], [0.2, 0.8])

    metrics, details = classification(answers, np.array([0, 1, 1, 0]), ("a", "b"))

    assert list(metrics) == ["accuracy", "loss", "macro_f1"]
    assert metrics["accuracy"] == 0.5
    assert metrics["loss"] == pytest.approx(-(math.log(0.9) + math.log(0.6) + math.log(0.5) + math.log(0.2)) / 4)
    assert details["confusion_matrix"] == [[1, 1], [1, 1]]
    assert details["per_class"]["a"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2}


def test_a_wrong_certainty_costs_much_but_not_infinitely() -> None:
    metrics, _ = classification(floats([1.0, 0.0]), np.array([1]), ("a", "b"))

    assert metrics["loss"] == pytest.approx(16.1, abs=0.1)


def test_a_class_that_is_never_right_counts_as_zero() -> None:
    _, details = classification(floats([1, 0, 0], [1, 0, 0]), np.array([0, 1]), ("a", "b", "c"))

    assert details["per_class"]["b"]["recall"] == 0
    assert details["per_class"]["c"]["support"] == 0


def test_a_regression_is_measured_in_the_unit_of_the_data() -> None:
    metrics = regression(floats([110], [190]), floats(100, 200))

    assert metrics == {"mean_absolute_error": 10.0, "mean_squared_error": 100.0, "r2": pytest.approx(0.96)}


def test_r2_is_left_out_where_all_targets_are_equal() -> None:
    assert "r2" not in regression(floats([1], [2]), floats(1, 1))


def test_a_reconstruction_is_measured_per_pixel() -> None:
    metrics = reconstruction(floats([0.0, 0.5]), floats([0.0, 1.0]))

    assert metrics == {"mean_squared_error": 0.125, "mean_absolute_error": 0.25}


@pytest.mark.parametrize(
    ("task", "data", "metrics", "complaint"),
    [
        ("classification", "iris", {"accuracy": 1 / 3}, "accuracy 0.3333; the most frequent class has 0.3333"),
        ("classification", "iris", {"accuracy": 0.4}, ""),
        ("regression", "diabetes", {"r2": -0.5}, "r2 -0.5; the mean of the test rows has 0"),
        ("regression", "diabetes", {"r2": 0.01}, ""),
        ("regression", "diabetes", {"mean_squared_error": 0.0}, ""),
        ("detection", "iris", {"map_50": 0.002}, "map_50 0.002; hardly a box is found"),
        ("detection", "iris", {"map_50": 0.3}, ""),
        ("clustering", "iris", {"accuracy": 0.0}, ""),
    ],
)
def test_a_model_that_guesses_is_said_to(task: Task, data: str, metrics: dict[str, float], complaint: str) -> None:
    said = no_better_than_guessing(task, metrics, datasets.load(data, FileOptions()))

    assert bool(said) == bool(complaint)
    assert all(complaint in line for line in said)

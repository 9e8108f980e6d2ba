"""Intervals, curves, calibration and residuals, checked against cases worked out by hand or known from tables."""

from __future__ import annotations

import numpy as np
import pytest

from training.evidence import measures

LABELS = ("a", "b", "c")


def test_an_interval_of_a_share_holds_for_few_rows_and_stays_inside() -> None:
    assert measures.wilson_interval(81, 263) == {
        "low": pytest.approx(0.2553, abs=1e-4),
        "high": pytest.approx(0.3662, abs=1e-4),
        "method": "Wilson, 95 %",
    }
    assert measures.wilson_interval(10, 10)["high"] == pytest.approx(1.0)
    assert measures.wilson_interval(0, 10)["low"] == 0


def test_a_bootstrap_bounds_the_mean_and_is_the_same_every_time() -> None:
    errors = np.arange(100.0)

    interval = measures.bootstrap_interval(errors)

    assert interval == measures.bootstrap_interval(errors)
    # The mean's standard error is 2.9.
    assert interval["low"] == pytest.approx(49.5 - 1.96 * 2.9, abs=0.5)
    assert interval["high"] == pytest.approx(49.5 + 1.96 * 2.9, abs=0.5)


def test_the_true_class_counts_among_the_k_most_probable() -> None:
    answers = np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.5, 0.3, 0.2]])

    assert measures.top_k_accuracy(answers, np.array([0, 1, 2]), k=2) == pytest.approx(2 / 3)


def test_calibration_is_the_gap_between_certainty_and_right_answers() -> None:
    answers = np.array([[0.95, 0.05]] * 4 + [[0.65, 0.35]] * 2)

    found = measures.calibration(answers, np.array([0, 0, 0, 1, 0, 1]))

    assert found["expected_calibration_error"] == pytest.approx((4 * 0.20 + 2 * 0.15) / 6)
    assert [(entry["from"], entry["rows"], entry["accuracy"]) for entry in found["bins"]] == [
        (0.6, 2, 0.5),
        (0.9, 4, 0.75),
    ]


def test_two_classes_have_one_curve_and_its_area() -> None:
    scores = np.array([0.1, 0.4, 0.35, 0.8])

    found = measures.curves(np.stack([1 - scores, scores], axis=1), np.array([0, 0, 1, 1]), ("no", "yes"))

    assert found["positive"] == "yes"
    assert found["roc"]["area"] == pytest.approx(0.75)
    assert found["precision_recall"]["area"] == pytest.approx(0.8333, abs=1e-4)
    assert (found["roc"]["x"][0], found["roc"]["y"][0], found["roc"]["y"][-1]) == (0, 0, 1)
    assert len(found["precision_recall"]["x"]) == len(found["precision_recall"]["y"]) == 101


def test_more_classes_are_traced_each_against_the_rest_where_they_have_rows() -> None:
    answers = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1]])

    found = measures.curves(answers, np.array([0, 1, 0, 1]), LABELS)

    assert set(found["per_class"]) == {"a", "b"}
    assert found["roc"]["area"] == 1.0


@pytest.mark.parametrize(
    ("targets", "labels"),
    [pytest.param([0, 0], LABELS, id="one-class"), pytest.param([0, 1], tuple(map(str, range(21))), id="many-classes")],
)
def test_there_are_no_curves_where_they_would_say_nothing(targets: list[int], labels: tuple[str, ...]) -> None:
    answers = np.full((2, len(labels)), 1 / len(labels))

    assert measures.curves(answers, np.array(targets), labels) == {}


def test_residuals_name_the_rows_that_are_farthest_off() -> None:
    found = measures.residuals(np.array([1.0, 5.0, 3.0]), np.array([1.0, 1.0, 4.0]))

    assert found["mean"] == 1.0
    assert found["farthest"][0] == {"test_row": 1, "true": 1.0, "predicted": 5.0}
    assert found["quantiles"]["50%"] == 0.0

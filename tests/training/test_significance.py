"""What is drawn again and again is measured as if it were there so many times; p-values are those of the definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from model_store.predictions import Predictions
from training.codes.rand_index import adjusted_rand_index, cells
from training.detection.metrics import average_precision
from training.detection.resampling import mean_average_precision, ranked
from training.evidence.significance import p_value_of, significance

CLASSES = 3


def scene(random: np.random.Generator, *, ties: bool) -> tuple[np.ndarray, np.ndarray]:
    """Objects [n, 5] and detections [m, 6] of a picture: some moved, some missed, some made up."""
    corners = random.integers(0, 5, (random.integers(0, 5), 2)) * 5.0
    objects = np.column_stack([corners, corners + 8, random.integers(0, CLASSES, len(corners))])
    moved = objects[random.random(len(objects)) < 0.8].copy()
    moved[:, :4] += random.normal(0, 1.5, (len(moved), 4))
    made_up = random.integers(0, 5, (random.integers(0, 3), 2)) * 5.0
    others = np.column_stack([made_up, made_up + 8, random.integers(0, CLASSES, len(made_up))])
    boxes = np.concatenate([moved, others])
    scores = random.random(len(boxes))
    return objects, np.column_stack([boxes, scores.round(1) if ties else scores])


@given(seed=st.integers(0, 10_000), times=st.lists(st.integers(0, 3), min_size=6, max_size=6), ties=st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_picture_that_is_drawn_twice_counts_twice(seed: int, times: list[int], ties: bool) -> None:
    random = np.random.default_rng(seed)
    truths, found = map(list, zip(*(scene(random, ties=ties) for _ in times), strict=True))
    drawn = [index for index, count in enumerate(times) for _ in range(count)]
    if not sum(len(truths[index]) for index in drawn):
        return

    ours = mean_average_precision(ranked(truths, found), np.array([times, [1] * 6]))

    again = average_precision([truths[index] for index in drawn], [found[index] for index in drawn], CLASSES)
    # The order of scores that tie within a picture is nobody's: A B A B there, A A B B here.
    assert ties or ours[0] == pytest.approx(again.mean_at_half)
    assert ours[1] == pytest.approx(average_precision(truths, found, CLASSES).mean_at_half)


def test_a_draw_without_an_object_measures_nothing() -> None:
    truths, found = [np.array([[0, 0, 5, 5, 0.0]]), np.zeros((0, 5))], [np.zeros((0, 6))] * 2

    assert mean_average_precision(ranked(truths, found), np.array([[0, 2], [1, 1]])) == pytest.approx(
        [np.nan, 0.0], nan_ok=True
    )


@given(
    parts=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=30),
)
@settings(max_examples=100, deadline=None)
def test_the_adjusted_rand_index_is_that_of_scikit_learn(parts: list[tuple[int, int, int]]) -> None:
    first, second, times = np.array(parts).T
    times[:2] += 1
    (one, other), rows = cells(np.repeat(first, times), np.repeat(second, times))

    ours = adjusted_rand_index(one, other, np.stack([rows, 2 * rows]))

    assert ours[0] == pytest.approx(adjusted_rand_score(np.repeat(first, times), np.repeat(second, times)))
    assert ours[1] == pytest.approx(adjusted_rand_score(np.repeat(first, 2 * times), np.repeat(second, 2 * times)))


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        pytest.param(np.ones(1999), 2 / 2000, id="all-on-one-side"),
        pytest.param(np.r_[np.ones(1900), -np.ones(99)], 2 * 100 / 2000, id="some-on-the-other"),
        pytest.param(np.zeros(1999), 1.0, id="no-difference"),
    ],
)
def test_the_p_value_counts_the_draws_on_the_other_side(differences: np.ndarray, p: float) -> None:
    assert p_value_of(differences) == pytest.approx(p)
    assert p_value_of(-differences) == pytest.approx(p)


def detections(random: np.random.Generator, truth: np.ndarray, hit: float) -> Predictions:
    found = np.column_stack([truth, random.random(len(truth))])
    found[random.random(len(truth)) > hit, :2] += 9
    counts = np.full(len(truth) // 2, 2)
    return Predictions(rows="", kind="detection", truth=truth, predicted=found, truth_counts=counts,
                       predicted_counts=counts)  # fmt: skip


def test_equal_detectors_are_seldom_told_apart() -> None:
    """Of 40 pairs that are equally good 2 are expected to differ; more than 6 would be a wrong test (p = 0.003)."""
    random, told = np.random.default_rng(0), 0
    for _ in range(40):
        corners = random.integers(0, 20, (80, 2)).astype(np.float64)
        truth = np.column_stack([corners, corners + 10, np.tile([0, 1], 40)])
        pair = detections(random, truth, 0.7), detections(random, truth, 0.7)
        told += significance(*pair, ("a", "b"))["significant"]
    assert told <= 6

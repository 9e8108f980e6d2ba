"""Anomalies, probes and clusters by themselves, without Keras: small cases that can be worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.codes import figures
from training.codes.anomaly import KNOTS, tail
from training.codes.clusters import agreement, k_means, silhouette, trials
from training.codes.probe import dense_weights, logistic_regression, some
from training.datasets import Rows
from training.errors import InvalidParameter
from training.evidence.figures import save
from training.recipes.cluster import ClusterParameters


def blobs(count: int, rows: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Make points around the corners of a polygon, far from each other, and say which corner each belongs to."""
    chance = np.random.default_rng(seed)
    labels = np.arange(count * rows) % count
    angles = 2 * np.pi * labels / count
    points = 10 * np.stack([np.cos(angles), np.sin(angles)], axis=1) + chance.normal(size=(len(labels), 2))
    return points.astype(np.float32), labels


# p-values


def p_values(scores: np.ndarray, held: np.ndarray) -> np.ndarray:
    found = tail(held.astype(np.float32), 0.01)
    return np.interp(scores, found.knots, found.shares)


def test_a_p_value_is_the_share_of_held_out_rows_that_score_at_least_as_high() -> None:
    held = np.random.default_rng(0).gamma(5, 0.002, 3000)
    scores = np.random.default_rng(1).gamma(5, 0.002, 500)
    exact = (1 + np.sum(held >= scores[:, None], axis=1)) / (1 + len(held))

    found = p_values(scores, held)

    np.testing.assert_allclose(found, exact, rtol=0.15, atol=0.01)


def test_p_values_fall_from_one_to_the_least_that_so_many_rows_can_tell() -> None:
    found = p_values(np.array([0.0, 0.5, 1.0, 2.0, 99.0]), np.linspace(0.5, 1.5, 99))

    assert found[0] == 1
    assert np.all(np.diff(found)[:3] < 0)
    assert found[-1] == pytest.approx(1 / 100)


@pytest.mark.parametrize("held", [np.array([0.3]), np.full(20, 0.3), np.array([0.1, 0.2])], ids=["one", "equal", "two"])
def test_few_or_equal_scores_still_give_rising_knots(held: np.ndarray) -> None:
    found = tail(held.astype(np.float32), 0.01)

    assert len(found.knots) == len(found.shares) == KNOTS + 1
    assert np.all(np.diff(found.knots) >= 0)
    assert np.all(np.diff(found.shares) <= 0)
    assert found.threshold == pytest.approx(held.max())


def test_the_threshold_is_the_score_that_so_many_held_out_rows_reach() -> None:
    held = np.random.default_rng(0).random(2000).astype(np.float32)

    assert np.mean(held >= tail(held, 0.05).threshold) == pytest.approx(0.05, abs=0.001)


# Probes


@pytest.mark.parametrize("classes", [2, 3])
def test_a_dense_layer_computes_what_the_regression_computes(classes: int) -> None:
    points, labels = blobs(classes)
    classifier = logistic_regression(points * 7 + 3, labels)

    kernel, bias = dense_weights(classifier)

    logits = (points * 7 + 3) @ kernel + bias
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(chances, classifier.predict_proba(points * 7 + 3), atol=1e-5)


def test_a_part_of_the_rows_keeps_every_class() -> None:
    targets = np.array([0] * 500 + [1] * 498 + [2] * 2)

    part = some(Rows(np.zeros((1000, 1), np.float32), targets), 100)

    assert len(part) == pytest.approx(100, abs=2)
    assert set(part.targets.tolist()) == {0, 1, 2}


# Clusters


def test_k_means_finds_the_centres_and_tells_every_step() -> None:
    points, _ = blobs(3)

    found = k_means(points, points[:30], 3, steps=50, seed=0)

    distances = np.linalg.norm(points[:, None] - found.centres, axis=2).min(axis=1)
    assert found.centres.shape == (3, 2)
    assert found.centres.dtype == np.float32
    assert distances.max() < 5
    assert sorted(found.history["loss"], reverse=True) == found.history["loss"]
    assert len(found.history["loss"]) == len(found.history["val_loss"]) < 50


def test_the_greatest_silhouette_tells_how_many_there_are() -> None:
    points, labels = blobs(4)

    tried = trials(points, 7)

    assert [trial.count for trial in tried] == [2, 3, 4, 5, 6, 7]
    assert max(tried, key=lambda trial: trial.silhouette).count == 4
    assert silhouette(points, labels) == pytest.approx(tried[2].silhouette, abs=0.01)
    assert silhouette(points, np.zeros_like(labels)) == 0


def test_clusters_agree_with_classes_whatever_they_are_called() -> None:
    classes = np.array([0, 0, 1, 1, 2, 2])

    assert agreement(np.array([2, 2, 0, 0, 1, 1]), classes) == pytest.approx(
        {"adjusted_rand_index": 1, "normalised_mutual_information": 1, "purity": 1}
    )
    assert agreement(np.zeros(6, np.int64), classes)["purity"] == pytest.approx(1 / 3)


def test_a_single_cluster_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="parameter clusters=1: expected at least 2, or 0"):
        ClusterParameters(clusters=1)


# Figures


def test_figures_come_out_small_whatever_is_drawn(tmp_path: Path) -> None:
    points, labels = blobs(30)
    drawn = [
        figures.plane(points, labels, [f"class {index}" for index in range(30)], "many classes"),
        figures.plane(points, None, (), "no classes"),
        figures.new_pictures(np.full((13, 4, 4, 3), 0.5, np.float32), "somewhere"),
        figures.anomaly_scores(np.array([0.5, 0.5]), 0.5),
        figures.elbow([2], [1.0], [0.5], 2),
        figures.explained_variance(np.array([1.0])),
        figures.nearest_pictures([np.zeros((2, 4, 4, 1)), np.zeros((0, 4, 4, 1))]),
    ]

    for figure in drawn:
        save(figure, tmp_path / "figure.png")
        assert (tmp_path / "figure.png").stat().st_size < 60_000

"""k-means, step by step; how many clusters suit; how well clusters agree with classes. Knows neither Keras nor files.

Sources: S. Lloyd, "Least Squares Quantization in PCM", 1982; D. Arthur, S. Vassilvitskii, "k-means++: The Advantages
of Careful Seeding", SODA 2007; P. Rousseeuw, "Silhouettes", J. Comput. Appl. Math. 20, 1987.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from training.datasets.dataset import Array
from training.network import Floats, History

RESTARTS = 4
# A step that gains less than this share of the mean squared distance is the last one.
LEAST_GAIN = 1e-5
# A silhouette compares each row with each other one.
MOST_ROWS = 2000

Labels = npt.NDArray[np.int64]
Rows = TypeVar("Rows", bound=Array)


@dataclass(frozen=True)
class Clustering:
    """Centres float32 [clusters, d], and the mean squared distance to the nearest of them after every step."""

    centres: Floats
    history: History


@dataclass(frozen=True)
class Trial:
    """How well so many clusters suit: the mean squared distance to the nearest centre, and the mean silhouette."""

    count: int
    inertia: float
    silhouette: float


def k_means(kept: Floats, held: Floats, count: int, *, steps: int, seed: int) -> Clustering:
    """Move centres among points [n, d] until they stand; of all steps and restarts keep those nearest to `held`."""
    runs = [_run(kept, held, count, steps, seed + restart) for restart in range(RESTARTS)]
    return min(runs, key=lambda run: min(run.history["val_loss"]))


def _run(kept: Floats, held: Floats, count: int, steps: int, seed: int) -> Clustering:
    from sklearn.cluster import KMeans, kmeans_plusplus

    history: History = {"loss": [], "val_loss": []}
    centres, best = kmeans_plusplus(kept, count, random_state=seed)[0], None
    for _ in range(steps):
        moved = KMeans(count, init=centres, n_init=1, max_iter=1).fit(kept)
        centres = moved.cluster_centers_
        history["loss"].append(float(moved.inertia_) / len(kept))
        history["val_loss"].append(-float(moved.score(held)) / len(held))
        if best is None or history["val_loss"][-1] < min(history["val_loss"][:-1]):
            best = centres
        if len(history["loss"]) > 1 and history["loss"][-2] - history["loss"][-1] <= LEAST_GAIN * history["loss"][-2]:
            break
    return Clustering(np.asarray(best, dtype=np.float32), history)


def trials(points: Floats, most: int) -> list[Trial]:
    """Try 2 to `most` clusters on points [n, d], a part of them if they are many."""
    from sklearn.cluster import KMeans

    part = sample(points, MOST_ROWS)
    tried = []
    for count in range(2, min(most, len(np.unique(part, axis=0)) - 1) + 1):
        found = KMeans(count, n_init=RESTARTS, random_state=0).fit(part)
        tried.append(Trial(count, float(found.inertia_) / len(part), silhouette(part, found.labels_)))
    return tried


def silhouette(points: Floats, labels: Labels) -> float:
    """Measure from -1 to 1 how much nearer points [n, d] are to their own cluster; 0 where there is but one."""
    from sklearn.metrics import silhouette_score

    different = len(np.unique(labels))
    return float(silhouette_score(points, labels)) if 2 <= different < len(points) else 0.0


def agreement(clusters: Labels, classes: Labels) -> dict[str, float]:
    """Compare clusters with classes, both int64 [n]; purity is the share of rows in the majority of their cluster."""
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    return {
        "adjusted_rand_index": float(adjusted_rand_score(classes, clusters)),
        "normalised_mutual_information": float(normalized_mutual_info_score(classes, clusters)),
        "purity": float(counts(clusters, classes, int(classes.max()) + 1).max(axis=1).sum() / len(classes)),
    }


def counts(clusters: Labels, classes: Labels, number: int) -> Labels:
    """Count the rows of each of so many classes (columns) in each cluster (rows)."""
    table = np.zeros((int(clusters.max()) + 1, number), dtype=np.int64)
    np.add.at(table, (clusters, classes), 1)
    return table


def sample(points: Rows, most: int) -> Rows:
    """Choose so many rows of an array at random, always the same."""
    if len(points) <= most:
        return points
    return points[np.random.default_rng(0).choice(len(points), most, replace=False)]  # type: ignore[return-value]

"""What the report of a clustering shows: the choice of how many, the components, the clusters and what lies in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.codes import figures
from training.codes.clusters import Labels, Trial, counts
from training.codes.exhibits import in_a_plane
from training.codes.spaces import Encoder, PrincipalComponents, Space
from training.datasets import Dataset
from training.evidence import figures as common_figures
from training.evidence.exhibit import Evaluation, Exhibit
from training.network import Floats, History

MOST_POINTS = 1000
PICTURES = 10
MOST_CLUSTERS = 20
MOST_COLUMNS = 12


@dataclass(frozen=True, kw_only=True)
class ClusterExhibits:
    """What is known of a clustering before its rows are looked at; `steps` are those of k-means, once it is done."""

    space: Space
    tried: Sequence[Trial]
    count: int
    steps: History

    def show(self, dataset: Dataset, evaluation: Evaluation) -> list[Exhibit]:
        """Draw them all, from what the graph answered on the test rows."""
        labels = evaluation.answers["label"].astype(np.int64)
        embedding = evaluation.answers["embedding"].astype(np.float32)
        shown = [self._elbow()] if self.tried else []
        if isinstance(self.space, PrincipalComponents):
            shown.append(explained_variance(self.space))
        if isinstance(self.space, Encoder):
            shown.append(self._steps())
        shown.append(self._plane(embedding, labels))
        if dataset.kind == "image":
            shown.append(_nearest(dataset, evaluation.answers["distances"].astype(np.float32)[:, :MOST_CLUSTERS]))
        if dataset.columns is not None:
            shown.append(_means(dataset, labels, dataset.columns[:MOST_COLUMNS]))
        if dataset.labels is not None:
            shown.append(_classes(dataset, labels, dataset.labels))
        return shown

    def _elbow(self) -> Exhibit:
        numbers, inertia, silhouettes = zip(
            *((trial.count, trial.inertia, trial.silhouette) for trial in self.tried), strict=True
        )
        return Exhibit(
            name="number_of_clusters",
            title="How many clusters",
            text="The number with the greatest silhouette was chosen"
            + (", among principal components. " if isinstance(self.space, Encoder) else ". ")
            + "Inertia: mean squared distance to the centre.",
            figure=figures.elbow(numbers, inertia, silhouettes, self.count),
        )

    def _steps(self) -> Exhibit:
        return Exhibit(
            name="k_means",
            title="The search for the centres",
            text="After the encoder was fitted, k-means moved the centres among its codes: an epoch is a step.",
            figure=common_figures.learning_curves(self.steps, "mean squared distance"),
        )

    def _plane(self, embedding: Floats, labels: Labels) -> Exhibit:
        points = embedding[:MOST_POINTS]
        # Of principal components the first two are the plane.
        is_sorted = isinstance(self.space, PrincipalComponents)
        points = np.pad(points, ((0, 0), (0, 1)))[:, :2] if is_sorted else in_a_plane(points)
        names = [str(index) for index in range(self.count)]
        drawn = figures.plane(points, labels[:MOST_POINTS], names, f"clusters of {len(points)} test rows")
        return Exhibit(name="clusters", title="The clusters in the plane", figure=drawn)


def explained_variance(components: PrincipalComponents) -> Exhibit:
    """Draw what principal components explain."""
    return Exhibit(
        name="explained_variance",
        title="Principal components",
        text="The share of the training rows' variance that the first components explain together.",
        figure=figures.explained_variance(components.explained),
    )


def _nearest(dataset: Dataset, distances: Floats) -> Exhibit:
    order = np.argsort(distances, axis=0)[:PICTURES].T
    pictures = [dataset.test.inputs[indices].astype(np.float32) / 255 for indices in order]
    return Exhibit(
        name="nearest_pictures",
        title="The pictures nearest to the centres",
        figure=figures.nearest_pictures(pictures),
    )


def _means(dataset: Dataset, labels: Labels, columns: Sequence[str]) -> Exhibit:
    rows = dataset.test.inputs.astype(np.float64)[:, : len(columns)]
    lines = [
        (str(index), str(int(np.sum(labels == index))), *(f"{mean:.4g}" for mean in rows[labels == index].mean(axis=0)))
        for index in np.unique(labels)
    ]
    return Exhibit(
        name="cluster_means",
        title="The mean row of each cluster",
        text="Of test rows, in the data's own units.",
        table=(("cluster", "rows", *columns), *lines),
    )


def _classes(dataset: Dataset, labels: Labels, names: Sequence[str]) -> Exhibit:
    table = counts(labels, dataset.test.targets.astype(np.int64), len(names))
    lines = [(str(index), *map(str, row)) for index, row in enumerate(table.tolist())]
    return Exhibit(
        name="clusters_and_classes",
        title="Clusters and classes",
        text="Test rows of each class in each cluster. The classes had no part in finding the clusters.",
        table=(("cluster", *names), *lines),
    )

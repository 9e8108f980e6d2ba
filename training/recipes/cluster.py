"""Clusters without labels: principal components, then k-means among them, as one graph.

`label` is the nearest centre's number, `distances` those to all centres, `embedding` the principal components in which
they are measured. A data set's classes have no part in the fit; where there are some, clusters are compared with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from model_store.manifest import OutputSpec
from training.codes.clusters import Trial, agreement, k_means, sample, silhouette, trials
from training.codes.components import PrincipalComponents
from training.datasets import Dataset, Rows
from training.errors import InvalidParameter
from training.evidence import Evaluation
from training.keras_graph import keras_graph
from training.network import Graph, History, Network, raw_input
from training.options import FitOptions
from training.parameters import Parameters, parameter
from training.recipes.recipe import Recipe

if TYPE_CHECKING:
    from training.codes.layers import Distances

MOST_TRIED_ROWS = 10_000
MOST_MEASURED_ROWS = 2000


@dataclass(frozen=True, kw_only=True)
class ClusterParameters(Parameters):
    """How many clusters, and in how many dimensions they are sought."""

    clusters: int = parameter(0, "how many; 0: as many as have the greatest silhouette", at_least=0, at_most=1000)
    most_clusters: int = parameter(15, "where clusters=0: how many are tried at most", at_least=2, at_most=100)
    components: int = parameter(
        16, "principal components in which distances are measured, at most", at_least=1, at_most=4096
    )

    def __post_init__(self) -> None:
        """Refuse a single cluster, which says nothing."""
        super().__post_init__()
        if self.clusters == 1:
            raise InvalidParameter("clusters", 1, expected="at least 2, or 0 for as many as have the best silhouette")


def build(parameters: ClusterParameters, dataset: Dataset) -> Network:
    """Build the network: raw pictures or features in; label, distances and embedding out."""
    import keras
    from keras import ops

    from training.codes.cluster_exhibits import ClusterExhibits
    from training.codes.layers import Distances

    if parameters.clusters >= len(dataset.train):
        raise InvalidParameter(
            "clusters", parameters.clusters, expected=f"fewer than the {len(dataset.train)} training rows"
        )
    components = PrincipalComponents(dataset, parameters.components)
    tried = [] if parameters.clusters else _trials(components, dataset, parameters.most_clusters)
    count = parameters.clusters or max(tried, key=lambda trial: trial.silhouette).count
    measure = Distances(count)
    distances = measure(components.outputs)
    # Not argmin: Keras makes it of an operator that ONNX lacks.
    nearest = ops.squeeze(ops.top_k(-distances, 1)[1], axis=1)
    model = keras.Model(components.inputs, [ops.cast(nearest, "int64"), distances, components.outputs])
    graph = keras_graph(model, raw_input(dataset), _outputs(count, components.size))
    clusters = Clusters(graph, components, measure)
    return Network(
        task="clustering",
        graphs=(graph,),
        learn=clusters.learn,
        evaluate=clusters.evaluate,
        exhibits=ClusterExhibits(components=components, tried=tried, count=count).show,
        history_unit="mean squared distance",
    )


def _trials(components: PrincipalComponents, dataset: Dataset, most: int) -> list[Trial]:
    rows = sample(dataset.train.inputs, MOST_TRIED_ROWS)
    return trials(components.fit(rows, seed=0), most)


def _outputs(count: int, size: int) -> tuple[OutputSpec, ...]:
    return (
        OutputSpec(name="label", dtype="int64", shape=(None,), kind="label"),
        OutputSpec(name="distances", dtype="float32", shape=(None, count), kind="score"),
        OutputSpec(name="embedding", dtype="float32", shape=(None, size), kind="embedding"),
    )


@dataclass(frozen=True)
class Clusters:
    """The graph, and the two layers of it that are fitted, neither of them by Keras."""

    graph: Graph
    components: PrincipalComponents
    measure: Distances

    def learn(self, kept: Rows, held: Rows, options: FitOptions) -> History:
        """Find the components of the rows, then the centres among them: an epoch is a step of k-means."""
        points, checked = self.components.fit(kept.inputs, options.seed), self.components.embed(held.inputs)
        found = k_means(points, checked, self.measure.count, steps=options.epochs, seed=options.seed)
        self.measure.set_weights([found.centres])
        return found.history

    def evaluate(self, dataset: Dataset) -> Evaluation:
        """Measure how dense and how far apart the clusters of the test rows are, and how they agree with classes."""
        answers = self.graph.predict(dataset.test.inputs)
        labels, points = answers["label"].astype(np.int64), answers["embedding"].astype(np.float32)
        nearest = answers["distances"].astype(np.float64).min(axis=1)
        metrics = {
            "silhouette": silhouette(points[:MOST_MEASURED_ROWS], labels[:MOST_MEASURED_ROWS]),
            "inertia": float(np.mean(nearest**2)),
            "explained_variance": float(self.components.explained.sum(dtype=np.float64)),
        }
        if dataset.labels is not None:
            metrics |= agreement(labels, dataset.test.targets.astype(np.int64))
        rows = np.bincount(labels, minlength=self.measure.count)
        return Evaluation(answers, metrics, {"clusters": self.measure.count, "rows_per_cluster": rows.tolist()})


RECIPE = Recipe(
    name="cluster",
    summary="principal components and k-means: clusters of pictures or rows, whatever their labels are",
    parameters=ClusterParameters(),
    fit=FitOptions(epochs=100),
    default_dataset="digits",
    learns={"image": ("clustering",), "features": ("clustering",)},
    build=build,
    unsupervised="clustering",
)

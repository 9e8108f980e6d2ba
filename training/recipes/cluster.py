"""Clusters without labels: k-means among principal components, an encoder's codes, or all numbers; as one graph.

`label` is the nearest centre's number, `distances` those to all centres, `embedding` the point that they are measured
from. A data set's classes have no part in the fit; where there are some, clusters are compared with them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from model_store.manifest import OutputSpec
from training.codes.clusters import Trial, agreement, k_means, sample, silhouette, trials
from training.codes.spaces import Encoder, PrincipalComponents, Raw, Space
from training.datasets import Dataset, Rows
from training.errors import InvalidParameter
from training.evidence.exhibit import Evaluation
from training.exporting.keras_graph import keras_graph
from training.network import Graph, History, Network, raw_input
from training.options import FIT_OPTIONS, FitOptions
from training.parameters import Parameters, parameter
from training.recipes.recipe import Recipe

if TYPE_CHECKING:
    from training.codes.layers import Distances

MOST_TRIED_ROWS = 10_000
MOST_MEASURED_ROWS = 2000
# Of k-means after the fit of an encoder, whose epochs the options count; it stops far sooner by itself.
MOST_STEPS = 100
HEEDED_BY_K_MEANS = ("epochs", "validation_split", "seed")


@dataclass(frozen=True, kw_only=True)
class ClusterParameters(Parameters):
    """How many clusters, and where they are sought."""

    clusters: int = parameter(0, "how many; 0: as many as have the greatest silhouette", at_least=0, at_most=1000)
    most_clusters: int = parameter(15, "where clusters=0: how many are tried at most", at_least=2, at_most=100)
    space: str = parameter(
        "pca",
        "where distances are measured: principal components, codes of an encoder that is fitted first, or all numbers",
        choices=("pca", "encoder", "raw"),
    )
    components: int = parameter(
        16, "pca, encoder: numbers in which distances are measured, at most", at_least=1, at_most=4096
    )
    hidden: tuple[int, ...] = parameter(
        (128,), "encoder: units of its layers; the decoder has them backwards", at_least=1, at_most=16_384
    )

    def __post_init__(self) -> None:
        """Refuse a single cluster, which says nothing."""
        super().__post_init__()
        if self.clusters == 1:
            raise InvalidParameter("clusters", 1, expected="at least 2, or 0 for as many as have the best silhouette")


def build(parameters: ClusterParameters, dataset: Dataset) -> Network:
    """Build the network: raw pictures or features in; label, distances and embedding out."""
    from training.codes.cluster_exhibits import ClusterExhibits
    from training.codes.layers import Distances

    if parameters.clusters >= len(dataset.train):
        raise InvalidParameter(
            "clusters", parameters.clusters, expected=f"fewer than the {len(dataset.train)} training rows"
        )
    space = _space(parameters, dataset)
    tried = [] if parameters.clusters else _trials(space, parameters, dataset)
    count = parameters.clusters or max(tried, key=lambda trial: trial.silhouette).count
    measure = Distances(count)
    graph = keras_graph(_nearest(space, measure), raw_input(dataset), _outputs(count, space.size))
    clusters = Clusters(space, measure, steps={})
    parts: dict[str, Any] = {
        "task": "clustering",
        "graphs": (graph,),
        "evaluate": clusters.evaluate,
        "exhibits": ClusterExhibits(space=space, tried=tried, count=count, steps=clusters.steps).show,
    }
    if not isinstance(space, Encoder):
        return Network(**parts, learn=clusters.learn, history_unit="mean squared distance")
    return Network(
        **parts,
        fitted=space.fitted,
        targets=space.targets,
        loss="mean_squared_error",
        after_fit=clusters.after_fit,
        history_unit="mean squared error of scaled numbers",
    )


def _space(parameters: ClusterParameters, dataset: Dataset) -> Space:
    if parameters.space == "encoder":
        return Encoder(dataset, parameters.components, parameters.hidden)
    return Raw(dataset) if parameters.space == "raw" else PrincipalComponents(dataset, parameters.components)


def _trials(space: Space, parameters: ClusterParameters, dataset: Dataset) -> list[Trial]:
    """Try numbers of clusters; among principal components where the codes are not there yet."""
    tried_in = PrincipalComponents(dataset, parameters.components) if isinstance(space, Encoder) else space
    rows = sample(dataset.train.inputs, MOST_TRIED_ROWS)
    return trials(tried_in.fit(rows, seed=0), parameters.most_clusters)


def _nearest(space: Space, measure: Distances) -> Any:
    """Put the centres on top of the space: raw inputs → label, distances, point."""
    import keras
    from keras import ops

    distances = measure(space.outputs)
    # Not argmin: Keras makes it of an operator that ONNX lacks.
    label = ops.squeeze(ops.top_k(-distances, 1)[1], axis=1)
    return keras.Model(space.inputs, [ops.cast(label, "int64"), distances, space.outputs])


def _outputs(count: int, size: int) -> tuple[OutputSpec, ...]:
    return (
        OutputSpec(name="label", dtype="int64", shape=(None,), kind="label"),
        OutputSpec(name="distances", dtype="float32", shape=(None, count), kind="score"),
        OutputSpec(name="embedding", dtype="float32", shape=(None, size), kind="embedding"),
    )


@dataclass(frozen=True)
class Clusters:
    """What is found beside Keras's fit; `steps` is what k-means did, once it is done."""

    space: Space
    measure: Distances
    steps: History

    def learn(self, kept: Rows, held: Rows, options: FitOptions) -> History:
        """Find the space by the rows, then the centres in it: an epoch is a step of k-means."""
        points, checked = self.space.fit(kept.inputs, options.seed), self.space.embed(held.inputs)
        found = k_means(points, checked, self.measure.count, steps=options.epochs, seed=options.seed)
        self.measure.set_weights([found.centres])
        self.steps.update(found.history)
        return found.history

    def after_fit(self, kept: Rows, held: Rows) -> None:
        """Find the centres among the codes of an encoder that Keras has fitted."""
        self.learn(kept, held, FitOptions(epochs=MOST_STEPS))

    def evaluate(self, graph: Graph, dataset: Dataset) -> Evaluation:
        """Measure how dense and how far apart the clusters of the test rows are, and how they agree with classes."""
        answers = graph.predict(dataset.test.inputs)
        labels, points = answers["label"].astype(np.int64), answers["embedding"].astype(np.float32)
        nearest = answers["distances"].astype(np.float64).min(axis=1)
        metrics = {
            "silhouette": silhouette(points[:MOST_MEASURED_ROWS], labels[:MOST_MEASURED_ROWS]),
            "inertia": float(np.mean(nearest**2)),
        }
        if isinstance(self.space, PrincipalComponents):
            metrics["explained_variance"] = float(self.space.explained.sum(dtype=np.float64))
        if isinstance(self.space, Encoder):
            metrics["mean_squared_error"] = self.space.error(dataset.test.inputs)
        if dataset.labels is not None:
            metrics |= agreement(labels, dataset.test.targets.astype(np.int64))
        rows = np.bincount(labels, minlength=self.measure.count)
        return Evaluation(answers, metrics, {"clusters": self.measure.count, "rows_per_cluster": rows.tolist()})


def heeds(parameters: ClusterParameters) -> Collection[str]:
    """Tell which options of the fit mean something; the loss is always the mean squared error."""
    return FIT_OPTIONS - {"loss"} if parameters.space == "encoder" else HEEDED_BY_K_MEANS


RECIPE = Recipe(
    name="cluster",
    summary="k-means among principal components or an encoder's codes: clusters of pictures or rows without labels",
    parameters=ClusterParameters(),
    fit=FitOptions(epochs=100),
    default_dataset="digits",
    learns={"image": ("clustering",), "features": ("clustering",)},
    build=build,
    unsupervised="clustering",
    heeds=heeds,
    float32_only="rows that lie about as near to two centres would change their cluster by rounding",
)

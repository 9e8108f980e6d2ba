"""An embedding: few numbers that stand for a picture or a row, and how much of it they leave out; as one graph.

`embedding` is the point among principal components or the code of an encoder, `reconstruction_error` the mean squared
difference between the scaled row and what is made of its point again. Labels have no part in the fit.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from model_store.manifest import OutputSpec
from training.codes.spaces import Encoder, PrincipalComponents
from training.datasets import Dataset, Rows
from training.evidence.exhibit import Evaluation, Exhibit
from training.exporting.keras_graph import keras_graph
from training.network import Graph, History, Network, raw_input
from training.options import FIT_OPTIONS, FitOptions
from training.parameters import Parameters, parameter
from training.recipes.recipe import Recipe

# An error below this share of a row's mean square is float32's rounding, of which no two programs have the same:
# as many components as a table has columns leave nothing out.
ROUNDING = 1e-9
HEEDED_BY_PCA = ("validation_split", "seed")


@dataclass(frozen=True, kw_only=True)
class EmbedParameters(Parameters):
    """What an embedding is made of."""

    space: str = parameter(
        "pca", "what stands for a row: its principal components, or its code by an encoder", choices=("pca", "encoder")
    )
    components: int = parameter(16, "numbers in the embedding, at most", at_least=1, at_most=4096)
    hidden: tuple[int, ...] = parameter(
        (128,), "encoder: units of its layers; the decoder has them backwards", at_least=1, at_most=16_384
    )


def build(parameters: EmbedParameters, dataset: Dataset) -> Network:
    """Build the network: raw pictures or features in; embedding and reconstruction_error out."""
    space: Encoder | PrincipalComponents
    if parameters.space == "encoder":
        space = Encoder(dataset, parameters.components, parameters.hidden)
    else:
        space = PrincipalComponents(dataset, parameters.components)
    graph = keras_graph(_with_error(space), raw_input(dataset), _outputs(space.size))
    parts: dict[str, Any] = {
        "task": "embedding",
        "graphs": (graph,),
        "evaluate": partial(_evaluate, space),
        "exhibits": lambda dataset, _: _exhibits(graph, space, dataset),
        "history_unit": "mean squared error of scaled numbers",
    }
    if isinstance(space, Encoder):
        return Network(**parts, fitted=space.fitted, targets=space.targets, loss="mean_squared_error")
    return Network(**parts, learn=partial(_find_components, graph, space))


def _with_error(space: Encoder | PrincipalComponents) -> Any:
    import keras
    from keras import ops

    error = ops.mean(ops.square(space.numbers - space.reconstruction), axis=1)
    rounding = ROUNDING * ops.mean(ops.square(space.numbers), axis=1)
    return keras.Model(space.inputs, [space.outputs, ops.where(error > rounding, error, 0.0)])


def _outputs(size: int) -> tuple[OutputSpec, ...]:
    return (
        OutputSpec(name="embedding", dtype="float32", shape=(None, size), kind="embedding"),
        OutputSpec(name="reconstruction_error", dtype="float32", shape=(None,), kind="score"),
    )


def _find_components(
    graph: Graph, components: PrincipalComponents, kept: Rows, held: Rows, options: FitOptions
) -> History:
    """Find them in one go: the history has one epoch."""
    components.fit(kept.inputs, options.seed)
    return {"loss": [_mean_error(graph, kept)], "val_loss": [_mean_error(graph, held)]}


def _mean_error(graph: Graph, rows: Rows) -> float:
    return float(np.mean(graph.predict(rows.inputs)["reconstruction_error"].astype(np.float64)))


def _evaluate(space: Encoder | PrincipalComponents, graph: Graph, dataset: Dataset) -> Evaluation:
    """Measure which share of the test rows' variance the embedding keeps, and what it leaves out."""
    answers = graph.predict(dataset.test.inputs)
    squared = float(np.mean(answers["reconstruction_error"].astype(np.float64)))
    variance = float(np.mean(space.scaling.numbers(dataset.test.inputs).var(axis=0, dtype=np.float64)))
    explained = {"explained_variance": 1 - squared / variance} if variance > 0 else {}
    return Evaluation(answers, {**explained, "mean_squared_error": squared})


def _exhibits(graph: Graph, space: Encoder | PrincipalComponents, dataset: Dataset) -> list[Exhibit]:
    from training.codes.cluster_exhibits import explained_variance
    from training.codes.exhibits import code_plane

    explained = [explained_variance(space)] if isinstance(space, PrincipalComponents) else []
    return [*explained, code_plane(graph, dataset)]


def heeds(parameters: EmbedParameters) -> Collection[str]:
    """Tell which options of the fit mean something; the loss is always the mean squared error."""
    return FIT_OPTIONS - {"loss"} if parameters.space == "encoder" else HEEDED_BY_PCA


RECIPE = Recipe(
    name="embed",
    summary="few numbers that stand for a picture or a row, and how much they leave out; labels are not needed",
    parameters=EmbedParameters(),
    fit=FitOptions(),
    default_dataset="digits",
    learns={"image": ("embedding",), "features": ("embedding",)},
    build=build,
    unsupervised="embedding",
    heeds=heeds,
)

"""Tables of numbers and categories: dense layers on a matrix that the published graph makes of the raw columns.

Two classes: one sigmoid unit, published as two probabilities. More: a softmax. Values: fitted to targets of mean 0
and deviation 1, and scaled back inside the graph. Missing numbers, unknown categories and the scale of each column
are the front's business (`training.tables.front`), so that a client sends its rows as they are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from model_store.manifest import OutputSpec
from training.datasets import Dataset, Rows
from training.datasets.dataset import Array
from training.evidence.exhibit import Evaluation, Exhibit
from training.exporting.keras_graph import keras_graph
from training.network import Graph, Network, probabilities
from training.options import FitOptions
from training.parameters import Parameters, parameter
from training.recipes.dnn import ACTIVATIONS, hidden_layers
from training.recipes.recipe import Recipe
from training.recipes.regression import regression


@dataclass(frozen=True, kw_only=True)
class TabularParameters(Parameters):
    """How categories become columns, and the layers behind them."""

    hidden: tuple[int, ...] = parameter(
        (64, 32), "units of each hidden layer; nothing: no hidden layer", at_least=1, at_most=16_384, may_be_empty=True
    )
    activation: str = parameter("relu", "activation of the hidden layers", choices=ACTIVATIONS)
    batch_normalization: bool = parameter(False, "normalise before each activation")
    dropout: float = parameter(0.1, "share of the units that is dropped while fitting", at_least=0, below=1)
    rare_rows: int = parameter(
        5, "a category with fewer training rows is one of the others", at_least=1, at_most=1_000_000
    )
    most_categories: int = parameter(
        100, "categories of a column that are told apart: the most frequent ones", at_least=1, at_most=10_000
    )
    labels: str = parameter(
        "sparse",
        "three classes or more: fit to their numbers, or to rows of 0 and 1",
        choices=("sparse", "one_hot"),
        searched=False,  # the loss is the same
    )


def build(parameters: TabularParameters, dataset: Dataset) -> Network:
    """Build the network: raw columns in, probabilities or a value out."""
    import keras

    from training.tables.front import TableFront, as_table, unused_name

    assert dataset.columns is not None
    names = dataset.columns
    front = TableFront.for_table(
        as_table(dataset.train.inputs, names),
        rare_rows=parameters.rare_rows,
        most_categories=parameters.most_categories,
    )

    def encode(inputs: Array) -> Array:
        return front.encode(as_table(inputs, names))

    def graph(model: keras.Model, output: OutputSpec) -> Graph:
        return keras_graph(
            model,
            front.inputs,
            output.model_copy(update={"name": unused_name(output.name, names)}),
            before=(front,),
            encode=encode,
            sample=lambda inputs: as_table(inputs, names),
        )

    matrix = keras.Input((front.width,))
    x = hidden_layers(
        matrix,
        parameters.hidden,
        activation=parameters.activation,
        batch_normalization=parameters.batch_normalization,
        dropout=parameters.dropout,
    )
    if dataset.labels is None:
        return _regression(matrix, x, dataset, encode, graph)
    if len(dataset.labels) == 2:
        return _binary(matrix, x, dataset, encode, graph)
    return _multi_class(matrix, x, dataset, encode, graph, one_hot=parameters.labels == "one_hot")


Encode = Callable[[Array], Array]
MakeGraph = Callable[[Any, OutputSpec], Graph]


def _binary(matrix: Any, x: Any, dataset: Dataset, encode: Encode, graph: MakeGraph) -> Network:
    """Fit one unit, the probability of the second class; publish a probability for each."""
    import keras
    from keras import layers

    second = layers.Dense(1, activation="sigmoid")(x)
    both = layers.Concatenate()([1.0 - second, second])
    main = graph(keras.Model(matrix, both), probabilities(dataset))
    return Network(
        task="classification",
        fitted=keras.Model(matrix, second),
        graphs=(main,),
        encode=encode,
        targets=lambda rows: rows.targets.astype(np.float32)[:, None],
        loss="binary_crossentropy",
        exhibits=_exhibits(main),
    )


def _multi_class(matrix: Any, x: Any, dataset: Dataset, encode: Encode, graph: MakeGraph, *, one_hot: bool) -> Network:
    import keras
    from keras import layers

    assert dataset.labels is not None
    identity = np.eye(len(dataset.labels), dtype=np.float32)
    model = keras.Model(matrix, layers.Dense(len(dataset.labels), activation="softmax")(x))
    main = graph(model, probabilities(dataset))

    def targets(rows: Rows) -> Array:
        return identity[rows.targets.astype(np.int64)] if one_hot else rows.targets

    return Network(
        task="classification",
        fitted=model,
        graphs=(main,),
        encode=encode,
        targets=targets,
        loss="categorical_crossentropy" if one_hot else None,
        exhibits=_exhibits(main),
    )


def _regression(matrix: Any, x: Any, dataset: Dataset, encode: Encode, graph: MakeGraph) -> Network:
    from keras import layers

    network = regression(matrix, layers.Dense(1)(x), dataset, graph)
    return dataclasses.replace(network, encode=encode, exhibits=_exhibits(network.main))


def _exhibits(main: Graph) -> Callable[[Dataset, Evaluation], list[Exhibit]]:
    """Show which columns the answers rest on, and what was noticed about the data."""
    from training.evidence import figures
    from training.tables.importance import importances

    def exhibits(dataset: Dataset, _: Evaluation) -> list[Exhibit]:
        def answer(table: Array) -> Any:
            return main.answer(table)[main.outputs[0].name]

        found = importances(answer, main.sample(dataset.test.inputs), dataset.test.targets)
        error = "mean absolute error" if dataset.labels is None else "cross-entropy"
        importance = Exhibit(
            name="column_importance",
            title="Columns by importance",
            text=f"What shuffling one column among held-out rows adds to the {error}; columns that tell the same "
            "stand in for each other.",
            figure=figures.importances(
                [(one.column, one.mean, one.deviation) for one in found], f"added to the {error}"
            ),
            table=(
                ("column", f"added to the {error}", "±"),
                *((one.column, f"{one.mean:.4g}", f"{one.deviation:.2g}") for one in found),
            ),
        )
        noticed = Exhibit(name="noticed", title="Noticed in the data", notes=tuple(dataset.notes))
        return [importance, noticed] if dataset.notes else [importance]

    return exhibits


RECIPE = Recipe(
    name="tabular",
    summary="tables of numbers and categories, gaps and all: classes or a value; takes raw columns by name",
    parameters=TabularParameters(),
    fit=FitOptions(epochs=50, patience=5),
    default_dataset="wine",
    learns={"table": ("classification", "regression"), "features": ("classification", "regression")},
    build=build,
)

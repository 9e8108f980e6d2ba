"""A new answer on top of a network that has learned to see: first the answer alone, then the last layers with it.

The base's size, colours and scaling are part of the published graph: a client sends its pictures as they are.
Batch normalisation stays as the base learned it (keras.io, "Transfer learning and fine-tuning", F. Chollet; after
J. Yosinski and others, "How transferable are features in deep neural networks?", arXiv:1411.1792).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from training import bases
from training.bases import APPLICATIONS, Base
from training.datasets import Dataset, Rows
from training.datasets.dataset import Array
from training.evidence import Exhibit
from training.keras_graph import keras_graph
from training.network import Graph, History, Network, Stage, probabilities, raw_input
from training.options import FitOptions
from training.parameters import Parameters, parameter
from training.recipes.cnn import AUGMENTATIONS, POOLINGS, augmentation_layers, pooled
from training.recipes.recipe import Recipe

# Red, green and blue as the eye weighs them (ITU-R BT.601).
LUMINANCE = (0.299, 0.587, 0.114)
EPSILON = 1e-7


@dataclass(frozen=True, kw_only=True)
class TransferParameters(Parameters):
    """The base, and what of it learns."""

    base: str = parameter(
        "mobilenet_v2", f"{', '.join(APPLICATIONS)}; or the path of a model that cnn trained with keep_keras=true"
    )
    weights: str = parameter("imagenet", "of an application: imagenet (a download), none, or the path of a file")
    size: int = parameter(96, "height and width in which an application sees the pictures", at_least=16, at_most=1024)
    pooling: str = parameter(
        "average",
        "what becomes of the base's features: the average over all places, or every place counts (flatten: better for "
        "small pictures and a base of cnn's)",
        choices=POOLINGS,
    )
    units: int = parameter(0, "units of a dense layer before the answer; 0: no such layer", at_least=0, at_most=16_384)
    dropout: float = parameter(0.2, "share of the features that is dropped while fitting", at_least=0, below=1)
    augmentation: tuple[str, ...] = parameter(
        (), "changes by chance to the pictures that are learned from", choices=AUGMENTATIONS, may_be_empty=True
    )
    tuned_layers: int = parameter(20, "last layers of the base that learn in the end; 0: none", at_least=0)
    tuned_epochs: int = parameter(10, "passes of that fine-tuning at most", at_least=1, at_most=10_000)
    tuned_learning_rate: float = parameter(0.0001, "its learning rate, a small one", above=0, at_most=10)


def build(parameters: TransferParameters, dataset: Dataset) -> Network:
    """Build the network: raw pictures in, probabilities out; the base is frozen until the fine-tuning."""
    import keras
    from keras import layers

    assert dataset.labels is not None
    base = _base(parameters)
    base.model.trainable = False
    inputs = keras.Input(dataset.train.inputs.shape[1:], dtype="uint8")
    pixels = _augmented(parameters.augmentation, layers.Rescaling(1.0)(inputs))
    x = base.scale(_as_seen_by(base, pixels))
    x = pooled(parameters.pooling, base.model(x, training=False))
    if parameters.units:
        x = layers.Dense(parameters.units, activation="relu")(x)
    x = layers.Dropout(parameters.dropout)(x)
    model = keras.Model(inputs, layers.Dense(len(dataset.labels), activation="softmax")(x))
    return _in_two_stages(parameters, base, model, keras_graph(model, raw_input(dataset), probabilities(dataset)))


def _base(parameters: TransferParameters) -> Base:
    if parameters.base in APPLICATIONS:
        return bases.application(parameters.base, weights=parameters.weights, size=parameters.size)
    return bases.of_cnn(Path(parameters.base).expanduser())


def _augmented(names: Sequence[str], pixels: Any) -> Any:
    """Change pixels 0..255 by chance while fitting."""
    from keras import layers

    if not names:
        return pixels
    x = layers.Rescaling(1 / 255)(pixels)
    for layer in augmentation_layers(names):
        x = layer(x)
    return layers.Rescaling(255.0)(x)


def _as_seen_by(base: Base, pixels: Any) -> Any:
    """Bring pixels 0..255 to the base's size and colours."""
    from keras import layers, ops

    height, width, channels = base.shape
    if pixels.shape[1:3] != (height, width):
        pixels = layers.Resizing(height, width)(pixels)
    if channels == pixels.shape[-1]:
        return pixels
    if channels == 1:
        return ops.sum(pixels * np.array(LUMINANCE, np.float32), axis=-1, keepdims=True)
    return layers.Concatenate()([pixels] * channels)


@dataclass
class _FineTuning:
    """What happens between the two stages, and after them: the better of both is kept."""

    base: Base
    model: Any
    graph: Graph
    layers: int
    weights: list[Array] = field(default_factory=list)
    history: History = field(default_factory=dict)
    epochs_before: int = 0

    def begin(self) -> None:
        """Remember what the answer alone has come to, and let the last layers learn."""
        self.weights = self.model.get_weights()
        self.history = dict(self.model.history.history)
        self.epochs_before = len(self.history["loss"])
        bases.thaw(self.base.model, self.layers)

    def keep_the_better(self, _: Rows, held: Rows) -> None:
        """Go back to the weights before the fine-tuning if it has made nothing better."""
        self.history = {name: [*values, *self.model.history.history[name]] for name, values in self.history.items()}
        tuned, tuned_loss = self.model.get_weights(), self._loss(held)
        self.model.set_weights(self.weights)
        if self._loss(held) > tuned_loss:
            self.model.set_weights(tuned)

    def _loss(self, rows: Rows) -> float:
        answers = self.graph.predict_first(rows.inputs)
        certainty = answers[np.arange(len(rows)), rows.targets.astype(np.int64)].astype(np.float64)
        return float(-np.log(np.clip(certainty, EPSILON, 1.0)).mean())

    def exhibit(self, *_: object) -> list[Exhibit]:
        """Show both stages in one figure."""
        from training import figures

        drawn = figures.stages(self.history, self.epochs_before, "fine-tuning begins")
        return [Exhibit(name="fine_tuning", title="First the answer alone, then the base's last layers", figure=drawn)]


def _in_two_stages(parameters: TransferParameters, base: Base, model: Any, graph: Graph) -> Network:
    """Let the options govern the first stage, and the recipe's own parameters the second."""
    if not parameters.tuned_layers:
        return Network(task="classification", fitted=model, graphs=(graph,))
    tuning = _FineTuning(base, model, graph, parameters.tuned_layers)
    second = Stage(
        name="fine-tuning",
        epochs=parameters.tuned_epochs,
        learning_rate=parameters.tuned_learning_rate,
        begin=tuning.begin,
    )
    return Network(
        task="classification",
        fitted=model,
        graphs=(graph,),
        further_stages=(second,),
        after_fit=tuning.keep_the_better,
        exhibits=tuning.exhibit,
    )


RECIPE = Recipe(
    name="transfer",
    summary="a new answer on a network that has learned to see: an application of Keras, or one of cnn's",
    parameters=TransferParameters(),
    fit=FitOptions(epochs=15),
    default_dataset="digits",
    learns={"image": ("classification",)},
    build=build,
)

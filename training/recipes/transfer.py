"""A new answer on top of a network that has learned to see: first the answer alone, then the last layers with it.

The base's size, colours and scaling are part of the published graph: a client sends its pictures as they are.
Batch normalisation stays as the base learned it (keras.io, "Transfer learning and fine-tuning", F. Chollet; after
J. Yosinski and others, "How transferable are features in deep neural networks?", arXiv:1411.1792).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training import bases
from training.bases import APPLICATIONS, Base
from training.datasets import Dataset
from training.exporting.keras_graph import keras_graph
from training.network import Graph, Network, Stage, probabilities, raw_input
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

    def __post_init__(self) -> None:
        """Refuse a base that is not there, before any data set is loaded."""
        super().__post_init__()
        if self.base not in APPLICATIONS:
            bases.kept_file(Path(self.base).expanduser())


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


def _in_two_stages(parameters: TransferParameters, base: Base, model: Any, graph: Graph) -> Network:
    """Let the options govern the first stage, and the recipe's own parameters the second, which may thaw layers."""
    tuning = Stage(
        name="fine-tuning",
        epochs=parameters.tuned_epochs,
        learning_rate=parameters.tuned_learning_rate,
        begin=lambda: bases.thaw(base.model, parameters.tuned_layers),
    )
    further = (tuning,) if parameters.tuned_layers else ()
    return Network(task="classification", fitted=model, graphs=(graph,), further_stages=further)


RECIPE = Recipe(
    name="transfer",
    summary="a new answer on a network that has learned to see: an application of Keras, or one of cnn's",
    parameters=TransferParameters(),
    fit=FitOptions(epochs=15),
    default_dataset="digits",
    learns={"image": ("classification",)},
    build=build,
)

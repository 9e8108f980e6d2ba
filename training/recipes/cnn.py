"""Convolutions on pictures, grey or colour: blocks of growing depth, each halving the picture.

After the small VGG-like networks of keras.io, with batch normalisation (S. Ioffe, C. Szegedy, arXiv:1502.03167);
the average over all places instead of flattening is of M. Lin and others (arXiv:1312.4400).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.bases import KERAS_FILE
from training.datasets import Dataset
from training.exporting.keras_graph import keras_graph
from training.network import Network, probabilities, raw_input
from training.options import FitOptions
from training.parameters import Parameters, parameter
from training.recipes.recipe import Recipe

# Keras's 0.99 needs hundreds of steps to learn the mean; a small data set has a few dozen per epoch.
BATCH_NORMALIZATION_MOMENTUM = 0.9
AUGMENTATIONS = ("flip", "rotation", "zoom", "translation", "contrast")
POOLINGS = ("flatten", "average")
# What stays recognisable: a tenth of the width or of a full turn, a fifth of the contrast.
SHIFT, TURN, ZOOM, CONTRAST = 0.1, 0.05, 0.1, 0.2


@dataclass(frozen=True, kw_only=True)
class ConvolutionalParameters(Parameters):
    """The layers of a convolutional network."""

    filters: tuple[int, ...] = parameter((32, 64, 64), "filters of each block", at_least=1, at_most=2048)
    convolutions: int = parameter(1, "convolutions in each block", at_least=1, at_most=8)
    kernel_size: int = parameter(3, "height and width of each filter, in pixels", at_least=1, at_most=15)
    batch_normalization: bool = parameter(True, "normalise after each convolution")
    pooling: str = parameter(
        "flatten",
        "what becomes of the last block: every place counts (flatten), or the average over all (average)",
        choices=POOLINGS,
    )
    units: int = parameter(64, "units of the dense layer behind the blocks", at_least=1, at_most=16_384)
    dropout: float = parameter(
        0.3, "share of the units that is dropped before and behind that layer", at_least=0, below=1
    )
    augmentation: tuple[str, ...] = parameter(
        (), "changes by chance to the pictures that are learned from", choices=AUGMENTATIONS, may_be_empty=True
    )
    keep_keras: bool = parameter(
        False, f"publish {KERAS_FILE} beside model.onnx, for the recipe transfer", searched=False
    )


def build(parameters: ConvolutionalParameters, dataset: Dataset) -> Network:
    """Build the network: raw pictures in, probabilities out."""
    import keras
    from keras import layers

    assert dataset.labels is not None
    inputs = keras.Input(dataset.train.inputs.shape[1:], dtype="uint8")
    x = layers.Rescaling(1 / 255)(inputs)
    for layer in augmentation_layers(parameters.augmentation):
        x = layer(x)
    for filters in parameters.filters:
        x = _block(parameters, filters, x)
    x = pooled(parameters.pooling, x)
    x = layers.Dropout(parameters.dropout)(x)
    x = layers.Dense(parameters.units, activation="relu")(x)
    x = layers.Dropout(parameters.dropout)(x)
    outputs = layers.Dense(len(dataset.labels), activation="softmax")(x)
    model = keras.Model(inputs, outputs)
    return Network(
        task="classification",
        fitted=model,
        graphs=(keras_graph(model, raw_input(dataset), probabilities(dataset)),),
        write_beside=lambda folder: _keep(model, folder, parameters),
    )


def augmentation_layers(names: Sequence[str]) -> list[Any]:
    """Make Keras's layers for pictures in 0..1; they do nothing but while fitting, so the export leaves them out."""
    from keras import layers

    makers = {
        "flip": lambda: layers.RandomFlip("horizontal"),
        "rotation": lambda: layers.RandomRotation(TURN),
        "zoom": lambda: layers.RandomZoom(ZOOM),
        "translation": lambda: layers.RandomTranslation(SHIFT, SHIFT),
        "contrast": lambda: layers.RandomContrast(CONTRAST, value_range=(0, 1)),
    }
    return [makers[name]() for name in names]


def pooled(kind: str, features: Any) -> Any:
    """Make a row of numbers of maps of features [n, height, width, channels]."""
    from keras import layers

    return layers.Flatten()(features) if kind == "flatten" else layers.GlobalAveragePooling2D()(features)


def _block(parameters: ConvolutionalParameters, filters: int, x: Any) -> Any:
    """Convolve, normalise, cut off below zero, as often as asked, then halve the picture."""
    from keras import layers

    normalised = parameters.batch_normalization
    for _ in range(parameters.convolutions):
        x = layers.Conv2D(filters, parameters.kernel_size, padding="same", use_bias=not normalised)(x)
        if normalised:
            x = layers.BatchNormalization(momentum=BATCH_NORMALIZATION_MOMENTUM)(x)
        x = layers.ReLU()(x)
    # A picture that is one pixel high or wide cannot be halved.
    return layers.MaxPooling2D()(x) if min(x.shape[1:3]) > 1 else x


def _keep(model: Any, folder: Path, parameters: ConvolutionalParameters) -> None:
    if parameters.keep_keras:
        model.save(folder / KERAS_FILE)


RECIPE = Recipe(
    name="cnn",
    summary="convolutions with pooling, dropout and augmentation, on grey or colour pictures",
    parameters=ConvolutionalParameters(),
    fit=FitOptions(epochs=15, batch_size=64),
    default_dataset="digits",
    learns={"image": ("classification",)},
    build=build,
)

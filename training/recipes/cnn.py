"""Convolutions on pictures, grey or colour: blocks of growing depth, each halving the picture.

After the small VGG-like networks of keras.io, with batch normalisation (S. Ioffe, C. Szegedy, arXiv:1502.03167).
"""

from __future__ import annotations

from dataclasses import dataclass

from training.datasets import Dataset
from training.keras_graph import classifier
from training.network import Network
from training.options import FitOptions
from training.parameters import Parameters, parameter
from training.recipes.recipe import Recipe

# Keras's 0.99 needs hundreds of steps to learn the mean; a small data set has a few dozen per epoch.
BATCH_NORMALIZATION_MOMENTUM = 0.9


@dataclass(frozen=True, kw_only=True)
class ConvolutionalParameters(Parameters):
    """The layers of a convolutional network."""

    filters: tuple[int, ...] = parameter((32, 64, 64), "filters of each block", at_least=1, at_most=2048)
    kernel_size: int = parameter(3, "height and width of each filter, in pixels", at_least=1, at_most=15)
    batch_normalization: bool = parameter(True, "normalise after each convolution")
    units: int = parameter(64, "units of the dense layer behind the blocks", at_least=1, at_most=16_384)
    dropout: float = parameter(
        0.3, "share of the units that is dropped before and behind that layer", at_least=0, below=1
    )


def build(parameters: ConvolutionalParameters, dataset: Dataset) -> Network:
    """Build the network: raw pictures in, probabilities out."""
    import keras
    from keras import layers

    assert dataset.labels is not None
    shape = dataset.train.inputs.shape[1:]
    inputs = keras.Input(shape, dtype="uint8")
    x = layers.Rescaling(1 / 255)(inputs)
    for filters in parameters.filters:
        x = layers.Conv2D(filters, parameters.kernel_size, padding="same", use_bias=not parameters.batch_normalization)(
            x
        )
        if parameters.batch_normalization:
            x = layers.BatchNormalization(momentum=BATCH_NORMALIZATION_MOMENTUM)(x)
        x = layers.ReLU()(x)
        # A picture that is one pixel high or wide cannot be halved.
        if min(x.shape[1:3]) > 1:
            x = layers.MaxPooling2D()(x)
    x = layers.Flatten()(x)
    x = layers.Dropout(parameters.dropout)(x)
    x = layers.Dense(parameters.units, activation="relu")(x)
    x = layers.Dropout(parameters.dropout)(x)
    outputs = layers.Dense(len(dataset.labels), activation="softmax")(x)
    return classifier(keras.Model(inputs, outputs), dataset)


RECIPE = Recipe(
    name="cnn",
    summary="convolutions with pooling and dropout, on grey or colour pictures",
    parameters=ConvolutionalParameters(),
    fit=FitOptions(epochs=15, batch_size=64),
    default_dataset="digits",
    learns={"image": ("classification",)},
    build=build,
)

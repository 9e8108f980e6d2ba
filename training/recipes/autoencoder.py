"""A dense autoencoder: pictures pressed into a short code and unfolded again. Three models in one group.

NAME is the whole, NAME-encoder gives the code, NAME-decoder makes pictures of codes; they share their layers, so
decoder(encoder(x)) equals autoencoder(x).
Source: G. Hinton, R. Salakhutdinov, "Reducing the Dimensionality of Data with Neural Networks", Science 313, 2006.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from model_store.manifest import InputSpec, OutputSpec
from training.datasets import Dataset, Rows
from training.datasets.dataset import Array
from training.keras_graph import keras_graph
from training.network import Graph, Network, raw_input
from training.options import FitOptions
from training.parameters import Parameters, parameter
from training.recipes.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class AutoencoderParameters(Parameters):
    """The layers of an autoencoder."""

    hidden: tuple[int, ...] = parameter(
        (128,), "units of the encoder's hidden layers; the decoder has them backwards", at_least=1, at_most=16_384
    )
    code: int = parameter(32, "numbers in the code", at_least=1, at_most=16_384)


def build(parameters: AutoencoderParameters, dataset: Dataset) -> Network:
    """Build the three models: pictures uint8 → code float32 [n, code] → reconstruction float32 in 0..1."""
    import keras
    from keras import layers

    shape = dataset.train.inputs.shape[1:]
    image = keras.Input(shape, dtype="uint8")
    x = layers.Flatten()(layers.Rescaling(1 / 255)(image))
    for units in parameters.hidden:
        x = layers.Dense(units, activation="relu")(x)
    encoder = keras.Model(image, layers.Dense(parameters.code)(x))

    code = keras.Input((parameters.code,))
    x = code
    for units in reversed(parameters.hidden):
        x = layers.Dense(units, activation="relu")(x)
    x = layers.Dense(math.prod(shape), activation="sigmoid")(x)
    decoder = keras.Model(code, layers.Reshape(shape)(x))

    autoencoder = keras.Model(image, decoder(encoder(image)))
    return Network(
        task="reconstruction",
        fitted=autoencoder,
        graphs=_graphs(autoencoder, encoder, decoder, dataset, parameters.code),
        targets=_pixels,
    )


def _graphs(autoencoder: object, encoder: object, decoder: object, dataset: Dataset, size: int) -> tuple[Graph, ...]:
    image = raw_input(dataset)
    reconstruction = OutputSpec(name="reconstruction", dtype="float32", shape=image.shape, kind="reconstruction")
    code = OutputSpec(name="code", dtype="float32", shape=(None, size), kind="embedding")
    vector = InputSpec(name="code", dtype="float32", shape=(None, size), kind="vector")
    whole = keras_graph(autoencoder, image, reconstruction)
    first = keras_graph(encoder, image, code, suffix="-encoder")
    second = keras_graph(decoder, vector, reconstruction, suffix="-decoder", sample=first.predict_first)
    return whole, first, second


def _pixels(rows: Rows) -> Array:
    return rows.inputs.astype(np.float32) / np.float32(255)


RECIPE = Recipe(
    name="autoencoder",
    summary="pictures → code → pictures; publishes NAME, NAME-encoder and NAME-decoder together",
    parameters=AutoencoderParameters(),
    fit=FitOptions(batch_size=64),
    default_dataset="digits",
    learns={"image": ("reconstruction",)},
    build=build,
    suffixes=("", "-encoder", "-decoder"),
    ignores_targets=True,
)

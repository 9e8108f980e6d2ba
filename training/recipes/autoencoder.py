"""Autoencoders: pictures pressed into a short code and unfolded again. Several models in one group.

NAME is the whole, NAME-encoder gives the code, NAME-decoder makes pictures of codes; they share their layers, so
decoder(encoder(x)) equals autoencoder(x). NAME-anomaly says how badly a picture is reconstructed, and how rarely that
happens to pictures like those of the data set; NAME-classifier reads the class off the code, where there are labels.
Sources: G. Hinton, R. Salakhutdinov, "Reducing the Dimensionality of Data with Neural Networks", Science 313, 2006;
of the variational kinds D. Kingma, M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014, and, of `beta`,
I. Higgins et al., "beta-VAE", ICLR 2017.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from model_store.manifest import InputSpec, OutputSpec
from training.codes.anomaly import Anomalies
from training.codes.probe import Probe
from training.datasets import Dataset, Rows
from training.evidence import evaluate
from training.evidence.exhibit import Evaluation
from training.exporting.keras_graph import keras_graph
from training.network import Floats, Graph, Network, raw_input
from training.options import FitOptions
from training.parameters import Parameters, parameter
from training.recipes.recipe import Recipe

KINDS = ("dense", "convolutional", "variational", "variational-convolutional")
WIDTH = 3


@dataclass(frozen=True, kw_only=True)
class AutoencoderParameters(Parameters):
    """The layers of an autoencoder, and what is published beside it."""

    kind: str = parameter("dense", "its layers; variational: codes that can be drawn from N(0, I)", choices=KINDS)
    hidden: tuple[int, ...] = parameter(
        (128,), "dense: units of the encoder's layers; the decoder has them backwards", at_least=1, at_most=16_384
    )
    filters: tuple[int, ...] = parameter(
        (16, 32), "convolutional: filters of the encoder's layers, each of which halves the picture", at_least=1,
        at_most=4096,
    )  # fmt: skip
    code: int = parameter(32, "numbers in the code", at_least=1, at_most=16_384)
    beta: float = parameter(
        0.02,
        "variational: weight of the codes' divergence from N(0, I) against the squared error",
        above=0,
        at_most=10,
        searched=False,
    )
    anomaly: bool = parameter(True, "whether NAME-anomaly is published", searched=False)
    false_alarm_rate: float = parameter(
        0.01, "share of the held-out rows from which on NAME-anomaly alarms", above=0, below=1, searched=False
    )
    classifier: bool = parameter(True, "whether NAME-classifier is published where there are labels", searched=False)

    @property
    def is_variational(self) -> bool:
        """Whether codes are drawn while fitting."""
        return self.kind.startswith("variational")

    @property
    def is_convolutional(self) -> bool:
        """Whether its layers are convolutions."""
        return self.kind.endswith("convolutional")


def build(parameters: AutoencoderParameters, dataset: Dataset) -> Network:
    """Build the models: pictures uint8 → code float32 [n, code] → reconstruction float32 in 0..1."""
    import keras

    from training.codes.exhibits import CodeExhibits

    shape = dataset.train.inputs.shape[1:]
    encoder = _encoder(parameters, shape)
    decoder = _decoder(parameters, shape)
    (image,) = encoder.inputs
    (code, *_) = encoder.outputs
    autoencoder = keras.Model(image, decoder(code))
    fitted = _with_sampling(encoder, decoder, parameters.beta) if parameters.is_variational else autoencoder
    main, codes, pictures = _graphs(autoencoder, encoder, decoder, dataset, parameters)
    anomalies = Anomalies(autoencoder, dataset, parameters.false_alarm_rate) if parameters.anomaly else None
    probe = Probe(encoder, codes, dataset) if parameters.classifier and dataset.labels is not None else None
    exhibits = CodeExhibits(encoder=codes, decoder=pictures, is_normal=parameters.is_variational, anomalies=anomalies)

    def after_fit(kept: Rows, held: Rows) -> None:
        if anomalies is not None:
            anomalies.fit(held)
        if probe is not None:
            probe.fit(kept)

    return Network(
        task="reconstruction",
        fitted=fitted,
        graphs=(main, codes, pictures, *(part.graph for part in (anomalies, probe) if part is not None)),
        targets=_pixels,
        after_fit=after_fit,
        evaluate=partial(_evaluate, probe),
        exhibits=exhibits.show,
    )


def _evaluate(probe: Probe | None, main: Graph, dataset: Dataset) -> Evaluation:
    """Measure the reconstructions, and what the codes tell about the classes beside the raw pixels."""
    answers = main.predict(dataset.test.inputs)
    reconstructed = answers["reconstruction"].astype(np.float32)
    pixels = _pixels(dataset.test)
    metrics = evaluate.reconstruction(reconstructed, pixels)
    if probe is not None:
        found = probe.metrics(probe.graph, dataset)
        metrics |= {"accuracy_on_codes": found["accuracy"], "accuracy_on_pixels": found["accuracy_on_pixels"]}
    return Evaluation(answers, metrics, evaluate.reconstruction_details(reconstructed, pixels))


def _encoder(parameters: AutoencoderParameters, shape: tuple[int, ...]) -> Any:
    """Pictures → codes; of the variational kinds → their means and the logarithms of their variances."""
    import keras
    from keras import layers

    image = keras.Input(shape, dtype="uint8")
    x = layers.Rescaling(1 / 255)(image)
    for filters in parameters.filters if parameters.is_convolutional else ():
        x = layers.Conv2D(filters, WIDTH, strides=2, padding="same", activation="relu")(x)
    x = layers.Flatten()(x)
    for units in () if parameters.is_convolutional else parameters.hidden:
        x = layers.Dense(units, activation="relu")(x)
    code = layers.Dense(parameters.code)(x)
    return keras.Model(image, [code, layers.Dense(parameters.code)(x)] if parameters.is_variational else code)


def _decoder(parameters: AutoencoderParameters, shape: tuple[int, ...]) -> Any:
    import keras
    from keras import layers

    code = keras.Input((parameters.code,))
    if parameters.is_convolutional:
        return keras.Model(code, _enlarged(code, parameters.filters, shape))
    x = code
    for units in reversed(parameters.hidden):
        x = layers.Dense(units, activation="relu")(x)
    x = layers.Dense(math.prod(shape), activation="sigmoid")(x)
    return keras.Model(code, layers.Reshape(shape)(x))


def _enlarged(code: Any, filters: tuple[int, ...], shape: tuple[int, ...]) -> Any:
    """Go the encoder's way backwards: each layer doubles the picture, and cuts it to the size that it had there."""
    from keras import layers

    height, width, channels = shape
    sizes = [(-(-height // 2**step), -(-width // 2**step)) for step in range(len(filters) + 1)]
    smallest = (*sizes[-1], filters[-1])
    x = layers.Reshape(smallest)(layers.Dense(math.prod(smallest), activation="relu")(code))
    outputs = [(channels, "sigmoid"), *((count, "relu") for count in filters[:-1])]
    for index in reversed(range(len(filters))):
        count, activation = outputs[index]
        x = layers.Conv2DTranspose(count, WIDTH, strides=2, padding="same", activation=activation)(x)
        (high, wide), (from_high, from_wide) = sizes[index], sizes[index + 1]
        x = layers.Cropping2D(((0, 2 * from_high - high), (0, 2 * from_wide - wide)))(x)
    return x


def _with_sampling(encoder: Any, decoder: Any, beta: float) -> Any:
    """Make what is fitted of a variational autoencoder: chance has no place in the published graphs."""
    import keras

    from training.codes.layers import Sampling

    (image,) = encoder.inputs
    # The loss is a mean over the pixels: so the divergence is divided by their number.
    sampling = Sampling(beta / math.prod(decoder.output_shape[1:]))
    return keras.Model(image, decoder(sampling(encoder(image))))


def _graphs(
    autoencoder: Any, encoder: Any, decoder: Any, dataset: Dataset, parameters: AutoencoderParameters
) -> tuple[Graph, ...]:
    image, size = raw_input(dataset), parameters.code
    reconstruction = OutputSpec(name="reconstruction", dtype="float32", shape=image.shape, kind="reconstruction")
    code = OutputSpec(name="code", dtype="float32", shape=(None, size), kind="embedding")
    variance = OutputSpec(name="log_variance", dtype="float32", shape=(None, size), kind="tensor")
    vector = InputSpec(name="code", dtype="float32", shape=(None, size), kind="vector")
    whole = keras_graph(autoencoder, image, reconstruction)
    codes = (code, variance) if parameters.is_variational else (code,)
    first = keras_graph(encoder, image, codes, suffix="-encoder")
    second = keras_graph(decoder, vector, reconstruction, suffix="-decoder", sample=first.predict_first)
    return whole, first, second


def _pixels(rows: Rows) -> Floats:
    return rows.inputs.astype(np.float32) / np.float32(255)


RECIPE = Recipe(
    name="autoencoder",
    summary="pictures → code → pictures; publishes NAME, NAME-encoder, NAME-decoder, NAME-anomaly, NAME-classifier",
    parameters=AutoencoderParameters(),
    fit=FitOptions(batch_size=64),
    default_dataset="digits",
    learns={"image": ("reconstruction",)},
    build=build,
    suffixes=("", "-encoder", "-decoder", "-anomaly", "-classifier"),
    unsupervised="reconstruction",
)

"""The convolutional networks that look for objects. Knows Keras, and neither data sets nor ONNX."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from training.detection.anchors import AnchorMap

# Keras's 0.99 needs hundreds of steps to learn the mean; a small data set has a few dozen per epoch.
BATCH_NORMALIZATION_MOMENTUM = 0.9
# What an untrained network says of every anchor: else the many that are ground would drown the few that are not.
FIRST_SCORE = 0.01


def strides(blocks: int) -> tuple[int, ...]:
    """Give the strides of the maps that can hold anchors: from four pixels to the deepest block's."""
    return tuple(2**block for block in range(2, blocks + 1))


def single_shot(
    shape: tuple[int, ...], filters: Sequence[int], width: int, maps: Sequence[AnchorMap], classes: int
) -> keras.Model:
    """Build pictures uint8 [n, *shape] → offsets and logits float32 [n, anchors, 4 + classes].

    One look at the whole picture (W. Liu et al., "SSD", arXiv:1512.02325), through maps that pass down what the
    deeper ones saw (T.-Y. Lin et al., "Feature Pyramid Networks", arXiv:1612.03144).
    """
    image = keras.Input(shape, dtype="uint8")
    features = pyramid(blocks(image, filters), min(found.stride for found in maps), width)
    answers = [_head(features[found.stride], len(found.sizes), width, classes) for found in maps]
    return keras.Model(image, answers[0] if len(answers) == 1 else layers.Concatenate(axis=1)(answers))


def localiser(shape: tuple[int, ...], filters: Sequence[int], units: int, dropout: float, classes: int) -> keras.Model:
    """Build pictures uint8 [n, *shape] → the one box in fractions of the picture, and logits: [n, 4 + classes]."""
    image = keras.Input(shape, dtype="uint8")
    deepest = blocks(image, filters)[2 ** len(filters)]
    x = layers.Dropout(dropout)(layers.Flatten()(deepest))
    x = layers.Dense(units, activation="relu")(x)
    x = layers.Dropout(dropout)(x)
    centre, half = layers.Dense(2, activation="sigmoid")(x), layers.Dense(2, activation="sigmoid")(x) / 2
    box = ops.clip(ops.concatenate([centre - half, centre + half], axis=-1), 0.0, 1.0)
    return keras.Model(image, layers.Concatenate()([box, layers.Dense(classes)(x)]))


def blocks(image: Any, filters: Sequence[int]) -> dict[int, Any]:
    """Halve the picture block by block; stride → feature map."""
    x, found = layers.Rescaling(1 / 255)(image), {}
    for number, size in enumerate(filters, 1):
        x = _convolution(_convolution(x, size, strides=2), size)
        found[2**number] = x
    return found


def pyramid(features: dict[int, Any], finest: int, width: int) -> dict[int, Any]:
    """Add to every map what the next deeper one saw, down to the finest that is needed; all of the same width."""
    found: dict[int, Any] = {}
    for stride in sorted((stride for stride in features if stride >= finest), reverse=True):
        x = layers.Conv2D(width, 1, padding="same")(features[stride])
        if found:
            # Of an odd size the deeper map has one cell more.
            deeper = layers.UpSampling2D(interpolation="bilinear")(found[2 * stride])
            x = x + deeper[:, : x.shape[1], : x.shape[2]]
        found[stride] = x
    return found


def _head(x: Any, sizes: int, width: int, classes: int) -> Any:
    x = _convolution(x, width)
    first = keras.initializers.Constant(-math.log((1 - FIRST_SCORE) / FIRST_SCORE))
    offsets = layers.Conv2D(sizes * 4, 3, padding="same")(x)
    logits = layers.Conv2D(sizes * classes, 3, padding="same", bias_initializer=first)(x)
    listed = [layers.Reshape((-1, 4))(offsets), layers.Reshape((-1, classes))(logits)]
    return layers.Concatenate(axis=-1)(listed)


def _convolution(x: Any, filters: int, *, strides: int = 1) -> Any:
    x = layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization(momentum=BATCH_NORMALIZATION_MOMENTUM)(x)
    return layers.ReLU()(x)

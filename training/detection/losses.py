"""What a detector makes small while it is fitted. Knows Keras, and neither data sets nor ONNX."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from training.detection.anchors import BACKGROUND

# Of the focal loss: how much an object weighs against the ground, and how little what is easy already.
ALPHA, GAMMA = 0.25, 2.0
# Of the box against the class, where there is one object: fractions of the picture are small numbers.
BOX_WEIGHT = 10.0


def detection_loss(learned: Any, answers: Any) -> Any:
    """Add focal loss over classes and smooth L1 over offsets, per object: [n].

    Sources: T.-Y. Lin et al., "Focal Loss for Dense Object Detection", arXiv:1708.02002; R. Girshick, "Fast R-CNN",
    arXiv:1504.08083, for smooth L1.

    Args:
        learned: float32 [n, anchors, 5], as `training.detection.anchors.assign` writes it.
        answers: float32 [n, anchors, 4 + classes], offsets and logits.
    """
    offsets, logits = answers[..., :4], answers[..., 4:]
    classes = ops.cast(learned[..., 4], "int32")
    is_object = ops.cast(classes >= 0, "float32")
    counts = ops.cast(classes >= BACKGROUND, "float32")
    # Of what is no class, one_hot makes zeros.
    focal = _focal(ops.one_hot(classes, logits.shape[-1]), logits) * ops.expand_dims(counts, -1)
    distance = _smooth_l1(learned[..., :4] - offsets) * ops.expand_dims(is_object, -1)
    objects = ops.maximum(ops.sum(is_object, axis=1), 1.0)
    return (ops.sum(focal, axis=(1, 2)) + ops.sum(distance, axis=(1, 2))) / objects


def localisation_loss(learned: Any, answers: Any) -> Any:
    """Add cross-entropy and absolute error of the one box: [n].

    Args:
        learned: float32 [n, 5], a box in fractions of the picture and a class.
        answers: float32 [n, 4 + classes], a box in the same fractions and logits.
    """
    classes = ops.cast(learned[:, 4], "int32")
    entropy = keras.losses.sparse_categorical_crossentropy(classes, answers[:, 4:], from_logits=True)
    return entropy + BOX_WEIGHT * ops.sum(ops.abs(learned[:, :4] - answers[:, :4]), axis=1)


def _focal(truth: Any, logits: Any) -> Any:
    entropy = ops.maximum(logits, 0.0) - logits * truth + ops.softplus(-ops.abs(logits))
    probability = ops.sigmoid(logits)
    missed = truth * (1 - probability) + (1 - truth) * probability
    weight = truth * ALPHA + (1 - truth) * (1 - ALPHA)
    return weight * ops.power(missed, GAMMA) * entropy


def _smooth_l1(difference: Any) -> Any:
    size = ops.abs(difference)
    return ops.where(size < 1.0, 0.5 * size * size, size - 0.5)

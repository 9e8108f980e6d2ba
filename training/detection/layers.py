"""The layers behind a detector's network: offsets → boxes → detections. Knows Keras, and neither data sets nor ONNX."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from keras import ops

from training.detection.anchors import CENTRE_SCALE, SIZE_SCALE
from training.detection.geometry import centres_and_sizes

# No object is so much larger than its anchor; an untrained network must not make infinity.
MOST_GROWTH = 4.0


class Boxes(keras.layers.Layer):  # type: ignore[misc]
    """Offsets and logits [n, anchors, 4 + classes] → boxes [n, anchors, 4] in pixels, scores [n, anchors, classes]."""

    def __init__(self, anchors: npt.NDArray[np.float32], height: int, width: int) -> None:
        super().__init__()
        self._centres, self._sizes = (np.asarray(part, np.float32) for part in centres_and_sizes(anchors))
        self._farthest = np.array([width, height, width, height], np.float32)

    def call(self, answers: Any) -> tuple[Any, Any]:
        """Undo `training.detection.anchors.offsets`, and cut boxes at the picture's border."""
        centres = answers[..., 0:2] * (CENTRE_SCALE * self._sizes) + self._centres
        growth = ops.minimum(answers[..., 2:4] * SIZE_SCALE, MOST_GROWTH)
        halves = ops.exp(growth) * (self._sizes / 2)
        boxes = ops.concatenate([centres - halves, centres + halves], axis=-1)
        return ops.clip(boxes, 0.0, self._farthest), ops.sigmoid(answers[..., 4:])


class Suppression(keras.layers.Layer):  # type: ignore[misc]
    """Boxes and scores → the best boxes of each picture, best first: boxes, scores, classes, count.

    Of boxes of one class that overlap by more than `iou` the best stays; rows never mix. What is missing up to `most`
    is zero.
    """

    def __init__(self, most: int, score: float, iou: float) -> None:
        super().__init__()
        self._most, self._score, self._iou = most, score, iou
        self.supports_jit = False

    def call(self, candidates: tuple[Any, Any]) -> tuple[Any, Any, Any, Any]:
        """Suppress per class; the order of a box's coordinates does not matter to an overlap."""
        boxes, scores = candidates
        chosen = tf.image.combined_non_max_suppression(
            tf.expand_dims(boxes, 2),
            scores,
            max_output_size_per_class=self._most,
            max_total_size=self._most,
            iou_threshold=self._iou,
            score_threshold=self._score,
            clip_boxes=False,
        )
        return (
            tf.reshape(chosen.nmsed_boxes, (-1, self._most, 4)),
            tf.reshape(chosen.nmsed_scores, (-1, self._most)),
            tf.reshape(tf.cast(chosen.nmsed_classes, tf.int64), (-1, self._most)),
            tf.reshape(tf.cast(chosen.valid_detections, tf.int64), (-1,)),
        )

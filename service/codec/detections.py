"""What a detector found, as people read it: a list of labels, scores and boxes instead of padded tensors.

A detector answers for each picture with a fixed number of boxes, their scores and classes, and how many of them count.
Knows neither bodies nor JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from model_store.manifest import InputSpec, OutputSpec
from service.tensors import Array, Arrays

# Width and height of a picture in pixels.
Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Detections:
    """The outputs that together say what was found."""

    boxes: OutputSpec
    scores: OutputSpec
    classes: OutputSpec
    count: OutputSpec

    @property
    def names(self) -> frozenset[str]:
        """Their names."""
        return frozenset(spec.name for spec in (self.boxes, self.scores, self.classes, self.count))

    def listed(self, row: Arrays, scale: Array) -> list[dict[str, Any]]:
        """List what was found in one picture, in the model's order, with as many entries as count."""
        count = int(row[self.count.name])
        classes, scores = (np.asarray(row[spec.name])[:count] for spec in (self.classes, self.scores))
        boxes = scaled(np.asarray(row[self.boxes.name])[:count], scale)
        found = zip(classes.tolist(), scores, boxes, strict=True)
        return [{"label": self._label(index), "score": score, "box": box} for index, score, box in found]

    def _label(self, index: int) -> str | int:
        labels = self.classes.labels or ()
        return labels[index] if 0 <= index < len(labels) else index


def find(outputs: Sequence[OutputSpec]) -> Detections | None:
    """Find the outputs of a detector by their kinds and shapes; None if the model is none."""
    boxes = [spec for spec in outputs if spec.kind == "boxes" and len(spec.shape) == 3 and spec.shape[2] == 4]
    scores = [spec for spec in outputs if spec.kind == "score" and len(spec.shape) == 2]
    classes = [spec for spec in outputs if spec.kind == "label" and len(spec.shape) == 2]
    counts = [spec for spec in outputs if spec.name == "count" and len(spec.shape) == 1]
    found = [*boxes, *scores, *classes, *counts]
    is_one_each = all(len(specs) == 1 for specs in (boxes, scores, classes, counts))
    return Detections(*found) if is_one_each else None


def has_boxes(outputs: Sequence[OutputSpec]) -> bool:
    """Tell whether the sizes of pictures as they were sent matter to the answer."""
    return any(spec.kind == "boxes" for spec in outputs)


def scale_to(sent: Size | None, inputs: Sequence[InputSpec]) -> Array:
    """Give what the coordinates of boxes are multiplied by, so that they count the pixels of the picture as sent."""
    taken = next((spec.image for spec in inputs if spec.image is not None), None)
    if sent is None or taken is None:
        return np.ones(4, np.float32)
    return np.array([sent[0] / taken.width, sent[1] / taken.height] * 2, np.float32)


def scaled(boxes: Array, scale: Array) -> Array:
    """Stretch boxes [..., 4]: left, top, right, bottom."""
    return np.ascontiguousarray(np.asarray(boxes, np.float32) * scale)

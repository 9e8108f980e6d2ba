"""Anchors: boxes of a few typical sizes in every cell of the feature maps, from which objects are predicted.

The sizes are found by clustering those of the training boxes with 1 - IoU as the distance (J. Redmon, A. Farhadi,
"YOLO9000", arXiv:1612.08242, section 2); each is laid on the map whose cells suit it, so that some anchor overlaps
every object well. An anchor learns the object that it overlaps by at least a half (S. Ren et al., arXiv:1506.01497);
every object has at least the anchor that overlaps it most.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.detection.geometry import centres_and_sizes, intersection_over_union

Floats = npt.NDArray[np.float32]
Size = tuple[float, float]

# An anchor whose cells are a quarter of its side apart overlaps any object of its size by 0.58 at least.
CELLS_PER_SIDE = 4
POSITIVE, NEGATIVE = 0.5, 0.4
# In place of a class.
BACKGROUND, IGNORED = -1, -2
# They make the offsets of an object about as large as 1 (W. Liu et al., "SSD", arXiv:1512.02325).
CENTRE_SCALE, SIZE_SCALE = 0.1, 0.2
ROUNDS = 50


@dataclass(frozen=True)
class AnchorMap:
    """One feature map: how many pixels its cells are apart, and the sizes (width, height) of its anchors."""

    stride: int
    sizes: tuple[Size, ...]

    def boxes(self, height: int, width: int) -> Floats:
        """Lay the anchors over a picture: [cells by row x sizes, 4], in pixels."""
        rows, columns = math.ceil(height / self.stride), math.ceil(width / self.stride)
        y, x = np.meshgrid(np.arange(rows) + 0.5, np.arange(columns) + 0.5, indexing="ij")
        centres = (np.stack([x, y], axis=-1) * self.stride).reshape(-1, 1, 2)
        halves = np.array(self.sizes).reshape(1, -1, 2) / 2
        return np.concatenate([centres - halves, centres + halves], axis=-1).reshape(-1, 4).astype(np.float32)


def choose_maps(boxes: Floats, count: int, strides: tuple[int, ...], seed: int) -> tuple[AnchorMap, ...]:
    """Choose `count` anchor sizes for training boxes [n, 4 or more], and lay each on one of the maps; finest first."""
    sizes = typical_sizes(np.asarray(centres_and_sizes(boxes)[1]), count, seed)
    fitting: dict[int, list[Size]] = {}
    for width, height in sizes:
        wanted = math.sqrt(width * height) / CELLS_PER_SIDE
        stride = min(strides, key=lambda stride: abs(math.log(stride / wanted)))
        fitting.setdefault(stride, []).append((width, height))
    return tuple(AnchorMap(stride, tuple(fitting[stride])) for stride in sorted(fitting))


def typical_sizes(sizes: Floats, count: int, seed: int) -> list[Size]:
    """Cluster sizes [n, 2] by their overlap; at most `count` (width, height), small ones first."""
    random = np.random.default_rng(seed)
    different = np.unique(sizes.astype(np.float64), axis=0)
    centres = different[random.permutation(len(different))[:count]]
    for _ in range(ROUNDS):
        nearest = _overlaps(sizes, centres).argmax(axis=1)
        moved = np.array(
            [
                np.median(sizes[nearest == index], axis=0) if (nearest == index).any() else centre
                for index, centre in enumerate(centres)
            ]
        )
        if np.array_equal(moved, centres):
            break
        centres = moved
    return sorted(((float(width), float(height)) for width, height in centres), key=lambda size: size[0] * size[1])


def _overlaps(sizes: npt.NDArray[np.floating], centres: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Give the IoU of boxes of these sizes [n, 2] and [m, 2] that share a corner: [n, m]."""
    corner_first, corner_second = np.zeros_like(sizes), np.zeros_like(centres)
    return intersection_over_union(
        np.concatenate([corner_first, sizes], axis=1), np.concatenate([corner_second, centres], axis=1)
    )


def assign(objects: Floats, anchors: Floats) -> Floats:
    """Say what each anchor [m, 4] shall learn of a picture's objects [n, 5]: [m, 5], four offsets and a class."""
    learned = np.zeros((len(anchors), 5), np.float32)
    learned[:, 4] = BACKGROUND
    if not len(objects):
        return learned
    overlaps = intersection_over_union(anchors, objects[:, :4])
    nearest, best = overlaps.argmax(axis=1), overlaps.max(axis=1)
    learned[best >= NEGATIVE, 4] = IGNORED
    for index, anchor in enumerate(overlaps.argmax(axis=0)):
        nearest[anchor], best[anchor] = index, 1.0
    matched = best >= POSITIVE
    learned[matched, :4] = offsets(objects[nearest[matched], :4], anchors[matched])
    learned[matched, 4] = objects[nearest[matched], 4]
    return learned


def offsets(boxes: Floats, anchors: Floats) -> Floats:
    """Write boxes [n, 4] relative to their anchors [n, 4]: shift of the centre and logarithm of the size, scaled."""
    (centres, sizes), (origins, units) = centres_and_sizes(boxes), centres_and_sizes(anchors)
    shifts, growths = (centres - origins) / units / CENTRE_SCALE, np.log(sizes / units) / SIZE_SCALE
    return np.concatenate([shifts, growths], axis=-1).astype(np.float32)

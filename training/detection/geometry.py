"""Boxes as arrays: left, top, right, bottom in pixels. NumPy alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]


def areas(boxes: Floats) -> Floats:
    """Give the area of each box [n, 4]: float64 [n]."""
    exact = boxes.astype(np.float64)
    sides: Floats = exact[..., 2:4] - exact[..., 0:2]
    return np.asarray(sides[..., 0] * sides[..., 1])


def intersection_over_union(first: Floats, second: Floats) -> Floats:
    """Compare each box of [n, 4] with each of [m, 4]: float64 [n, m] in 0..1."""
    a, b = first.astype(np.float64)[:, None], second.astype(np.float64)[None]
    sides = np.minimum(a[..., 2:4], b[..., 2:4]) - np.maximum(a[..., 0:2], b[..., 0:2])
    shared = np.prod(np.maximum(sides, 0), axis=-1)
    together = areas(first)[:, None] + areas(second)[None] - shared
    return np.asarray(np.divide(shared, together, out=np.zeros_like(shared), where=together > 0))


def centres_and_sizes(boxes: Floats) -> tuple[Floats, Floats]:
    """Give the centres and the sizes (width, height) of boxes [..., 4]."""
    return (boxes[..., 0:2] + boxes[..., 2:4]) / 2, boxes[..., 2:4] - boxes[..., 0:2]

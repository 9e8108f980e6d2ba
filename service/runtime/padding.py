"""Batches of any number of rows in buffers of a few sizes: which size holds them, and what stands in the rows over.

Knows no onnxruntime.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence

from service.tensors import Array


def padded_rows(rows: int, sizes: Sequence[int]) -> int | None:
    """Find the smallest of the sizes (ascending) that holds so many rows; None where none does."""
    place = bisect.bisect_left(sizes, rows)
    return sizes[place] if place < len(sizes) else None


def fill(buffer: Array, rows: Array) -> None:
    """Write rows, at least one, to the front of a buffer that holds as many or more; the last one fills the rest.

    Not zeros: a model may refuse those (an index outside its table), and a row that is there it takes.
    """
    buffer[: len(rows)] = rows
    buffer[len(rows) :] = rows[-1]

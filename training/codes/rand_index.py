"""How well two partitions of the same rows agree, beyond chance: the adjusted Rand index. NumPy alone.

Rows are counted in cells: what falls into the same part everywhere. So rows that are drawn again and again need only
be counted.
Source: L. Hubert, P. Arabie, "Comparing Partitions", Journal of Classification 2, 1985.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.int64]


def cells(*partitions: Integers) -> tuple[Integers, Integers]:
    """List the combinations that occur in partitions [rows]: their numbers [partitions, cells], their rows [cells]."""
    found, rows = np.unique(np.stack(partitions), axis=1, return_counts=True)
    return found, rows


def adjusted_rand_index(first: Integers, second: Integers, rows: Integers) -> Floats:
    """Compare two partitions: 1 where they are the same, about 0 where they have nothing to do with one another.

    Args:
        first: of each cell the part of the first partition: [cells].
        second: that of the second.
        rows: how many rows each cell has: [draws, cells].

    Returns:
        float64 [draws].
    """
    together = _pairs(rows, np.unique(np.stack([first, second]), axis=1, return_inverse=True)[1].reshape(-1))
    ones, others, total = _pairs(rows, first), _pairs(rows, second), _pairs(rows, np.zeros_like(first))
    expected = ones * others / np.maximum(total, 1)
    spread = (ones + others) / 2 - expected
    # Of two partitions that are all one part, or all single rows, there is nothing to differ in.
    return np.asarray(np.divide(together - expected, spread, out=np.ones(len(rows)), where=spread > 0))


def _pairs(rows: Integers, parts: Integers) -> Floats:
    """Count the pairs of rows that lie in one part: [draws]."""
    order = np.argsort(parts, kind="stable")
    begins = np.flatnonzero(np.diff(parts[order], prepend=parts[order[0]] - 1))
    sizes = np.add.reduceat(rows[:, order], begins, axis=1).astype(np.float64)
    return np.asarray((sizes * (sizes - 1) / 2).sum(axis=1))

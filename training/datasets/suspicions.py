"""Looks for columns that give their table away: those that tell the target alone, and those that count its rows.

Only says so: it may be true. Knows no file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from training.datasets.dataset import Array

# Of the target's variance; of a class's rows.
ALL_BUT_ALL = 0.9999
# A value must stand in so many rows on average before it can be said to tell their target.
ROWS_PER_VALUE = 10

Codes = npt.NDArray[np.integer[Any]]


def suspicions(columns: Mapping[str, Array], targets: Array) -> list[str]:
    """Say which columns look as if they should not be learned from, a line each.

    Args:
        columns: float32 [n] or object [n] of `str`, by name.
        targets: int64 [n] class indices, or float32 [n] values.
    """
    said = []
    for name, values in columns.items():
        if _tells(values, targets):
            said.append(f"column {name!r} tells the target alone: is it known beforehand? --set drop={name}")
        elif _counts(values):
            said.append(f"column {name!r} numbers the rows: does it mean anything? --set drop={name}")
    return said


def _tells(values: Array, targets: Array) -> bool:
    is_number, is_classified = values.dtype.kind == "f", targets.dtype.kind == "i"
    different, codes = np.unique(values, return_inverse=True, equal_nan=True)
    if len(different) * ROWS_PER_VALUE <= len(values):
        return _tells_by_value(codes.ravel(), targets.astype(np.float64), is_classified)
    if not is_number or np.isnan(values.astype(np.float64)).any():
        return False
    if is_classified:
        return _is_cut_by_classes(values, targets)
    return abs(float(np.corrcoef(values.astype(np.float64), targets.astype(np.float64))[0, 1])) > ALL_BUT_ALL


def _tells_by_value(codes: Codes, targets: npt.NDArray[np.float64], is_classified: bool) -> bool:
    """Tell whether all rows of a value have (nearly) the same target."""
    counts = np.bincount(codes)
    if is_classified:
        pairs, sizes = np.unique(np.stack([codes, targets.astype(np.int64)]), axis=1, return_counts=True)
        largest = np.zeros(len(counts))
        np.maximum.at(largest, pairs[0], sizes)
        return bool(largest.sum() / len(codes) > ALL_BUT_ALL)
    means = np.bincount(codes, weights=targets) / counts
    variance = float(targets.var())
    return variance > 0 and 1 - float(((targets - means[codes]) ** 2).mean()) / variance > ALL_BUT_ALL


def _is_cut_by_classes(values: Array, targets: Array) -> bool:
    """Tell whether each class has a stretch of the numbers to itself."""
    ordered = targets[np.argsort(values, kind="stable")]
    return int(np.count_nonzero(ordered[1:] != ordered[:-1])) == len(np.unique(targets)) - 1


def _counts(values: Array) -> bool:
    """Tell whether the numbers are those of the rows, in their order or not."""
    if values.dtype.kind != "f":
        return False
    ordered = np.sort(values.astype(np.float64))
    return bool(np.all(np.diff(ordered) == 1) and float(ordered[0]).is_integer())

"""How much a model's answers rest on each column: what becomes of its error when the column is shuffled.

Source: L. Breiman, "Random Forests", Machine Learning 45, 2001; A. Fisher, C. Rudin, F. Dominici, arXiv:1801.01489.
Columns that tell the same stand in for each other, and then neither seems to count. Knows neither Keras nor ONNX.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.datasets.dataset import Array
from training.evidence.evaluate import EPSILON

MOST_ROWS = 2000
REPEATS = 5
SEED = 20_240_229

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Importance:
    """What shuffling a column adds to the error: the mean over the repeats and its standard deviation."""

    column: str
    mean: float
    deviation: float


def importances(answer: Callable[[Array], Floats], table: Array, targets: Array) -> list[Importance]:
    """Measure every column of a table, the most important one first.

    Args:
        answer: probabilities [n, classes], or values [n, 1], for a structured array [n].
        table: structured [n], held-out rows; at most `MOST_ROWS` of them are used.
        targets: int64 [n] class indices, for which the error is the cross-entropy; or float32 [n] values, for which
            it is the mean absolute error.
    """
    random = np.random.default_rng(SEED)
    if len(table) > MOST_ROWS:
        chosen = np.sort(random.choice(len(table), MOST_ROWS, replace=False))
        table, targets = table[chosen], targets[chosen]
    whole = error(answer(table), targets)
    found = []
    for name in table.dtype.names or ():
        added = [error(answer(_shuffled(table, name, random)), targets) - whole for _ in range(REPEATS)]
        found.append(Importance(name, float(np.mean(added)), float(np.std(added))))
    return sorted(found, key=lambda one: -one.mean)


def error(answers: Floats, targets: Array) -> float:
    """Measure answers: the cross-entropy of probabilities, or the mean absolute error of values."""
    if targets.dtype.kind == "i":
        certainty = answers[np.arange(len(targets)), targets.astype(np.int64)].astype(np.float64)
        return float(-np.log(np.clip(certainty, EPSILON, 1.0)).mean())
    return float(np.abs(answers[:, 0].astype(np.float64) - targets.astype(np.float64)).mean())


def _shuffled(table: Array, name: str, random: np.random.Generator) -> Array:
    shuffled = table.copy()
    shuffled[name] = random.permutation(table[name])  # type: ignore[call-overload, index]
    return shuffled

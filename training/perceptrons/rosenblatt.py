"""Rosenblatt's rule: the perceptron learns from its mistakes alone, row by row. Knows neither Keras nor ONNX.

Source: F. Rosenblatt, "The perceptron", Psychological Review 65, 1958; for more than two classes, one unit per class
by Kesler's construction (R. Duda, P. Hart, "Pattern Classification and Scene Analysis", 1973).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from training.network import Floats, History
from training.options import FitOptions

Classes = npt.NDArray[np.int64]


@dataclass
class Perceptron:
    """One layer of units without a slope: `kernel` [features, units], `bias` [units], both zero at first.

    One unit tells two classes apart by whether it fires; of several, the strongest names the class.
    """

    features: int
    units: int
    kernel: Floats = field(init=False)
    bias: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.kernel = np.zeros((self.features, self.units), dtype=np.float32)
        self.bias = np.zeros(self.units, dtype=np.float32)

    def classify(self, rows: Floats) -> Classes:
        """Name the class of each row [n, features]."""
        sums = rows @ self.kernel + self.bias
        return np.asarray(sums[:, 0] >= 0 if self.units == 1 else sums.argmax(axis=1), dtype=np.int64)

    def learn_row(self, row: Floats, target: int, rate: float) -> None:
        """Move the weights towards the right answer, if this row's was wrong."""
        answer = int(self.classify(row[np.newaxis])[0])
        if answer == target:
            return
        # The only unit moves up or down; of several, the right one moves up and the one that won moves down.
        moves = [(0, target - answer)] if self.units == 1 else [(target, 1), (answer, -1)]
        for unit, direction in moves:
            self.kernel[:, unit] += rate * direction * row
            self.bias[unit] += rate * direction

    def errors(self, rows: Floats, targets: Classes) -> float:
        """Measure the share of rows that are classified wrongly."""
        return float(np.mean(self.classify(rows) != targets))

    def centre_border(self, rows: Floats) -> None:
        """Put one unit's border half-way between the nearest rows on either side; no answer to them changes.

        A row right on the border would be decided by rounding, and each runtime rounds in its own way.
        """
        sums = rows @ self.kernel[:, 0] + self.bias[0]
        below = sums[sums < 0].max(initial=sums.min() - 1)
        above = sums[sums >= 0].min(initial=sums.max() + 1)
        self.bias[0] -= (below + above) / 2


def learn(
    perceptron: Perceptron, kept: tuple[Floats, Classes], held: tuple[Floats, Classes], options: FitOptions
) -> History:
    """Learn until no kept row is wrong, or `patience` epochs after the best `val_loss`; keep the weights it had then.

    The loss is the share of wrong answers: there is no other.
    """
    random = np.random.default_rng(options.seed)
    history: History = {"loss": [], "val_loss": []}
    best = perceptron.kernel, perceptron.bias
    for _ in range(options.epochs):
        for index in random.permutation(len(kept[0])):
            perceptron.learn_row(kept[0][index], int(kept[1][index]), options.learning_rate)
        history["loss"].append(perceptron.errors(*kept))
        history["val_loss"].append(perceptron.errors(*held))
        since_best = len(history["loss"]) - 1 - int(np.argmin(history["val_loss"]))
        if since_best == 0:
            best = perceptron.kernel.copy(), perceptron.bias.copy()
        if history["loss"][-1] == 0 or since_best >= options.patience:
            break
    perceptron.kernel, perceptron.bias = best
    if perceptron.units == 1:
        perceptron.centre_border(kept[0])
    return history

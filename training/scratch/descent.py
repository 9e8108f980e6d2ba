"""Mini-batch gradient descent for the network in NumPy, with early stopping. Knows no data set and no ONNX."""

from __future__ import annotations

import numpy as np

from training.errors import FitDiverged
from training.network import History
from training.options import FitOptions
from training.scratch.network import Classes, DenseNetwork, Numbers

Learned = tuple[Numbers, Classes]


def descend(network: DenseNetwork, kept: Learned, held: Learned, options: FitOptions) -> History:
    """Fit in place, and stop `patience` epochs after the best `val_loss`, with the weights it had then.

    Raises:
        FitDiverged: the loss became NaN or infinite.
    """
    random = np.random.default_rng(options.seed)
    history = empty_history()
    best = network.copy()
    for _ in range(options.epochs):
        _epoch(network, kept, options, random)
        measure(network, kept, held, history)
        if not np.isfinite([history["loss"][-1], history["val_loss"][-1]]).all():
            raise FitDiverged(
                f"the loss became {history['loss'][-1]:g}: try a smaller learning_rate than {options.learning_rate:g}"
            )
        since_best = len(history["loss"]) - 1 - int(np.argmin(history["val_loss"]))
        if since_best == 0:
            best = network.copy()
        if since_best >= options.patience:
            break
    network.restore(best)
    return history


def empty_history() -> History:
    """Begin a history."""
    return {name: [] for name in ("loss", "accuracy", "val_loss", "val_accuracy")}


def measure(network: DenseNetwork, kept: Learned, held: Learned, history: History) -> None:
    """Add the figures of the network as it is now to the history."""
    for prefix, (rows, targets) in (("", kept), ("val_", held)):
        history[f"{prefix}loss"].append(network.loss(rows, targets))
        right = network.predict(rows).argmax(axis=1) == targets
        history[f"{prefix}accuracy"].append(float(right.mean()))


def _epoch(network: DenseNetwork, kept: Learned, options: FitOptions, random: np.random.Generator) -> None:
    rows, targets = kept
    order = random.permutation(len(rows))
    for start in range(0, len(order), options.batch_size):
        batch = order[start : start + options.batch_size]
        network.step(network.gradients(rows[batch], targets[batch]), options.learning_rate)

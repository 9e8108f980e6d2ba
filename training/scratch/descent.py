"""Mini-batch gradient descent for the network in NumPy, with early stopping. Knows no data set and no ONNX."""

from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_limits

from training.errors import FitDiverged
from training.network import History
from training.options import FitOptions
from training.scratch.network import Classes, DenseNetwork, Numbers, cross_entropy

Learned = tuple[Numbers, Classes]


def descend(network: DenseNetwork, kept: Learned, held: Learned, options: FitOptions) -> History:
    """Fit in place, and stop `patience` epochs after the best `val_loss`, with the weights it had then.

    Raises:
        FitDiverged: the loss became NaN or infinite.
    """
    random = np.random.default_rng(options.seed)
    history: History = {name: [] for name in ("loss", "accuracy", "val_loss", "val_accuracy")}
    best = network.copy()
    for _ in range(options.epochs):
        # The matrices of a mini-batch are too small to share out: threads wait for each other longer than they work.
        with threadpool_limits(1, user_api="blas"):
            _epoch(network, kept, options, random)
        _measure(network, kept, held, history)
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


def _measure(network: DenseNetwork, kept: Learned, held: Learned, history: History) -> None:
    """Add the figures of the network as it is now to the history."""
    for prefix, (rows, targets) in (("", kept), ("val_", held)):
        probabilities = network.predict(rows)
        history[f"{prefix}loss"].append(cross_entropy(probabilities, targets))
        history[f"{prefix}accuracy"].append(float(np.mean(probabilities.argmax(axis=1) == targets)))


def _epoch(network: DenseNetwork, kept: Learned, options: FitOptions, random: np.random.Generator) -> None:
    rows, targets = kept
    order = random.permutation(len(rows))
    for start in range(0, len(order), options.batch_size):
        batch = order[start : start + options.batch_size]
        network.step(network.gradients(rows[batch], targets[batch]), options.learning_rate)

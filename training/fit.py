"""Fits a network: a validation split, early stopping, the best weights kept. Knows neither ONNX nor stores."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass

from training.datasets import Dataset
from training.datasets.dataset import split
from training.errors import FitDiverged, InvalidParameter
from training.network import Network
from training.options import LOSSES, FitOptions, Task


@dataclass(frozen=True)
class Fit:
    """How the fit went: every metric per epoch, and how long it took."""

    history: dict[str, list[float]]
    seconds: float

    @property
    def epochs(self) -> int:
        """How many epochs ran."""
        return len(self.history["loss"])


def fit(network: Network, dataset: Dataset, options: FitOptions) -> Fit:
    """Fit in place, and stop `patience` epochs after the best val_loss, with the weights it had then.

    Raises:
        FitDiverged: the loss became NaN or infinite.
    """
    import keras

    kept, held = split(
        dataset.train, options.validation_split, options.seed, stratified=network.task == "classification"
    )
    network.fitted.compile(
        optimizer=keras.optimizers.get(
            {"class_name": options.optimizer, "config": {"learning_rate": options.learning_rate}}
        ),
        loss=loss_for(network.task, options.loss),
        metrics=["accuracy"] if network.task == "classification" else ["mean_absolute_error"],
    )
    began = time.monotonic()
    history = network.fitted.fit(
        network.encode(kept.inputs),
        network.targets(kept),
        validation_data=(network.encode(held.inputs), network.targets(held)),
        epochs=options.epochs,
        batch_size=options.batch_size,
        callbacks=[keras.callbacks.EarlyStopping(patience=options.patience, restore_best_weights=True)],
        verbose=1 if sys.stdout.isatty() else 2,
    )
    figures = {name: [float(value) for value in values] for name, values in history.history.items()}
    if not all(math.isfinite(value) for value in [*figures["loss"], *figures["val_loss"]]):
        raise FitDiverged(
            f"the loss became {figures['loss'][-1]:g}: try a smaller learning_rate than {options.learning_rate:g}"
        )
    return Fit(history=figures, seconds=time.monotonic() - began)


def loss_for(task: Task, loss: str) -> str:
    """Choose the loss; raises `InvalidParameter` for one that does not fit the task."""
    fitting = LOSSES[task]
    if loss == "auto":
        return fitting[0]
    if loss not in fitting:
        raise InvalidParameter("loss", loss, expected=f"auto or one that fits {task}: {', '.join(fitting)}")
    return loss

"""Fits a network: a validation split, early stopping, the best weights kept. Knows neither ONNX nor stores."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass
from typing import Any

from training.datasets import Dataset, Rows
from training.datasets.dataset import split
from training.errors import FitDiverged, InvalidParameter
from training.network import History, Network, Stage
from training.options import LOSSES, FitOptions, Task
from training.streaming import examples

METRICS: dict[Task, list[str]] = {
    "classification": ["accuracy"],
    "regression": ["mean_absolute_error"],
    "reconstruction": ["mean_absolute_error"],
    "detection": [],
    "clustering": [],
}


@dataclass(frozen=True)
class Fit:
    """How the fit went: every metric per epoch, and how long it took."""

    history: History
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
    kept, held = split(dataset.train, options.validation_split, options.seed, stratified=dataset.is_classified)
    began = time.monotonic()
    if network.learn is not None:
        history = network.learn(kept, held, options)
    else:
        history = _fit_in_stages(network, kept, held, options)
    if network.after_fit is not None:
        network.after_fit(kept, held)
    return Fit(history=history, seconds=time.monotonic() - began)


def _fit_in_stages(network: Network, kept: Rows, held: Rows, options: FitOptions) -> History:
    """Let Keras fit one stage after the other; the history goes on through all of them."""
    whole = Stage(name="fit", epochs=options.epochs, learning_rate=options.learning_rate)
    learned = examples(network, kept, options.batch_size, shuffled=True)
    checked = examples(network, held, options.batch_size)
    history: History = {}
    for stage in (*(network.stages or (whole,)), *network.further_stages):
        stage.begin()
        for name, values in _fit_stage(network, stage, learned, checked, options).items():
            history.setdefault(name, []).extend(values)
    return history


def _fit_stage(
    network: Network, stage: Stage, learned: tuple[Any, ...], checked: tuple[Any, ...], options: FitOptions
) -> History:
    import keras

    assert network.fitted is not None
    network.fitted.compile(
        optimizer=keras.optimizers.get(
            {"class_name": options.optimizer, "config": {"learning_rate": stage.learning_rate}}
        ),
        loss=network.loss or loss_for(network.task, options.loss),
        metrics=METRICS[network.task],
    )
    history = network.fitted.fit(
        *learned,
        validation_data=checked,
        epochs=stage.epochs,
        batch_size=options.batch_size,
        # Batches that are read from disk come shuffled.
        shuffle=len(learned) > 1,
        callbacks=[keras.callbacks.EarlyStopping(patience=options.patience, restore_best_weights=True)],
        verbose=1 if sys.stdout.isatty() else 2,
    )
    figures = {name: [float(value) for value in values] for name, values in history.history.items()}
    if not all(math.isfinite(value) for value in [*figures["loss"], *figures["val_loss"]]):
        raise FitDiverged(
            f"the loss became {figures['loss'][-1]:g}: try a smaller learning_rate than {stage.learning_rate:g}"
        )
    return figures


def loss_for(task: Task, loss: str) -> str:
    """Choose the loss; raises `InvalidParameter` for one that does not fit the task."""
    fitting = LOSSES[task]
    if loss == "auto":
        return fitting[0]
    if loss not in fitting:
        raise InvalidParameter("loss", loss, expected=f"auto or one that fits {task}: {', '.join(fitting)}")
    return loss

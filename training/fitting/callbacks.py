"""What happens during a fit, epoch by epoch, as Keras callbacks over one `FitState`.

Imports Keras, so it is imported when a fit begins. Knows neither data sets nor stores.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from training.errors import CheckpointUnwritable, FitDiverged
from training.fitting.checkpoint import Checkpoint, FitState, Saved
from training.fitting.schedule import scheduled_rate
from training.options import MONITORS, FitOptions

Logs = Mapping[str, float] | None

LINES_PER_SECOND = 10
BAR_WIDTH = 20


class StopAtDivergence(keras.callbacks.Callback):
    """Raises `FitDiverged` at the first batch whose loss is NaN or infinite."""

    def __init__(self, learning_rate: float) -> None:
        super().__init__()
        self._learning_rate = learning_rate
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Remember the epoch, for the message."""
        self._epoch = epoch + 1

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Look at the mean loss so far: it is NaN from the first bad batch on."""
        self._check((logs or {}).get("loss", 0.0))

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Look at the validation rows, too."""
        self._check((logs or {}).get("val_loss", 0.0))

    def _check(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise FitDiverged(
                f"the loss became {float(loss):g} in epoch {self._epoch}: "
                f"try a smaller learning_rate than {self._learning_rate:g}"
            )


class FollowSchedule(keras.callbacks.Callback):
    """Sets the learning rate before every epoch."""

    def __init__(self, state: FitState, options: FitOptions, base: float, epochs: int) -> None:
        super().__init__()
        self._state, self._options, self._base, self._epochs = state, options, base, epochs

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Follow the schedule, lowered by the plateaus so far."""
        rate = scheduled_rate(self._options, self._base, epoch, self._epochs)
        self.model.optimizer.learning_rate = rate * self._options.rate_decay**self._state.lowered


class KeepBest(keras.callbacks.Callback):
    """Notes every epoch, keeps the weights of the best one, and stops `patience` epochs after it."""

    def __init__(self, state: FitState, options: FitOptions) -> None:
        super().__init__()
        self._state, self._options = state, options

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Compare the epoch with the best one."""
        figures = dict(logs or {})
        self._state.add(figures)
        if self._is_better(figures[self._options.monitor]):
            self._state.best, self._state.waited, self._state.plateau = float(figures[self._options.monitor]), 0, 0
            self._state.best_weights = self.model.get_weights()
            return
        self._state.waited += 1
        self._state.plateau += 1
        if self._options.schedule == "plateau" and self._state.plateau >= self._options.rate_decay_epochs:
            self._state.lowered, self._state.plateau = self._state.lowered + 1, 0
        if self._state.waited >= self._options.patience:
            self._state.is_over = self.model.stop_training = True

    def _is_better(self, value: float) -> bool:
        best = self._state.best
        if best is None:
            return True
        return value > best if MONITORS[self._options.monitor] else value < best


class SaveCheckpoint(keras.callbacks.Callback):
    """Saves state and variables after every epoch."""

    def __init__(self, state: FitState, checkpoint: Checkpoint) -> None:
        super().__init__()
        self._state, self._checkpoint = state, checkpoint
        self._seconds, self._began = state.seconds, time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Save; raises `CheckpointUnwritable`."""
        self._state.seconds = self._seconds + time.monotonic() - self._began
        try:
            self._checkpoint.save(self._state, *_variables(self.model))
        except OSError as error:
            raise CheckpointUnwritable(self._checkpoint.path, error, epochs=self._checkpoint.epochs) from None


def _variables(model: keras.Model) -> tuple[list[Any], list[Any]]:
    """Give all that the next epoch depends on: weights and the states of dropout, and the optimizer's moments."""
    return (
        [np.asarray(variable.value) for variable in model.variables],
        [np.asarray(variable.value) for variable in model.optimizer.variables],
    )


def restore(model: keras.Model, saved: Saved) -> None:
    """Put a compiled model where it stood; raises `ValueError` where it is another model."""
    model.optimizer.build(model.trainable_variables)
    for variables, values in ((model.variables, saved.model), (model.optimizer.variables, saved.optimizer)):
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


class TellEpochs(keras.callbacks.Callback):
    """Tells every epoch in a line."""

    def __init__(self, epochs: int, say: Callable[[str], None]) -> None:
        super().__init__()
        self._epochs, self._say = epochs, say

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Tell the figures of the epoch."""
        self._say(f"          epoch {epoch + 1}/{self._epochs}: {_figures(logs)}")


class ShowProgress(keras.callbacks.Callback):
    """Keeps one line alive: how far the epoch is, its loss, and how long the rest takes at most."""

    def __init__(self, epochs: int, steps: int, show: Callable[[str], None]) -> None:
        super().__init__()
        self._epochs, self._steps, self._show = epochs, steps, show
        self._began = self._shown = time.monotonic()
        self._epoch = self._first = 0
        self._last = ""

    def on_train_begin(self, logs: Logs = None) -> None:
        """Begin to measure."""
        self._began = time.monotonic()

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Remember the epoch, and the one that this process began with."""
        self._first = self._first if self._last else epoch
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Show the line anew, a few times a second."""
        now = time.monotonic()
        if now - self._shown < 1 / LINES_PER_SECOND:
            return
        self._shown = now
        done = (batch + 1) / self._steps
        passed = self._epoch - self._first + done
        left = (now - self._began) / passed * (self._epochs - self._epoch - done)
        figures = self._last or _figures(logs)
        self._show(f"fit       epoch {self._epoch + 1}/{self._epochs} {_bar(done)} {figures}, {left:.0f} s at most")

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Remember the figures, for the line."""
        self._last = _figures(logs)

    def on_train_end(self, logs: Logs = None) -> None:
        """Remove the line."""
        self._show("")


def _figures(logs: Logs) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in (logs or {}).items())


def _bar(share: float) -> str:
    full = round(BAR_WIDTH * share)
    return "█" * full + "░" * (BAR_WIDTH - full)

"""Logs a fit for TensorBoard: by Keras as it goes, or from the history of a fit in a recipe's own way.

Both ways come to the same curves: `epoch_loss` and so on, the epochs from 0, in the folders train and validation.
Imports Keras or TensorBoard where they are used: a recipe without Keras needs no Keras.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from training.network import History

if TYPE_CHECKING:
    import keras


def callbacks(folder: Path) -> list[keras.callbacks.Callback]:
    """Make what logs a fit by Keras while it goes on."""
    import keras

    return [keras.callbacks.TensorBoard(folder, write_graph=False)]


def write_history(folder: Path, history: History) -> None:
    """Log a fit that is over: every metric per epoch."""
    from tensorboard.summary import Writer

    writers = {part: Writer(str(folder / part)) for part in ("train", "validation")}
    for name, values in history.items():
        part = "validation" if name.startswith("val_") else "train"
        for epoch, value in enumerate(values):
            writers[part].add_scalar(f"epoch_{name.removeprefix('val_')}", value, epoch)
    for writer in writers.values():
        writer.close()

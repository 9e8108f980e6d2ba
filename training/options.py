"""The options that every recipe shares: how it is fitted, and how a user's files are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from training.parameters import Parameters, parameter

OPTIMIZERS = ("adam", "adamw", "nadam", "rmsprop", "sgd", "adagrad")

Task = Literal["classification", "regression", "reconstruction", "detection", "clustering"]

# The first loss of a task is what `loss=auto` means.
LOSSES: dict[Task, tuple[str, ...]] = {
    "classification": ("sparse_categorical_crossentropy",),
    "regression": ("mean_squared_error", "mean_absolute_error", "huber", "log_cosh"),
    "reconstruction": ("mean_squared_error", "mean_absolute_error", "binary_crossentropy"),
    # These have a loss of their own.
    "detection": (),
    "clustering": (),
}
_ALL_LOSSES = tuple(dict.fromkeys(loss for losses in LOSSES.values() for loss in losses))


@dataclass(frozen=True, kw_only=True)
class FitOptions(Parameters):
    """How a model is fitted."""

    epochs: int = parameter(30, "passes over the training rows at most", at_least=1, at_most=10_000)
    batch_size: int = parameter(32, "rows per step", at_least=1, at_most=65_536)
    optimizer: str = parameter("adam", "how the weights are moved", choices=OPTIMIZERS)
    learning_rate: float = parameter(0.001, "how far they are moved in a step", above=0, at_most=10)
    loss: str = parameter("auto", "what is made small; auto: what fits the task", choices=("auto", *_ALL_LOSSES))
    validation_split: float = parameter(
        0.1, "share of the training rows that is held back to stop early", above=0, at_most=0.5
    )
    patience: int = parameter(3, "epochs without a better val_loss after which the fit stops", at_least=1)
    seed: int = parameter(0, "for weights, shuffling, dropout and the validation split", at_least=0, at_most=2**32 - 1)


@dataclass(frozen=True, kw_only=True)
class FileOptions(Parameters):
    """How a user's CSV file is read."""

    target: str = parameter("", "CSV: the column to predict (default: target in tables, label beside texts)")
    text: str = parameter("text", "CSV: the column that holds the texts, for the recipe text")
    task: str = parameter(
        "auto",
        "CSV: what to predict; auto: classes if the target is text or at most 20 different whole numbers",
        choices=("auto", "classification", "regression"),
    )


@dataclass(frozen=True, kw_only=True)
class PictureOptions(Parameters):
    """How files of pictures are read."""

    picture_size: tuple[int, ...] = parameter(
        (),
        "pictures: height,width they are brought to; nothing: their own, where all have one of at most 256, else 96,96",
        at_least=1,
        at_most=4096,
        may_be_empty=True,
    )
    colour: str = parameter(
        "auto", "pictures: with colours or without; auto: grey if all are", choices=("auto", "colour", "grey")
    )
    broken_pictures: str = parameter(
        "refuse", "pictures: what to do if some cannot be decoded", choices=("refuse", "skip")
    )

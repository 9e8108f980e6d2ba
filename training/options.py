"""The options that every recipe shares: how it is fitted, and how a user's file is read."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from training.parameters import Parameters, parameter

OPTIMIZERS = ("adam", "adamw", "nadam", "rmsprop", "sgd", "adagrad")
SCHEDULES = ("constant", "cosine", "exponential", "step", "plateau")
PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")

# What may tell the best epoch, and whether more of it is better.
MONITORS = {"val_loss": False, "val_accuracy": True, "val_mean_absolute_error": False}

Task = Literal["classification", "regression", "reconstruction", "detection", "clustering", "embedding"]

# The first loss of a task is what `loss=auto` means.
LOSSES: dict[Task, tuple[str, ...]] = {
    "classification": ("sparse_categorical_crossentropy",),
    "regression": ("mean_squared_error", "mean_absolute_error", "huber", "log_cosh"),
    "reconstruction": ("mean_squared_error", "mean_absolute_error", "binary_crossentropy"),
    # These have a loss of their own.
    "detection": (),
    "clustering": (),
    "embedding": (),
}
_ALL_LOSSES = tuple(dict.fromkeys(loss for losses in LOSSES.values() for loss in losses))


@dataclass(frozen=True, kw_only=True)
class FitOptions(Parameters):
    """How a model is fitted."""

    epochs: int = parameter(30, "passes over the training rows at most", at_least=1, at_most=10_000)
    batch_size: int = parameter(32, "rows per step", at_least=1, at_most=65_536)
    optimizer: str = parameter("adam", "how the weights are moved", choices=OPTIMIZERS)
    learning_rate: float = parameter(0.001, "how far they are moved in a step", above=0, at_most=10)
    momentum: float = parameter(0.0, "sgd, rmsprop: share of the last step that is taken again", at_least=0, below=1)
    nesterov: bool = parameter(False, "sgd: look ahead along the momentum")
    weight_decay: float = parameter(0.004, "adamw: share of each weight that is taken away", at_least=0, below=1)
    clip_norm: float = parameter(0.0, "longest gradient, over all weights together; 0: any", at_least=0)
    schedule: str = parameter("constant", "how the learning rate changes from epoch to epoch", choices=SCHEDULES)
    warmup_epochs: int = parameter(0, "epochs in which the learning rate rises to its full size", at_least=0)
    rate_decay: float = parameter(
        0.5, "exponential, step, plateau: what the learning rate is multiplied by", above=0, below=1
    )
    rate_decay_epochs: int = parameter(
        5, "exponential, step: … in so many epochs; plateau: … after so many without a better one", at_least=1
    )
    loss: str = parameter(
        "auto",
        "what is made small; auto: what fits the task",
        choices=("auto", *_ALL_LOSSES),
        short={"mse": "mean_squared_error", "mae": "mean_absolute_error"},
    )
    label_smoothing: float = parameter(
        0.0, "classification: share of the certainty that is spread over all classes", at_least=0, below=1
    )
    class_weights: str = parameter(
        "none", "classification: balanced makes every class count alike, rare or not", choices=("none", "balanced")
    )
    validation_split: float = parameter(
        0.1, "share of the training rows that is held back to stop early", above=0, at_most=0.5
    )
    monitor: str = parameter("val_loss", "what tells the best epoch", choices=tuple(MONITORS))
    patience: int = parameter(3, "epochs without a better one after which the fit stops", at_least=1)
    precision: str = parameter(
        "float32", "numbers of the fit; what is published computes in float32", choices=PRECISIONS
    )
    devices: int = parameter(0, "devices of this machine that share each step; 0: all GPUs", at_least=0, at_most=64)
    deterministic: bool = parameter(False, "take slower ways where only they give the same weights each time")
    seed: int = parameter(0, "for weights, shuffling, dropout and the validation split", at_least=0, at_most=2**32 - 1)


FIT_OPTIONS = frozenset(field.name for field in fields(FitOptions))


@dataclass(frozen=True, kw_only=True)
class FileOptions(Parameters):
    """How a user's files are read; `training.datasets.user_files` knows which of these are for what kind of file."""

    target: str = parameter("", "table: the column to predict (default: target in tables, label beside texts)")
    text: str = parameter("text", "texts: the table's column that holds them")
    task: str = parameter(
        "auto",
        "table: what to predict; auto: classes if the target is text or at most 20 different whole numbers",
        choices=("auto", "classification", "regression"),
    )
    numbers: tuple[str, ...] = parameter((), "tabular: columns that hold numbers", may_be_empty=True)
    categories: tuple[str, ...] = parameter((), "tabular: columns that hold categories", may_be_empty=True)
    drop: tuple[str, ...] = parameter((), "tabular: columns that are left out", may_be_empty=True)
    picture_size: tuple[int, ...] = parameter(
        (),
        "pictures: height,width they are brought to; nothing: their own where all have one up to 256, else 96,96; "
        "with boxes 128,128",
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
    images: str = parameter("", "boxes: the folder of the pictures (default: looked for beside the annotations)")


@dataclass(frozen=True, kw_only=True)
class ExportOptions(Parameters):
    """What becomes of the exported file."""

    quantize: str = parameter(
        "none", "int8: a smaller and often faster file, if it stays as good", choices=("none", "int8")
    )
    max_drop: float = parameter(
        0.01, "int8: how much accuracy it may lose, or by which share an error may grow", at_least=0, at_most=1
    )


SHARED_OPTIONS = frozenset(field.name for group in (FitOptions, FileOptions, ExportOptions) for field in fields(group))

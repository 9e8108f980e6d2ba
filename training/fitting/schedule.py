"""The learning rate of each epoch, and the optimizer that it is given to. Knows neither data nor networks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from training.options import FitOptions

if TYPE_CHECKING:
    import keras

# What only some optimizers take.
OWN_OPTIONS: dict[str, tuple[str, ...]] = {
    "sgd": ("momentum", "nesterov"),
    "rmsprop": ("momentum",),
    "adamw": ("weight_decay",),
}
DECAYING = ("exponential", "step", "plateau")


def scheduled_rate(options: FitOptions, base: float, epoch: int, epochs: int) -> float:
    """Give the learning rate of an epoch, counted from 0, of a fit over `epochs` of them.

    It rises to `base` in equal steps while warming up, and then follows the schedule; what a plateau takes from it
    is not known here. cosine: I. Loshchilov, F. Hutter, arXiv:1608.03983, without restarts.
    """
    if epoch < options.warmup_epochs:
        return base * (epoch + 1) / (options.warmup_epochs + 1)
    passed = epoch - options.warmup_epochs
    if options.schedule == "cosine":
        return base * (1 + math.cos(math.pi * passed / max(1, epochs - options.warmup_epochs))) / 2
    if options.schedule == "exponential":
        return float(base * options.rate_decay ** (passed / options.rate_decay_epochs))
    if options.schedule == "step":
        return float(base * options.rate_decay ** (passed // options.rate_decay_epochs))
    return base


def optimizer_for(options: FitOptions, learning_rate: float) -> keras.optimizers.Optimizer:
    """Make the optimizer; the learning rate is what it begins with."""
    import keras

    config: dict[str, Any] = {name: getattr(options, name) for name in OWN_OPTIONS.get(options.optimizer, ())}
    if options.clip_norm:
        config["global_clipnorm"] = options.clip_norm
    return keras.optimizers.get({"class_name": options.optimizer, "config": {"learning_rate": learning_rate, **config}})

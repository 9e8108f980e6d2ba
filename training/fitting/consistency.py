"""Refuses options of a fit that contradict each other, its task or its rows. Knows no Keras."""

from __future__ import annotations

from collections.abc import Collection

from training.datasets import Dataset
from training.errors import InvalidParameter
from training.fitting.fit import METRICS, loss_for
from training.fitting.schedule import DECAYING, OWN_OPTIONS
from training.options import LOSSES, FitOptions, Task

FOR_CLASSES = ("label_smoothing", "class_weights")


def check_fit(options: FitOptions, task: Task, dataset: Dataset) -> None:
    """Raise `InvalidParameter` for the first option that would be ignored or could not work."""
    if LOSSES[task]:
        loss_for(task, options.loss)
    _check_optimizer(options)
    _check_schedule(options)
    _check_task(options, task)
    _check_validation_split(options, dataset)


def check_heeded(options: FitOptions, usual: FitOptions, heeded: Collection[str]) -> None:
    """Raise `InvalidParameter` for an option that is not what is usual, and means nothing to what is fitted."""
    for name in options.as_json():
        if name not in heeded and getattr(options, name) != getattr(usual, name):
            listed = f"such a fit, which heeds {', '.join(sorted(heeded))}" if heeded else "weights that are given"
            _refuse(options, name, f"the default: it means nothing to {listed}")


def _check_optimizer(options: FitOptions) -> None:
    for name in sorted({name for names in OWN_OPTIONS.values() for name in names}):
        takers = [optimizer for optimizer, names in OWN_OPTIONS.items() if name in names]
        if _is_set(options, name) and options.optimizer not in takers:
            _refuse(options, name, f"optimizer={' or '.join(takers)} with it")
    if options.nesterov and not options.momentum:
        _refuse(options, "nesterov", "a momentum above 0 with it")


def _check_schedule(options: FitOptions) -> None:
    for name in ("rate_decay", "rate_decay_epochs"):
        if _is_set(options, name) and options.schedule not in DECAYING:
            _refuse(options, name, f"schedule={' or '.join(DECAYING)} with it")
    if options.warmup_epochs >= options.epochs:
        _refuse(options, "warmup_epochs", f"fewer than epochs={options.epochs}")
    if options.schedule == "plateau" and options.rate_decay_epochs >= options.patience:
        _refuse(options, "rate_decay_epochs", f"fewer than patience={options.patience}: the fit would stop before")


def _check_task(options: FitOptions, task: Task) -> None:
    for name in FOR_CLASSES:
        if _is_set(options, name) and task != "classification":
            _refuse(options, name, f"classification; this is {task}")
    fitting = ["val_loss", *(f"val_{metric}" for metric in METRICS[task])]
    if options.monitor not in fitting:
        _refuse(options, "monitor", f"one that {task} has: {', '.join(fitting)}")


def _check_validation_split(options: FitOptions, dataset: Dataset) -> None:
    """Refuse a share that leaves no row to stop early by, or that nothing is taken for."""
    rows = len(dataset.train)
    if dataset.validation is not None:
        if _is_set(options, "validation_split"):
            _refuse(options, "validation_split", f"nothing: {dataset.name} has validation rows of its own")
    elif round(rows * options.validation_split) < 1:
        _refuse(options, "validation_split", f"a share that is at least one of {rows} training rows")


def _is_set(options: FitOptions, name: str) -> bool:
    return bool(getattr(options, name) != getattr(FitOptions(), name))


def _refuse(options: FitOptions, name: str, expected: str) -> None:
    raise InvalidParameter(name, getattr(options, name), expected=expected)

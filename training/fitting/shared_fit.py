"""Keras's fit, done by several machines: each takes its share of every batch, and all take the same step.

Keras's own `fit` fails under MultiWorkerMirroredStrategy, so this is the loop: callbacks and figures are those of
`fit`. Every machine keeps the whole model on one device; what travels is the sum of the gradients, and the figures by
which all decide alike. Losses and weights are those of one machine, up to the order in which floats are added; what
a layer learns of its batch's mean and deviation it learns of its share, and the chief's are kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from training.fitting.checkpoint import FitState
from training.fitting.feeding import Feed, batch_sizes, rows_of_share
from training.fitting.machines import Machines


@dataclass(frozen=True, kw_only=True)
class SharedFit:
    """What is fitted, and by whom: a compiled model, its metrics by name, its class weights, if there are any."""

    model: keras.Model
    machines: Machines
    metrics: Sequence[str]
    class_weights: Mapping[int, float] | None
    batch_size: int

    def run(
        self, batches: Any, learned: Feed, checked: Feed, *, initial: int, epochs: int, callbacks: Sequence[Any]
    ) -> None:
        """Fit the epochs from `initial` on, whose batches are given, until all `epochs` are done or a callback stops.

        The arguments are those of Keras's `fit`; the feeds give this machine's share of what is learned and checked.
        """
        sizes = batch_sizes(len(learned), self.batch_size)
        told = keras.callbacks.CallbackList(list(callbacks), model=self.model, epochs=epochs, steps=len(sizes))
        steps = _Steps(self, batches.element_spec)
        begin_alike(self.model, self.machines)
        self.model.stop_training = False
        shares, logs = iter(batches), dict[str, float]()
        told.on_train_begin()
        for epoch in range(initial, epochs):
            told.on_epoch_begin(epoch)
            logs = self._learn(steps, shares, sizes, told)
            take_statistics(self.model, self.machines)
            logs |= {f"val_{name}": value for name, value in self._check(steps, checked).items()}
            told.on_epoch_end(epoch, logs)
            if self.model.stop_training:
                break
        told.on_train_end(logs)

    def _learn(self, steps: _Steps, shares: Iterator[Any], sizes: Sequence[int], told: Any) -> dict[str, float]:
        """Go through an epoch; return its mean figures."""
        sums, seen, logs = np.zeros(len(steps.names)), 0, dict[str, float]()
        for number, size in enumerate(sizes):
            told.on_train_batch_begin(number)
            weight = tf.constant(self._rows(size) / size, tf.float32)
            sums += size * steps.learn(*next(shares), weight).numpy()
            seen += size
            logs = dict(zip(steps.names, (sums / seen).tolist(), strict=True))
            told.on_train_batch_end(number, logs)
        return logs

    def _check(self, steps: _Steps, checked: Feed) -> dict[str, float]:
        """Give the mean figures of the validation rows, each row checked by one machine."""
        sums = np.zeros(len(steps.names), np.float32)
        sizes = batch_sizes(len(checked), self.batch_size)
        for size, share in zip(sizes, checked.in_order(self.batch_size), strict=True):
            sums += self._rows(size) * steps.check(*share).numpy()
        (total,) = self.machines.sums([sums])
        return dict(zip(steps.names, (np.asarray(total) / len(checked)).tolist(), strict=True))

    def _rows(self, size: int) -> int:
        return rows_of_share(size, self.machines.place.share)


class _Steps:
    """The two steps of a fit as TensorFlow's graphs, each traced once: sums meet by the order in which they are traced.

    `names` are those of the figures, the loss first.
    """

    def __init__(self, fit: SharedFit, spec: Any) -> None:
        self.names = ("loss", *fit.metrics)
        self._fit = fit
        self._weights = None if fit.class_weights is None else _table(fit.class_weights)
        self.learn = tf.function(self._learn, input_signature=[*spec, tf.TensorSpec([], tf.float32)])
        self.check = tf.function(self._check, input_signature=list(spec))

    def _learn(self, inputs: Any, targets: Any, weight: Any) -> Any:
        """Take the step of all machines; return the figures of the whole batch, of which this share is `weight`."""
        model = self._fit.model
        variables = model.trainable_variables
        with tf.GradientTape() as tape:
            figures = weight * self._figures(inputs, targets, self._weights, training=True)
            loss = model.optimizer.scale_loss(figures[0])
        gradients = tape.gradient(loss, variables)
        used = [
            (tf.convert_to_tensor(part), variable)
            for part, variable in zip(gradients, variables, strict=True)
            if part is not None
        ]
        *totals, figures = self._fit.machines.sums([*(part for part, _ in used), figures])
        model.optimizer.apply_gradients(zip(totals, (variable for _, variable in used), strict=True))
        return figures

    def _check(self, inputs: Any, targets: Any) -> Any:
        return self._figures(inputs, targets, None, training=False)

    def _figures(self, inputs: Any, targets: Any, class_weights: Any, *, training: bool) -> Any:
        """Compute the mean loss and metrics of this share's rows."""
        model = self._fit.model
        answers = model(inputs, training=training)
        weights = None if class_weights is None else tf.gather(class_weights, _classes(targets))
        loss = model.compute_loss(inputs, targets, answers, weights, training=training)
        means = [tf.reduce_mean(measure(name, targets, answers)) for name in self._fit.metrics]
        return tf.stack([tf.cast(figure, tf.float32) for figure in (loss, *means)])


def state_from_chief(machines: Machines, state: FitState, model: keras.Model) -> FitState:
    """Give all machines the chief's state: the chief alone has a checkpoint."""
    facts = json.loads(machines.bytes_from_chief(json.dumps(state.facts()).encode()))
    shared = FitState(**facts)
    if shared.epochs:
        shared.best_weights = machines.from_chief(state.best_weights or model.get_weights())
    return shared


def begin_alike(model: keras.Model, machines: Machines) -> None:
    """Give all machines the chief's weights and moments, and each a chance of its own for dropout."""
    model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables]
    _take(variables, machines)
    for variable in variables:
        if variable.dtype == "uint32":  # the seed of a layer, and how often it was drawn
            variable.assign(np.asarray(variable.value) + np.array([machines.place.index, 0], np.uint32))


def take_statistics(model: keras.Model, machines: Machines) -> None:
    """Give all machines the chief's means and deviations, which no gradient moves."""
    if model.non_trainable_weights:
        _take(model.non_trainable_weights, machines)


def _take(variables: Sequence[Any], machines: Machines) -> None:
    values = machines.from_chief([np.asarray(variable.value) for variable in variables])
    if not machines.place.is_chief:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


def measure(name: str, targets: Any, answers: Any) -> Any:
    """Measure every row; what "accuracy" is follows from the shapes, as in Keras."""
    if name != "accuracy":
        return getattr(keras.metrics, name)(targets, answers)
    if answers.shape[-1] == 1:
        return keras.metrics.binary_accuracy(targets, answers)
    if len(targets.shape) == len(answers.shape) and targets.shape[-1] == answers.shape[-1]:
        return keras.metrics.categorical_accuracy(targets, answers)
    return keras.metrics.sparse_categorical_accuracy(targets, answers)


def _table(class_weights: Mapping[int, float]) -> Any:
    return tf.constant([class_weights.get(index, 1.0) for index in range(max(class_weights) + 1)], tf.float32)


def _classes(targets: Any) -> Any:
    """Give the class of every row, of indices or of one-hot rows."""
    if len(targets.shape) == 1:
        return tf.cast(targets, tf.int64)
    return tf.argmax(targets, axis=-1) if targets.shape[-1] > 1 else tf.cast(targets[:, 0], tf.int64)

"""Fits a network: validation rows, early stopping, the best weights kept. Knows neither ONNX nor stores.

With a checkpoint, a fit that was killed goes on after the last epoch that it finished, and comes to the same weights
as one that was not: whatever an epoch depends on is saved, or made from seed and epoch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from training.datasets import Dataset, Rows
from training.datasets.dataset import split
from training.errors import CheckpointUnfit, InvalidParameter
from training.fitting.checkpoint import Checkpoint, FitState, Saved
from training.fitting.feeding import Feed, balanced_weights, steps_per_epoch
from training.fitting.schedule import optimizer_for
from training.network import History, Network, Stage
from training.options import LOSSES, MONITORS, FitOptions, Task

if TYPE_CHECKING:
    import keras

    from training.fitting.machines import Machines

METRICS: dict[Task, list[str]] = {
    "classification": ["accuracy"],
    "regression": ["mean_absolute_error"],
    "reconstruction": ["mean_absolute_error"],
    "detection": [],
    "clustering": [],
    "embedding": [],
}

Say = Callable[[str], None]


def quiet(_: str) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class Fit:
    """How the fit went: every metric per epoch, how long it took, after which epoch each further stage began.

    `monitor` told the best epoch.
    """

    history: History
    seconds: float
    further_stages: dict[str, int] = field(default_factory=dict)
    monitor: str = "val_loss"

    @property
    def epochs(self) -> int:
        """How many epochs ran: none where the weights were given."""
        return len(self.history.get("loss", ()))

    @property
    def kept_epoch(self) -> int:
        """Which epoch's weights were kept, counted from 1 over all stages; 0 where none ran."""
        if not self.epochs:
            return 0
        values = self.history[self.monitor]
        return 1 + values.index(max(values) if MONITORS[self.monitor] else min(values))


@dataclass(frozen=True, kw_only=True)
class Company:
    """What goes along with a fit: where it saves its state, whom it tells how far it is, further Keras callbacks.

    `machines` fit together, where there are several.

    `say` is told a line per epoch; or `show`, where it is given, the text of one line that stays alive.
    """

    checkpoint: Checkpoint | None = None
    say: Say = quiet
    show: Say | None = None
    callbacks: Sequence[keras.callbacks.Callback] = ()
    machines: Machines | None = None


def fit(network: Network, dataset: Dataset, options: FitOptions, company: Company | None = None) -> Fit:
    """Fit in place, and stop `patience` epochs after the best one, with the weights it had then.

    Raises:
        FitDiverged: the loss became NaN or infinite.
        CheckpointUnwritable: the state could not be saved; what was saved before is still there.
        CheckpointUnfit: what was saved belongs to a network with other weights.
    """
    kept, held = validation(dataset, options)
    began = time.monotonic()
    if network.learn is not None:
        history = network.learn(kept, held, options)
        fitted = Fit(history=history, seconds=time.monotonic() - began)
    else:
        fitted = _fit_by_keras(network, kept, held, options, company or Company())
    if network.after_fit is not None:
        network.after_fit(kept, held)
    return fitted


def validation(dataset: Dataset, options: FitOptions) -> tuple[Rows, Rows]:
    """Part the training rows into those to learn from and those held back, or take the data set's own."""
    if dataset.validation is not None:
        return dataset.train, dataset.validation
    return split(dataset.train, options.validation_split, options.seed, stratified=dataset.is_classified)


def stages_of(network: Network, options: FitOptions) -> tuple[Stage, ...]:
    """Give the network's stages, or one by the options."""
    whole = Stage(name="fit", epochs=options.epochs, learning_rate=options.learning_rate)
    return (*(network.stages or (whole,)), *network.further_stages)


@dataclass(frozen=True)
class _Fitting:
    """One fit by Keras, stage after stage: what is learned and checked, how, and where it stands."""

    network: Network
    options: FitOptions
    company: Company
    learned: Feed
    checked: Feed
    state: FitState

    def run(self, saved: Saved | None) -> None:
        """Go through the stages that are not done; the history goes on through all of them."""
        for number, stage in enumerate(stages_of(self.network, self.options)):
            stage.begin()
            if number < self.state.stage:
                continue
            if number > self.state.stage:
                self.state.begin_stage(number)
                saved = None
            self._fit_stage(stage, saved)

    def _fit_stage(self, stage: Stage, saved: Saved | None) -> None:
        """Fit the rest of a stage, and end with the weights of its best epoch."""
        model = self.network.fitted
        assert model is not None
        # An optimizer keeps its moments on the devices that the model was built for.
        with model.distribute_strategy.scope():
            model.compile(
                optimizer=optimizer_for(self.options, stage.learning_rate),
                loss=_loss(self.network, self.options),
                metrics=METRICS[self.network.task],
            )
            if saved:
                _restore(model, saved)
        if self.state.epoch < stage.epochs and not self.state.is_over:
            self._fit_epochs(model, stage)
        model.set_weights(self.state.best_weights)

    def _fit_epochs(self, model: keras.Model, stage: Stage) -> None:
        if self.company.machines is not None:
            self._fit_epochs_with(self.company.machines, model, stage)
            return
        steps = steps_per_epoch(len(self.learned), self.options.batch_size)
        model.fit(
            self._batches(stage),
            shuffle=False,
            steps_per_epoch=steps,
            initial_epoch=self.state.epoch,
            epochs=stage.epochs,
            validation_data=self.checked.in_order(self.options.batch_size),
            class_weight=self._class_weights(),
            callbacks=self._callbacks(stage, steps),
            verbose=0,
        )

    def _fit_epochs_with(self, machines: Machines, model: keras.Model, stage: Stage) -> None:
        from training.fitting.shared_fit import SharedFit

        steps = steps_per_epoch(len(self.learned), self.options.batch_size)
        shared = SharedFit(
            model=model,
            machines=machines,
            metrics=METRICS[self.network.task],
            class_weights=self._class_weights(),
            batch_size=self.options.batch_size,
        )
        shared.run(
            self._batches(stage),
            self.learned,
            self.checked,
            initial=self.state.epoch,
            epochs=stage.epochs,
            callbacks=self._callbacks(stage, steps),
        )

    def _class_weights(self) -> dict[int, float] | None:
        return balanced_weights(self.learned.rows.targets) if self.options.class_weights == "balanced" else None

    def _batches(self, stage: Stage) -> Any:
        """Order the rows of an epoch by its number over all stages."""
        first = self.state.epochs
        last = first - self.state.epoch + stage.epochs
        return self.learned.shuffled(self.options.batch_size, seed=self.options.seed, first=first, last=last)

    def _callbacks(self, stage: Stage, steps: int) -> list[keras.callbacks.Callback]:
        """Put the callbacks in order: an epoch is checked, noted, saved, and then told."""
        from training.fitting import callbacks as own

        company, state = self.company, self.state
        saving = [own.SaveCheckpoint(state, company.checkpoint)] if company.checkpoint else []
        telling = (
            own.ShowProgress(stage.epochs, steps, company.show)
            if company.show
            else own.TellEpochs(stage.epochs, company.say)
        )
        return [
            own.StopAtDivergence(stage.learning_rate),
            own.FollowSchedule(state, self.options, stage.learning_rate, stage.epochs),
            own.KeepBest(state, self.options),
            *saving,
            telling,
            *company.callbacks,
        ]


def _fit_by_keras(network: Network, kept: Rows, held: Rows, options: FitOptions, company: Company) -> Fit:
    """Fit from the start, or from where the checkpoint stands."""
    saved = company.checkpoint.load() if company.checkpoint else None
    state = saved.state if saved else FitState()
    if saved:
        company.say(f"resume    after epoch {state.epochs}, from {company.checkpoint}")
    share = (0, 1)
    if company.machines is not None:
        share = company.machines.place.share
        state = _state_from_chief(company.machines, state, network)
    began = time.monotonic() - state.seconds
    learned, checked = (Feed(network, rows, share) for rows in (kept, held))
    _Fitting(network, options, company, learned, checked, state).run(saved)
    names = [stage.name for stage in stages_of(network, options)][1:]
    further = dict(zip(names, state.before, strict=True))
    seconds = time.monotonic() - began
    return Fit(history=state.history, seconds=seconds, further_stages=further, monitor=options.monitor)


def _state_from_chief(machines: Machines, state: FitState, network: Network) -> FitState:
    from training.fitting.shared_fit import state_from_chief

    assert network.fitted is not None
    return state_from_chief(machines, state, network.fitted)


def _restore(model: keras.Model, saved: Saved) -> None:
    from training.fitting.callbacks import restore

    try:
        restore(model, saved)
    except ValueError:
        raise CheckpointUnfit("the checkpoint is of a network with other weights: start anew with --fresh") from None


def _loss(network: Network, options: FitOptions) -> Any:
    if network.loss is not None:
        return network.loss
    if options.label_smoothing:
        return _smoothed_crossentropy(options.label_smoothing)
    return loss_for(network.task, options.loss)


def _smoothed_crossentropy(smoothing: float) -> Callable[[Any, Any], Any]:
    """Make a cross-entropy of class indices that spreads some certainty (C. Szegedy et al., arXiv:1512.00567)."""
    from keras import losses, ops

    def smoothed_crossentropy(targets: Any, answers: Any) -> Any:
        right = ops.one_hot(ops.cast(ops.reshape(targets, (-1,)), "int32"), answers.shape[-1], dtype=answers.dtype)
        return losses.categorical_crossentropy(right, answers, label_smoothing=smoothing)

    return smoothed_crossentropy


def loss_for(task: Task, loss: str) -> str:
    """Choose the loss; raises `InvalidParameter` for one that does not fit the task."""
    fitting = LOSSES[task]
    if loss == "auto":
        return fitting[0]
    if loss not in fitting:
        raise InvalidParameter("loss", loss, expected=f"auto or one that fits {task}: {', '.join(fitting)}")
    return loss

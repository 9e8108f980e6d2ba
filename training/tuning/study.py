"""Tries parameters of a recipe, one fit for each trial, and finds those with the smallest validation loss.

Optuna proposes the values (J. Bergstra et al., "Algorithms for hyper-parameter optimization", NeurIPS 2011) and
stops a trial that does worse than the median of the others. Every trial goes into a journal at once, so a search
that was interrupted goes on where it stopped. Nothing is published here.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from training import pipeline
from training.errors import OtherTrials, TrainingError
from training.fitting.fit import Company, Fit, fit
from training.job import Job
from training.options import FitOptions
from training.parameters import read_parameters
from training.tuning.search_space import Range, Search, Space

STUDY = "tuning"
QUESTION, FACTS = "question", "facts"
# So many trials are run to their end before any is stopped early, and each for so many epochs.
TRIALS_BEFORE_PRUNING, EPOCHS_BEFORE_PRUNING = 5, 3

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One fit: the values that were tried, as `--set` takes them, and what came of them.

    `outcome` is complete, pruned (stopped early), or the error in one line; `val_loss` is None where there is none.
    """

    number: int
    values: dict[str, str]
    outcome: str
    val_loss: float | None
    epochs: int
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Give the trial as plain JSON."""
        return dataclasses.asdict(self)


def search(job: Job, space: Space, *, trials: int, journal: Path, say: Say) -> list[Trial]:
    """Run trials until the journal holds `trials` of them; return all, in the order they were run.

    Raises:
        OtherTrials: the journal holds the trials of another search.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = _open(journal, _question(job, space))
    for trial in _finished(study):
        say(f"{describe(trial)}  (from {journal})")
    while len(_finished(study)) < trials:
        _run_next(study, job, space)
        say(describe(_finished(study)[-1]))
    return _finished(study)


def best_of(trials: list[Trial]) -> Trial:
    """Return the trial with the smallest validation loss; raises `TrainingError` if none came to its end."""
    complete = [trial for trial in trials if trial.outcome == "complete" and trial.val_loss is not None]
    if not complete:
        raise TrainingError(f"none of {len(trials)} trials came to its end: {trials[-1].outcome}")
    return min(complete, key=lambda trial: (trial.val_loss, trial.number))


def with_values(job: Job, values: Mapping[str, str]) -> Job:
    """Give a job other parameters."""
    own, options = read_parameters(values, job.parameters, job.fit)
    assert isinstance(options, FitOptions)
    return dataclasses.replace(job, parameters=own, fit=options)


def describe(trial: Trial) -> str:
    """Tell of a trial in one line."""
    loss = "-" if trial.val_loss is None else f"{trial.val_loss:.4f}"
    values = " ".join(f"{name}={value}" for name, value in trial.values.items())
    return f"trial {trial.number:3}  val_loss {loss:8} {trial.outcome:9} {trial.epochs:3} epochs  {values}"


def _question(job: Job, space: Space) -> dict[str, Any]:
    """Say what is searched: trials can be compared only where all of this is the same."""
    return {
        "recipe": job.recipe.name,
        "data": job.dataset.sha256,
        "parameters": job.parameters_as_json(),
        "search": {name: str(search) for name, search in space.items()},
    }


def _open(journal: Path, question: dict[str, Any]) -> optuna.Study:
    journal.parent.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(journal))),
        study_name=STUDY,
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(TRIALS_BEFORE_PRUNING, EPOCHS_BEFORE_PRUNING),
    )
    known = study.user_attrs.get(QUESTION)
    if known is None:
        study.set_user_attr(QUESTION, question)
    elif known != question:
        differing = ", ".join(name for name in question if known.get(name) != question[name])
        raise OtherTrials(f"{journal} holds trials with other {differing}: name another --journal, or remove it")
    return study


def _finished(study: optuna.Study) -> list[Trial]:
    """List what came to an end; a trial that was interrupted is run again under a new number."""
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    return [_read(number, trial) for number, trial in enumerate(done, start=1)]


def _read(number: int, trial: FrozenTrial) -> Trial:
    return Trial(number=number, values=_as_texts(trial.params), **trial.user_attrs[FACTS])


def _run_next(study: optuna.Study, job: Job, space: Space) -> None:
    """Ask for values, fit with them, and write down what came of it."""
    # A sampler of its own for each trial: an interrupted search proposes what it would have proposed anyway.
    study.sampler = optuna.samplers.TPESampler(seed=job.fit.seed + len(_finished(study)))
    asked = study.ask({name: _distribution(search) for name, search in space.items()})
    began = time.monotonic()
    reported: list[float] = []
    value, outcome, epochs = None, "complete", 0
    try:
        fitted = _fit(with_values(job, _as_texts(asked.params)), asked, reported)
        value, epochs = min(fitted.history["val_loss"]), fitted.epochs
    except optuna.TrialPruned:
        value, outcome, epochs = min(reported), "pruned", len(reported)
    except TrainingError as error:
        outcome, epochs = str(error), len(reported)
    facts = {"outcome": outcome, "val_loss": value, "epochs": epochs, "seconds": round(time.monotonic() - began, 1)}
    asked.set_user_attr(FACTS, facts)
    if outcome == "complete":
        study.tell(asked, value)
    else:
        study.tell(asked, state=TrialState.PRUNED)


def _fit(job: Job, trial: optuna.Trial, reported: list[float]) -> Fit:
    """Build and fit; a network that learns in its own way is not pruned."""
    network = pipeline.build(job)
    callbacks = [_pruning(trial, reported)] if job.recipe.uses_keras else []
    return fit(network, job.dataset, job.fit, Company(callbacks=callbacks))


def _pruning(trial: optuna.Trial, reported: list[float]) -> Any:
    """Report each epoch to Optuna, and stop a trial without hope; raises `optuna.TrialPruned` in the midst of a fit."""
    import keras

    epochs = itertools.count()

    def report(_: int, figures: Mapping[str, float]) -> None:
        reported.append(float(figures["val_loss"]))
        trial.report(reported[-1], next(epochs))
        if trial.should_prune():
            raise optuna.TrialPruned

    return keras.callbacks.LambdaCallback(on_epoch_end=report)


def _distribution(search: Search) -> IntDistribution | FloatDistribution | CategoricalDistribution:
    if not isinstance(search, Range):
        return CategoricalDistribution(search.values)
    if search.is_whole:
        return IntDistribution(int(search.low), int(search.high), log=search.is_wide)
    return FloatDistribution(search.low, search.high, log=search.is_wide)


def _as_texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: f"{value:.4g}" if isinstance(value, float) else str(value) for name, value in values.items()}

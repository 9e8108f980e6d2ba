"""The trials of a search as a table on disk, and as an exhibit for the report. Knows neither Optuna nor Keras."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from training.evidence.exhibit import Exhibit
from training.tuning.search_space import Space
from training.tuning.study import Trial

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_table(trials: Sequence[Trial], path: Path) -> None:
    """Write a CSV file: a row for each trial, a column for each parameter."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(table(trials))


def table(trials: Sequence[Trial]) -> list[tuple[str, ...]]:
    """Make rows of texts, the header first."""
    names = tuple(trials[0].values)
    rows = [
        (
            str(trial.number),
            "" if trial.val_loss is None else f"{trial.val_loss:.6g}",
            trial.outcome,
            str(trial.epochs),
            str(trial.seconds),
            *(trial.values[name] for name in names),
        )
        for trial in trials
    ]
    return [("trial", "val_loss", "outcome", "epochs", "seconds", *names), *rows]


def exhibit(trials: Sequence[Trial], best: Trial) -> Exhibit:
    """Show the search: the loss of each trial, the best so far, and the table, best first."""
    header, *rows = table(best_first(trials))
    return Exhibit(
        name="tuning",
        title="Tuning",
        text=f"{len(trials)} trials; this model was fitted with the values of trial {best.number}.",
        figure=_figure(trials),
        table=(header, *rows),
    )


def as_json(trials: Sequence[Trial], best: Trial, space: Space) -> dict[str, Any]:
    """Give the search for the manifest."""
    return {
        "search": {name: str(search) for name, search in space.items()},
        "best_trial": best.number,
        "trials": [trial.as_json() for trial in trials],
    }


def best_first(trials: Sequence[Trial]) -> list[Trial]:
    """Sort trials: those that came to their end by their loss, then the others."""
    return sorted(trials, key=_rank)


def _rank(trial: Trial) -> tuple[bool, float, int]:
    loss = float("inf") if trial.val_loss is None else trial.val_loss
    return trial.outcome != "complete", loss, trial.number


def _figure(trials: Sequence[Trial]) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(5.6, 3.4), dpi=90, layout="constrained")
    axes = figure.subplots()
    for outcome, marker, colour in (("complete", "o", "#1f5a8a"), ("pruned", "x", "#777777")):
        shown = [trial for trial in trials if trial.outcome == outcome]
        losses = np.array([trial.val_loss for trial in shown], dtype=np.float64)
        axes.scatter([trial.number for trial in shown], losses, marker=marker, color=colour, s=18, label=outcome)
    complete = [trial for trial in trials if trial.outcome == "complete"]
    best = np.minimum.accumulate([trial.val_loss or 0.0 for trial in complete])
    axes.step([trial.number for trial in complete], best, where="post", color="#d9772b", linewidth=1, label="best")
    axes.set(xlabel="trial", ylabel="val_loss")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    return figure

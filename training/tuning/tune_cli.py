"""`ovenbird tune`: search for good parameters, then train and publish with the best, if that is better than before.

Imports neither Optuna nor TensorFlow before a search begins.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from model_store import Draft, Store, StoredVersion
from model_store.remote.address import without_secrets
from training import cli_parts
from training.errors import InvalidParameter, MissingPackage, WrongUse
from training.job import Job, find_recipe, prepare
from training.options import FIT_OPTIONS
from training.tuning.search_space import Space, default_space, read_space
from training.tuning.standing import as_good_already

if TYPE_CHECKING:
    from training.tuning.study import Trial

MOST_SHOWN = 10


@click.command(cls=cli_parts.Trains, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("recipe")
@cli_parts.data_option
@cli_parts.set_option("A parameter that stays as it is; several times.")
@click.option(
    "--search",
    "searched",
    metavar="NAME=LOW..HIGH|A,B,C",
    multiple=True,
    help="A parameter to vary; several times.  [default: what of the recipe's own changes what is learned, "
    "learning_rate and batch_size]",
)
@click.option("--trials", type=click.IntRange(min=1), default=20, show_default=True, help="Fits in all.")
@cli_parts.store_option
@cli_parts.name_option
@cli_parts.quantize_option
@click.option(
    "--journal", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
    help="Where the trials are kept, to go on later.  [default: STORE.tuning/MODEL.journal]",
)  # fmt: skip
def tune(
    recipe: str,
    data: str | None,
    settings: tuple[str, ...],
    searched: tuple[str, ...],
    trials: int,
    store_location: str,
    name: str | None,
    quantize: str | None,
    journal: Path | None,
) -> None:
    """Search for good parameters of a recipe, then train with the best and publish.

    \b
    Examples:
      ovenbird tune dnn                                         20 trials around the recipe's defaults
      ovenbird tune mlp --trials 50 --set epochs=40
      ovenbird tune cnn --data mnist --search learning_rate=1e-4..1e-2 --search dropout=0..0.5
      ovenbird tune dnn --search hidden=64/128/128,64 --search optimizer=adam,sgd

    Each trial fits the recipe with other values and is judged by its val_loss, on rows that are held back from
    the training rows; the test rows are not touched. A trial that does worse than most is stopped early. Values
    of a parameter that is itself a list are separated by slashes.

    The same command goes on after an interruption, and with more --trials it goes on with the search. The trials
    are kept beside the store, as a journal and as a CSV table, and in the report and the manifest of the model.

    If the model's newest version in the store is at least as good on the same test rows, nothing is published; the
    command that trains and publishes the best trial all the same is told.

    \b
    Exit codes: 0 done, 1 the work failed, 2 wrong use, 130 interrupted.
    """
    fixed = cli_parts.parameters(settings, quantize)
    with cli_parts.one_line_errors(interrupted="interrupted; the same command goes on from the last whole trial"):
        job = prepare(recipe, data, store=store_location, name=name, parameters=fixed)
        space = _space(recipe, job, cli_parts.pairs("--search", searched), fixed=fixed)
        found, best = _search(job, space, trials, journal or default_journal(job))
        command = _command(recipe, data, {**fixed, **best.values}, name=name, store=store_location)
        click.echo(f"the best one: {command}\n")
        published = _publish(job, space, found, best, command)
    if published:
        click.echo("\n" + cli_parts.outcome(published, store_location))


def default_journal(job: Job) -> Path:
    """Keep trials beside the store, not in it: they are no model."""
    root = job.store.root
    return root.with_name(f"{root.name}.tuning") / f"{job.name}.journal"


def _space(recipe: str, job: Job, searched: dict[str, str], *, fixed: dict[str, str]) -> Space:
    both = sorted(searched.keys() & fixed.keys())
    if both:
        raise InvalidParameter(both[0], fixed[both[0]], expected="either --set or --search for it, not both")
    chosen = find_recipe(recipe)
    heeded = set(chosen.heeds(job.parameters))
    if not heeded:
        raise WrongUse("nothing to search for: the weights are given, and nothing is fitted")
    idle = FIT_OPTIONS - heeded
    for name in sorted(searched.keys() & idle):
        raise InvalidParameter(name, searched[name], expected="another parameter: this one means nothing to such a fit")
    space = read_space(searched, chosen.parameters, chosen.fit) or default_space(
        job.parameters, job.fit, fixed=idle | fixed.keys()
    )
    if not space:
        raise InvalidParameter("search", "nothing", expected="a parameter to vary, with --search NAME=LOW..HIGH")
    return space


def _search(job: Job, space: Space, trials: int, journal: Path) -> tuple[list[Trial], Trial]:
    """Run the trials, tell them, and keep their table; return all, and the best one."""
    if importlib.util.find_spec("optuna") is None:
        raise MissingPackage("not installed: optuna; pip install 'ovenbird[train]', or '.[train]' from a clone")
    from training.tuning import study, tuning_report

    for name, search in space.items():
        click.echo(f"search    {name}: {search}")
    found = study.search(job, space, trials=trials, journal=journal, say=click.echo)
    table = journal.with_suffix(".csv")
    tuning_report.write_table(found, table)
    best = study.best_of(found)
    shown = [study.describe(trial) for trial in tuning_report.best_first(found)[:MOST_SHOWN]]
    click.echo("\n".join(["\nbest first:", *shown, f"\nall {len(found)} trials: {table}"]))
    return found, best


def _command(recipe: str, data: str | None, values: Mapping[str, str], *, name: str | None, store: str) -> str:
    """Write the command that trains with these values and publishes."""
    pairs = [word for parameter, value in values.items() for word in ("--set", f"{parameter}={value}")]
    chosen = [*(["--data", data] if data else []), *pairs, *(["--name", name] if name else [])]
    return shlex.join(["ovenbird", "train", recipe, *chosen, "--store", without_secrets(store)])


def _publish(job: Job, space: Space, found: list[Trial], best: Trial, command: str) -> list[StoredVersion]:
    """Train with the best values, and publish unless the store has a version that is as good."""
    from training import pipeline
    from training.tuning import study, tuning_report

    final = dataclasses.replace(
        study.with_values(job, best.values),
        extra={"tuning": tuning_report.as_json(found, best, space)},
        exhibits=(tuning_report.exhibit(found, best),),
    )
    return pipeline.run(final, say=click.echo, gate=lambda draft: _is_better(draft, job.store, command))


def _is_better(draft: Draft, store: Store, command: str) -> bool:
    """Tell whether the draft is better than what the store has; if not, say so, and how to publish it all the same."""
    standing = as_good_already(store, draft)
    if standing is None:
        return True
    metric, value = next(iter(draft.manifest.metrics.items()))
    click.echo(
        f"kept      {standing}, {metric} {standing.manifest.metrics[metric]:.4g} on the same test rows; the best trial "
        f"has {value:.4g}: not published; to publish it all the same: {command}"
    )
    return False

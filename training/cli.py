"""`ovenbird train`: the command line of this package. Imports no TensorFlow until a job begins."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from training import cli_parts
from training.cli_parts import Misused
from training.datasets import DESCRIPTIONS
from training.job import find_recipe, plan
from training.job import train as run_job
from training.options import ExportOptions, FileOptions, FitOptions
from training.parameters import Parameters, describe, written
from training.recipes import RECIPES, Recipe


@click.command(cls=cli_parts.Trains, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("recipe", required=False)
@cli_parts.data_option
@cli_parts.set_option("A parameter; may be given several times.")
@cli_parts.store_option
@cli_parts.name_option
@click.option("--fresh", is_flag=True, help="Start anew, even if the same job was killed half-way.")
@click.option("--dry-run", is_flag=True, help="Show the layers and the plan; fit and write nothing.")
@click.option(
    "--tensorboard", metavar="DIR", type=click.Path(path_type=Path), help="Log the fit in DIR/MODEL, for TensorBoard."
)
@cli_parts.quantize_option
@click.option("--list", "show_list", is_flag=True, help="Show the recipes with their parameters, and the data sets.")
def train(
    recipe: str | None,
    data: str | None,
    settings: tuple[str, ...],
    store_location: str,
    name: str | None,
    fresh: bool,
    dry_run: bool,
    tensorboard: Path | None,
    quantize: str | None,
    show_list: bool,
) -> None:
    """Train a model, prove its ONNX export, and publish it in a store.

    A job that was killed goes on where it stood when the same command is given again; what it left in
    STORE/.checkpoints is removed by another job after 30 days. Recipes that fit without Keras's loop (scratch,
    perceptron with the step, cluster and embed without an encoder) start anew.

    \b
    Examples:
      ovenbird train dnn                                        handwritten digits, in seconds
      ovenbird train cnn --data mnist --set epochs=5
      ovenbird train dnn --data mnist --set hidden=100,32 --set dropout=0
      ovenbird train tabular --data people.csv --set target=income   your own table: numbers, categories, gaps
      ovenbird train tabular --data houses.parquet --set target=price --set categories=zip --set drop=id
      ovenbird train dnn --data houses.csv --set target=price   every other column is a number
      ovenbird train cnn --data pictures.npz                    x_train, y_train, x_test, y_test
      ovenbird train cnn --data pets                            pets/cat/*.jpg, pets/dog/*.jpg, …
      ovenbird train text --data mails.csv --set text=body --set target=folder
      ovenbird train cnn --dry-run                              layers and plan, nothing is fitted
      ovenbird train cnn --quantize int8                        a smaller file, if it stays as good
      ovenbird train cluster --data customers.csv               groups of rows; a target is not needed
      ovenbird train embed --data mnist                         few numbers for each picture
      ovenbird train detector --data annotations.json           pictures with boxes: COCO JSON, or a folder of VOC XML
      ovenbird train text --data mails/                         a folder of .txt files per class; or .jsonl, .parquet
      ovenbird train --list                                     recipes, parameters, data sets
      ovenbird train tabular --list                             those of one recipe

    \b
    Exit codes: 0 done, 1 the work failed, 2 wrong use, 130 interrupted.
    """
    if show_list:
        with cli_parts.one_line_errors(interrupted="interrupted"):
            click.echo(_listing([find_recipe(recipe)] if recipe else RECIPES.values()))
        return
    if recipe is None:
        raise Misused(f"name a recipe: {', '.join(RECIPES)} (ovenbird train --list explains them)")
    parameters = cli_parts.parameters(settings, quantize)
    asked: dict[str, Any] = {"store": store_location, "name": name, "parameters": parameters}
    with cli_parts.one_line_errors(interrupted="interrupted; nothing was fitted"):
        if dry_run:
            plan(recipe, data, **asked, say=click.echo)
            return
        published = run_job(
            recipe, data, **asked, fresh=fresh, tensorboard=tensorboard, say=click.echo, show=_live_line()
        )
    if published:
        click.echo("\n" + cli_parts.outcome(published, store_location))


def _live_line() -> Callable[[str], None] | None:
    """Keep one line alive where there is a terminal; an empty text removes it."""
    if not sys.stdout.isatty():
        return None
    return lambda text: click.echo(f"\r\033[K{text[: shutil.get_terminal_size().columns - 1]}", nl=False)


def _listing(recipes: Iterable[Recipe]) -> str:
    parts = [_recipe(recipe) for recipe in recipes]
    fit = _parameters("Every recipe: how it is fitted (a recipe's own defaults stand above)", FitOptions())
    sets = ["Data sets", *(_dataset(name) for name in DESCRIPTIONS)]
    file = _parameters("Every recipe: how a user's files are read", FileOptions())
    export = _parameters("Every recipe: what becomes of the exported file", ExportOptions())
    return "\n\n".join([*parts, fit, file, export, "\n".join(sets)])


def _recipe(recipe: Recipe) -> str:
    title = f"{recipe.name}: {recipe.summary}  [default data: {recipe.default_dataset}]"
    usual, own = FitOptions().as_json(), recipe.fit.as_json()
    changed = ", ".join(f"{name}={own[name]}" for name in own if own[name] != usual[name])
    return _parameters(title, recipe.parameters) + (f"\n  fitted with {changed}" if changed else "")


def _parameters(title: str, group: Parameters) -> str:
    rows = [
        (f"{field.name}={written(getattr(group, field.name))}", field.meaning, field.expected)
        for field in describe(type(group))
    ]
    lines = [f"  {setting:26} {meaning}\n{'':29}{expected}" for setting, meaning, expected in rows]
    return "\n".join([title, *lines])


def _dataset(name: str) -> str:
    known = DESCRIPTIONS[name]
    return f"  {name:14} {known.summary}\n{'':17}licence: {known.license}; needs {known.needs}"

"""`ovenbird train`: the command line of this package. Imports no TensorFlow until a job begins."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

import click

from model_store import InvalidName, StoredVersion, StoreError
from training.datasets import DESCRIPTIONS
from training.errors import TrainingError, WrongUse
from training.job import train as run_job
from training.options import FileOptions, FitOptions, PictureOptions
from training.parameters import Parameters, describe, written
from training.recipes import RECIPES, Recipe

# What the client sends for each kind of input, in the words of `ovenbird predict`.
QUESTIONS = {"image": "picture.png", "features": "rows.csv", "text": "texts.txt", "vector": "rows.csv"}


class _OneLine(click.ClickException):
    """An error that is told in one line."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class _Failed(_OneLine):
    exit_code = 1


class _WrongUse(_OneLine):
    exit_code = 2


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("recipe", required=False)
@click.option(
    "--data",
    metavar="DATASET|PATH",
    help="A data set by name, a .csv or .npz file, or a folder of pictures.  [default: the recipe's]",
)
@click.option("--set", "settings", metavar="NAME=VALUE", multiple=True, help="A parameter; may be given several times.")
@click.option(
    "--store",
    "store_location",
    metavar="DIR",
    default="store",
    envvar="OVENBIRD_STORE",
    show_envvar=True,
    help="The store's folder; made if it is missing.  [default: ./store]",
)
@click.option("--name", metavar="MODEL", help="The model's name.  [default: DATASET-RECIPE]")
@click.option("--list", "show_list", is_flag=True, help="Show the recipes with their parameters, and the data sets.")
def train(
    recipe: str | None,
    data: str | None,
    settings: tuple[str, ...],
    store_location: str,
    name: str | None,
    show_list: bool,
) -> None:
    """Train a model, prove its ONNX export, and publish it in a store.

    \b
    Examples:
      ovenbird train dnn                                        handwritten digits, in seconds
      ovenbird train cnn --data mnist --set epochs=5
      ovenbird train dnn --data mnist --set hidden=100,32 --set dropout=0
      ovenbird train dnn --data houses.csv --set target=price   your own table: every other column is a number
      ovenbird train cnn --data pictures.npz                    x_train, y_train, x_test, y_test
      ovenbird train cnn --data pets                            pets/cat/*.jpg, pets/dog/*.jpg, …
      ovenbird train text --data mails.csv --set text=body --set target=folder
      ovenbird train --list                                     recipes, parameters, data sets

    \b
    Exit codes: 0 done, 1 the work failed, 2 wrong use.
    """
    if show_list:
        click.echo(_listing())
        return
    if recipe is None:
        raise _WrongUse(f"name a recipe: {', '.join(RECIPES)} (ovenbird train --list explains them)")
    try:
        published = run_job(
            recipe,
            data,
            store=store_location,
            name=name,
            parameters=_pairs(settings),
            say=lambda line: click.echo(line),
        )
    except (WrongUse, InvalidName) as error:
        raise _WrongUse(str(error)) from None
    except (TrainingError, StoreError, OSError) as error:
        raise _Failed(str(error)) from None
    click.echo("\n" + _outcome(published, Path(store_location)))


def _pairs(settings: Iterable[str]) -> dict[str, str]:
    pairs = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise _WrongUse(f"--set {setting}: expected NAME=VALUE")
        pairs[name.strip()] = value
    return pairs


def _outcome(published: list[StoredVersion], store: Path) -> str:
    """Say where the models are, how good they are, and how to go on."""
    main = published[0]
    manifest = main.manifest
    worst = max(max(stored.manifest.parity.max_abs_difference.values()) for stored in published)
    metrics = ", ".join(f"{name} {value:.4g}" for name, value in manifest.metrics.items())
    facts = {
        "published": ", ".join(str(stored.path) for stored in published),
        "held-out": f"{metrics} ({manifest.dataset.sizes['test']} rows)",
        "parity": f"within {worst:.2g} of Keras at batches of {', '.join(map(str, manifest.parity.batch_sizes))}",
        "serve it": f"ovenbird serve --store {shlex.quote(str(store))}",
        "ask it": f"ovenbird predict {main.model} {QUESTIONS[manifest.inputs[0].kind]}",
    }
    return "\n".join(f"{name:10} {fact}" for name, fact in facts.items())


def _listing() -> str:
    parts = [_recipe(recipe) for recipe in RECIPES.values()]
    fit = _parameters("Every recipe: how it is fitted (a recipe's own defaults stand above)", FitOptions())
    file = _parameters("Every recipe: how a user's CSV file is read", FileOptions())
    pictures = _parameters("Every recipe: how a user's files of pictures are read", PictureOptions())
    sets = ["Data sets", *(_dataset(name) for name in DESCRIPTIONS)]
    return "\n\n".join([*parts, fit, file, pictures, "\n".join(sets)])


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

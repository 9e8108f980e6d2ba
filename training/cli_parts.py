"""What the commands that train share: options, NAME=VALUE pairs, errors in one line, the outcome. No TensorFlow."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from model_store import InvalidName, StoredVersion, StoreError
from model_store.remote.address import is_url, without_secrets
from training.errors import Interrupted, TrainingError, WrongUse
from training.options import SHARED_OPTIONS
from training.recipes import RECIPES, owners_of

Command = TypeVar("Command", bound=Callable[..., Any])

# What the client sends for each kind of input, in the words of `ovenbird predict`.
QUESTIONS = {
    "image": "picture.png",
    "features": "rows.csv",
    "column": "rows.csv",
    "text": "texts.txt",
    "vector": "rows.csv",
}

data_option = click.option(
    "--data", metavar="DATASET|PATH", help="A data set by name, or a file or folder of yours.  [default: the recipe's]"
)
store_option = click.option(
    "--store",
    "store_location",
    metavar="DIR|URL",
    default="store",
    envvar="OVENBIRD_STORE",
    show_envvar=True,
    help="The store: a folder, made if it is missing, or a URL such as s3://bucket/models.  [default: ./store]",
)
name_option = click.option("--name", metavar="MODEL", help="The model's name.  [default: DATASET-RECIPE]")
quantize_option = click.option(
    "--quantize", type=click.Choice(["none", "int8"]), help="Publish in int8, if it stays as good."
)


def set_option(meaning: str) -> Callable[[Command], Command]:
    """Make the option `--set`, with what it means to a command."""
    return click.option("--set", "settings", metavar="NAME=VALUE", multiple=True, help=meaning)


class Trains(click.Command):
    """A command with `--set`, which says so where a parameter is given as an option of its own."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the words behind the command; raises `Misused` for a parameter that is given as an option."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            name = error.option_name.lstrip("-").replace("-", "_")
            owners = owners_of(name)
            if not owners and name not in SHARED_OPTIONS:
                raise
            whose = f" of {', '.join(owners)}" if owners else ""
            raise Misused(f"{error.option_name}: {name} is a parameter{whose}; write --set {name}=VALUE") from None


class _OneLine(click.ClickException):
    """An error that is told in one line."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class Failed(_OneLine):
    """The work failed."""

    exit_code = 1


class Misused(_OneLine):
    """What was asked for cannot be done."""

    exit_code = 2


class Stopped(_OneLine):
    """Ctrl-C."""

    exit_code = 130  # as a shell says it of Ctrl-C


@contextmanager
def one_line_errors(*, interrupted: str) -> Iterator[None]:
    """Tell errors in a line, with an exit code; `interrupted` is told of Ctrl-C where the job itself says nothing."""
    try:
        yield
    except (WrongUse, InvalidName) as error:
        raise Misused(str(error)) from None
    except (TrainingError, StoreError, OSError) as error:
        raise Failed(str(error)) from None
    except MemoryError:
        raise Failed("out of memory: the data set does not fit") from None
    except Interrupted as error:
        raise Stopped(str(error)) from None
    except KeyboardInterrupt:
        raise Stopped(interrupted) from None


def pairs(option: str, settings: Iterable[str]) -> dict[str, str]:
    """Read NAME=VALUE as often as an option was given; raises `Misused` for what is no pair."""
    found = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise Misused(f"{option} {setting}: expected NAME=VALUE")
        found[name.strip()] = value
    return found


def parameters(settings: Iterable[str], quantize: str | None) -> dict[str, str]:
    """Read what `--set` and `--quantize` ask for."""
    return pairs("--set", settings) | ({"quantize": quantize} if quantize else {})


def outcome(published: Sequence[StoredVersion], store: Path | str) -> str:
    """Say where the models are, how good they are, and how to go on; `store` is the folder or the URL."""
    shown = without_secrets(str(store))
    places = [f"{shown}/{of.model}/{of.version}" if is_url(shown) else str(of.path) for of in published]
    main, *others = published
    manifest = main.manifest
    parity, computed_by = manifest.parity, RECIPES[manifest.recipe].computed_by
    worst = max(max(stored.manifest.parity.max_abs_difference.values()) for stored in published)
    metrics = ", ".join(f"{name} {value:.4g}" for name, value in manifest.metrics.items())
    facts = {
        "published": ", ".join(places),
        "held-out": f"{metrics} ({manifest.dataset.sizes['test']} rows)",
        "parity": f"within {worst:.2g} of {computed_by} at batches of {', '.join(map(str, parity.batch_sizes))}",
        "serve it": f"ovenbird serve --store {shlex.quote(shown)}",
        "ask it": f"ovenbird predict {main.model} {QUESTIONS[manifest.inputs[0].kind]}",
    }
    if others:
        facts["also"] = ", ".join(stored.model for stored in others)
    return "\n".join(f"{name:10} {fact}" for name, fact in facts.items())

"""What the commands that train share: options, NAME=VALUE pairs, and errors in one line. Imports no TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from model_store import InvalidName, StoreError
from training.errors import Interrupted, TrainingError, WrongUse

Command = TypeVar("Command", bound=Callable[..., Any])

data_option = click.option(
    "--data", metavar="DATASET|PATH", help="A data set by name, or a file or folder of yours.  [default: the recipe's]"
)
store_option = click.option(
    "--store",
    "store_location",
    metavar="DIR",
    default="store",
    envvar="OVENBIRD_STORE",
    show_envvar=True,
    help="The store's folder; made if it is missing.  [default: ./store]",
)
name_option = click.option("--name", metavar="MODEL", help="The model's name.  [default: DATASET-RECIPE]")
quantize_option = click.option(
    "--quantize", type=click.Choice(["none", "int8"]), help="Publish in int8, if it stays as good."
)


def set_option(meaning: str) -> Callable[[Command], Command]:
    """Make the option `--set`, with what it means to a command."""
    return click.option("--set", "settings", metavar="NAME=VALUE", multiple=True, help=meaning)


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

"""What the commands that read a store share: the option that names it, and how they end when it cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from model_store.errors import StoreError
from model_store.locate import choose_store
from model_store.store import Store

Result = TypeVar("Result")


def store_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--store`, with the same meaning for every command that reads a store."""
    return click.option(
        "--store",
        "store_location",
        metavar="DIR",
        envvar="OVENBIRD_STORE",
        show_envvar=True,
        help="The store's folder.  [default: ./store if it exists, else the starter models]",
    )(command)


def open_store(location: str | None, *, announce: bool = True) -> Store:
    """Open the store that was named, or the one that is there; end in one line if it cannot be."""
    choice = choose_store(location)
    opened = fail_in_one_line(lambda: Store(choice.location))
    if location and not opened.root.is_dir():
        raise click.ClickException(f"store {location!r}: no such folder")
    if announce:
        click.echo(f"store: {choice.location} ({choice.reason})", err=True)
    return opened


def fail_in_one_line(work: Callable[[], Result]) -> Result:
    """Do something with a store; what goes wrong with it ends the command with exit code 1 and its message."""
    try:
        return work()
    except StoreError as error:
        raise click.ClickException(str(error)) from None

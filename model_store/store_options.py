"""What the commands that read a store share: the option that names it, and how they end when it cannot be used."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import click

from model_store import opening
from model_store.errors import StoreError
from model_store.locate import choose_store
from model_store.store import Store

Result = TypeVar("Result")

# For another process that looks, such as a service: longer than a look at a store that answers, which comes next.
PATIENCE_SECONDS = 10.0


def store_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--store`, with the same meaning for every command that reads a store."""
    return click.option(
        "--store",
        "store_location",
        metavar="DIR|URL",
        envvar="OVENBIRD_STORE",
        show_envvar=True,
        help="The store: a folder, or a URL such as s3://bucket/models.  [default: ./store if it exists, else the "
        "starter models]",
    )(command)


def open_store(location: str | None, *, announce: bool = True) -> Store:
    """Open the store that was named, or the one that is there; end in one line if it cannot be."""
    choice = choose_store(location)
    opened = fail_in_one_line(lambda: opening.open_store(choice.location))
    if location and not opened.root.is_dir():
        raise click.ClickException(f"store {location!r}: no such folder")
    if announce:
        click.echo(f"store: {opened.location} ({choice.reason})", err=True)
    fail_in_one_line(lambda: _look_at(opened))
    return opened


def _look_at(opened: Store) -> None:
    """Bring the mirror of a remote store in line; where that fails, the cache is read, if it has anything."""
    began = time.time()
    try:
        if opened.refresh(wait=PATIENCE_SECONDS) < began:
            click.echo(f"another process has been looking at {opened.location}; shown as it was seen last", err=True)
    except StoreError as error:
        if not opened.models():
            raise StoreError(f"{error}; nothing of it is in the cache") from None
        click.echo(f"{error}; shown as it was seen last", err=True)


def fail_in_one_line(work: Callable[[], Result]) -> Result:
    """Do something with a store; what goes wrong with it ends the command with exit code 1 and its message."""
    try:
        return work()
    except StoreError as error:
        raise click.ClickException(str(error)) from None

"""Commands that other packages bring: found through entry points, imported when they are used."""

from __future__ import annotations

import importlib.metadata
from typing import Any

import click


class PartsGroup(click.Group):
    """A group whose commands are its own and those of an entry point group (`parts`)."""

    def __init__(self, *args: Any, parts: str, **options: Any) -> None:
        super().__init__(*args, **options)
        self._parts = parts

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands, in the order of the alphabet."""
        names = {entry_point.name for entry_point in importlib.metadata.entry_points(group=self._parts)}
        return sorted({*super().list_commands(ctx), *names})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Find a command; import what brings it."""
        for entry_point in importlib.metadata.entry_points(group=self._parts, name=cmd_name):
            return _load(entry_point)
        return super().get_command(ctx, cmd_name)


def _load(entry_point: importlib.metadata.EntryPoint) -> click.Command:
    try:
        command: Any = entry_point.load()
    except ModuleNotFoundError as error:
        return _unusable(entry_point.name, error.name or str(error))
    assert isinstance(command, click.Command)
    return command


def _unusable(name: str, module: str) -> click.Command:
    """Stand in for a command whose packages are not installed: it says so in one line."""
    message = (
        f"`ovenbird {name}` needs the Python package {module!r}: pip install 'ovenbird[cpu]', or [cpu,train] to train"
    )

    def fail(**_: object) -> None:
        raise click.ClickException(message)

    return click.Command(name, callback=fail, help=message, context_settings={"ignore_unknown_options": True})

"""The root of the command `ovenbird`.

Its parts are found through entry points and imported when they are used, so that the service runs without
TensorFlow and training without Flask. Exit codes: 0 done, 1 the work failed, 2 wrong use.
"""

from __future__ import annotations

import importlib.metadata
from typing import Any

import click

COMMANDS = "ovenbird.commands"


class _Parts(click.Group):
    """A group whose commands are entry points."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  (click's signature)
        return ["train", "serve", "predict", "store"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        for entry_point in importlib.metadata.entry_points(group=COMMANDS, name=cmd_name):
            return _load(entry_point)
        return None


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


@click.group(cls=_Parts, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="ovenbird", prog_name="ovenbird")
def main() -> None:
    """Train Keras models, prove their ONNX export, and serve them over HTTP.

    \b
    A first walk, from nothing to a served answer:
      ovenbird serve &                                        serve the starter models
      ovenbird predict mnist-cnn digit.png                    ask one of them
      ovenbird train cnn --data digits --name my-digits       train your own into ./store
      ovenbird store list --store store                       see what was published
    """

"""The root of the command `ovenbird`.

Its parts are found through entry points and imported when they are used, so that the service runs without
TensorFlow and training without Flask. Exit codes: 0 done, 1 the work failed, 2 wrong use.
"""

from __future__ import annotations

import click

from model_store.entry_points import PartsGroup

COMMANDS = "ovenbird.commands"


@click.group(
    cls=PartsGroup, parts=COMMANDS, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
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

"""Trains the models that ship with Ovenbird: `python -m training.starter_models [--store DIR] [NAME…]`.

They are small, so that a clone or a wheel stays small, and are made from data whose licence lets them be shared.
Not part of the command `ovenbird`: only who changes them runs this, into an emptied folder, so that each is
version 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from model_store import STARTER_MODELS
from model_store.store import LOCK_FILE
from training.errors import TrainingError
from training.job import train


@dataclass(frozen=True)
class Starter:
    """One job: a model's name, and what `train` is told."""

    name: str
    recipe: str
    data: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


STARTERS = (
    Starter("mnist-dnn", "dnn", "mnist", {"epochs": 15}),
    Starter("mnist-cnn", "cnn", "mnist", {"epochs": 10, "batch_size": 128, "schedule": "cosine", "patience": 10}),
    # The val_loss of clothes is noisy: with the usual patience the fit stops three epochs too early.
    Starter(
        "fashion-mnist-cnn", "cnn", "fashion-mnist", {"epochs": 18, "batch_size": 128, "dropout": 0.4, "patience": 5}
    ),
    Starter("mnist-autoencoder", "autoencoder", "mnist", {"epochs": 15, "anomaly": False, "classifier": False}),
    Starter("wine-dnn", "dnn", "wine", {"hidden": (32,), "epochs": 60}),
    # Characters: splitting Korean at blanks reaches 80 %, characters with a convolution 85 %.
    Starter(
        "nsmc-text",
        "text",
        "nsmc",
        {"tokens": "characters", "layer": "conv1d", "vocabulary": 2500, "length": 100, "batch_size": 128, "epochs": 8},
    ),
    Starter("code-or-prose", "text", "stdlib", {"vocabulary": 2000, "length": 60, "epochs": 10}),
)


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]…", type=click.Choice([starter.name for starter in STARTERS]))
@click.option("--store", type=click.Path(path_type=Path), default=STARTER_MODELS, help="Where to publish.")
def main(names: tuple[str, ...], store: Path) -> None:
    """Train the starter models, or those that are named."""
    for starter in STARTERS:
        if not names or starter.name in names:
            click.echo(f"\n=== {starter.name}")
            _train(starter, store)
    (store / LOCK_FILE).unlink(missing_ok=True)


def _train(starter: Starter, store: Path) -> None:
    try:
        train(
            starter.recipe,
            starter.data,
            store=store,
            name=starter.name,
            parameters=starter.parameters,
            may_publish_starters=True,
            say=click.echo,
        )
    except TrainingError as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()

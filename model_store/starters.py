"""Puts the models that ship into a store, once: `python -m model_store.starters FOLDER`, as compose.yaml does.

Whether somebody publishes into the store before or after makes no difference, and a model that is removed later stays
away.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from model_store.disk import sync
from model_store.errors import StoreError
from model_store.locate import STARTER_MODELS
from model_store.manifest import MANIFEST_FILE
from model_store.store import Store, StoredVersion

# Beside the models, hidden from readers: that it was done, and what is being copied.
MARK = ".starters"
COPY = ".starters-copy"


def put_starters(folder: Path) -> list[str]:
    """Copy the models that ship, each whole; return their names. A group of which a name is taken is left out.

    Raises:
        StoreError: the folder cannot be written.
        StoreBusy: a publisher held it for too long.
    """
    with Store(folder).changing():
        if (folder / MARK).exists():
            return []
        names = _missing(folder)
        for name in names:
            _copy(name, folder)
        (folder / MARK).touch()
        sync(folder)
    return names


def _missing(folder: Path) -> list[str]:
    starters = Store(STARTER_MODELS)
    found = [starters.resolve(name) for name in starters.models()]
    taken = {stored.model for stored in found if (folder / stored.model).exists() and not _is_there(stored, folder)}
    whole = [stored.model for stored in found if taken.isdisjoint(starters.group_of(stored))]
    return [name for name in whole if not (folder / name).exists()]


def _is_there(starter: StoredVersion, folder: Path) -> bool:
    """Tell whether this very version is in the store: one that was killed may have put a part of a group there."""
    manifest = folder / starter.model / str(starter.version) / MANIFEST_FILE
    return manifest.is_file() and manifest.read_bytes() == (starter.path / MANIFEST_FILE).read_bytes()


def _copy(name: str, folder: Path) -> None:
    staging = folder / COPY
    shutil.rmtree(staging, ignore_errors=True)  # one that was killed may have left it
    shutil.copytree(STARTER_MODELS / name, staging)
    for path in (*staging.rglob("*"), staging):
        sync(path)
    staging.rename(folder / name)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def main(folder: Path) -> None:
    """Put the models that ship into the store in FOLDER, unless that was done before."""
    try:
        names = put_starters(folder)
    except StoreError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{folder}: {len(names)} starter models were put there")


if __name__ == "__main__":
    main()

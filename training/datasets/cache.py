"""Keras's cache of downloaded data sets: where a file lies, whether it is the known one.

Knows no data set. `KERAS_HOME` moves the cache; the default is ~/.keras.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from model_store.manifest import sha256_of
from training.errors import DatasetAbsent, DatasetAltered


def cache_folder() -> Path:
    """Return the folder that holds Keras's data sets."""
    return Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "datasets"


def cached(name: str, *sha256: str, download: Callable[[], object] | None = None) -> Path:
    """Find a file of the cache by its path inside it, and by its sha256, or one of several that are known.

    Keras downloads it if it can.

    Raises:
        DatasetAbsent: it is not there, and there is no download or no network.
        DatasetAltered: it is not the file that is known.
    """
    path = cache_folder() / name
    if not path.is_file() and download is not None:
        _fetch(path, download)
    if not path.is_file():
        raise DatasetAbsent(f"data set file {path} is missing: put it there, or set KERAS_HOME to a folder that has it")
    received = sha256_of(path)
    if received not in sha256:
        raise DatasetAltered(
            f"{path}: its sha256 is {received[:12]}…, the known file's is {sha256[0][:12]}…: remove it"
        )
    return path


def _fetch(path: Path, download: Callable[[], object]) -> None:
    try:
        download()
    except Exception as error:  # Keras raises a bare Exception when a download fails
        reason = " ".join(str(error).split())[:240]
        raise DatasetAbsent(
            f"data set file {path} is missing and could not be downloaded ({reason}): "
            "put it there, or set KERAS_HOME to a folder that has it"
        ) from None

"""Reads the tables that Keras distributes as .npz files of x and y."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from training.datasets.cache import cached
from training.datasets.dataset import Dataset, Rows, held_out
from training.datasets.description import Description


def load(
    description: Description, file: str, *sha256: str, columns: tuple[str, ...], download: Callable[[], object]
) -> Dataset:
    """Load numbers, float32 [n, columns], and their values, from Keras's cache or by its download.

    Raises:
        DatasetAbsent, DatasetAltered: the file is not here, or is none of the known ones.
    """
    path = cached(file, *sha256, download=download)
    with np.load(path, allow_pickle=False) as arrays:
        rows = Rows(arrays["x"].astype(np.float32), arrays["y"].astype(np.float32))
    train, test = held_out(rows, stratified=False)
    # The first digest names the data set, in whichever form it was found.
    return description.dataset(train, test, labels=None, columns=columns, sha256=sha256[0])

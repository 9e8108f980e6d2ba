"""CIFAR-10: colour pictures, uint8 [n, 32, 32, 3], ten classes; 50 000 to learn from, 10 000 held out.

Keras checks the archive's sha256 itself. Where the archive is not here and cannot be downloaded, but cifar10-subset
is here, that is loaded, under its own name. Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny
Images", 2009.
"""

from __future__ import annotations

import numpy as np

from training.datasets import cifar10_subset
from training.datasets.cache import cache_folder
from training.datasets.cifar10_subset import LABELS
from training.datasets.dataset import Dataset, Rows, digest
from training.datasets.description import Description
from training.errors import DatasetAbsent

DESCRIPTION = Description(
    name="cifar10",
    kind="image",
    task="classification",
    summary="60 000 colour pictures of animals and vehicles, 32 x 32",
    license="none stated; cite A. Krizhevsky 2009",
    source="keras.datasets.cifar10",
    needs="a download of 170 MB",
)


def load() -> Dataset:
    """Load the pictures through Keras, which downloads them once, else the subset; raises `DatasetAbsent`."""
    import keras

    try:
        (x_train, y_train), (x_test, y_test) = keras.datasets.cifar10.load_data()
    except Exception as error:  # Keras raises a bare Exception when a download fails
        if cifar10_subset.is_cached():
            return cifar10_subset.load()
        reason = " ".join(str(error).split())[:240]
        raise DatasetAbsent(
            f"data set cifar10 is not in {cache_folder()} and could not be downloaded ({reason}): "
            "set KERAS_HOME to a folder that has it"
        ) from None
    train, test = Rows(x_train, y_train[:, 0].astype(np.int64)), Rows(x_test, y_test[:, 0].astype(np.int64))
    return DESCRIPTION.dataset(
        train, test, labels=LABELS, sha256=digest(train.inputs, train.targets, test.inputs, test.targets)
    )

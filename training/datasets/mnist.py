"""MNIST: handwritten digits, 28 x 28 grey, uint8 [n, 28, 28, 1]; 60 000 to learn from, 10 000 held out.

Source: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document recognition",
Proceedings of the IEEE 86, 1998.
"""

from __future__ import annotations

import numpy as np

from training.datasets.cache import cached
from training.datasets.dataset import Dataset, Rows
from training.datasets.description import Description

SHA256 = "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"

DESCRIPTION = Description(
    name="mnist",
    kind="image",
    task="classification",
    summary="70 000 grey pictures of digits, 28 x 28",
    license="CC BY-SA 3.0, Yann LeCun and Corinna Cortes",
    source="keras.datasets.mnist",
    needs="a download of 11 MB",
)


def load() -> Dataset:
    """Load the pictures from Keras's cache, or let Keras download them; raises `DatasetAbsent`, `DatasetAltered`."""
    path = cached("mnist.npz", SHA256, download=_download)
    with np.load(path, allow_pickle=False) as arrays:
        train, test = (
            Rows(arrays[f"x_{part}"][..., np.newaxis], arrays[f"y_{part}"].astype(np.int64))
            for part in ("train", "test")
        )
    return DESCRIPTION.dataset(train, test, labels=tuple(str(digit) for digit in range(10)), sha256=SHA256)


def _download() -> None:
    import keras

    keras.datasets.mnist.load_data()

"""A part of CIFAR-10: colour pictures, uint8 [n, 32, 32, 3], ten classes; 10 000 to learn from, 1 000 held out.

The first training batch and the first test pictures, as pickles in the folder cifar-10-subset of Keras's cache.
Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

from __future__ import annotations

import hashlib

import numpy as np

from training.datasets.cache import cache_folder, cached
from training.datasets.dataset import Dataset, Rows
from training.datasets.description import Description
from training.datasets.unpickle import read_pickle

FOLDER = "cifar-10-subset"
TRAIN, TEST = "data_batch_1", "test_batch_first1000"
SHA256 = {
    TRAIN: "809454c645931070f431fe22cee2ad522195e7c6738cb92d5271fb4b1fe31693",
    TEST: "58adba95d598c42d22b58fddeca750ad201561661e0f50e61afc4a638016c49e",
}

DESCRIPTION = Description(
    name="cifar10-subset",
    kind="image",
    task="classification",
    summary="11 000 of the pictures of cifar10, 32 x 32",
    license="none stated; cite A. Krizhevsky 2009",
    source=f"{FOLDER} in Keras's cache: the first 10 000 training and 1 000 test pictures of CIFAR-10",
    needs=f"{FOLDER} in Keras's cache",
)
LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def is_cached() -> bool:
    """Tell whether the pictures are here."""
    return (cache_folder() / FOLDER / TRAIN).is_file()


def load() -> Dataset:
    """Load the pictures from Keras's cache; raises `DatasetAbsent`, `DatasetAltered`."""
    digests = hashlib.sha256("".join(SHA256.values()).encode()).hexdigest()
    return DESCRIPTION.dataset(_read(TRAIN), _read(TEST), labels=LABELS, sha256=digests)


def _read(name: str) -> Rows:
    """Read a batch: each row holds the red, the green and the blue plane of a picture."""
    batch = read_pickle(cached(f"{FOLDER}/{name}", SHA256[name]))
    pictures = batch[b"data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return Rows(np.ascontiguousarray(pictures), np.array(batch[b"labels"], dtype=np.int64))

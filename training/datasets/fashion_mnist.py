"""Fashion-MNIST: clothes, 28 x 28 grey, uint8 [n, 28, 28, 1], ten classes; 60 000 to learn from, 10 000 held out.

Source: H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
Algorithms", arXiv:1708.07747, 2017.
"""

from __future__ import annotations

import gzip
import hashlib

import numpy as np
import numpy.typing as npt

from training.datasets.cache import cached
from training.datasets.dataset import Dataset, Rows
from training.datasets.description import Description

SHA256 = {
    "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
}
# The files begin with a magic number and one size per dimension, each of four bytes.
IMAGE_HEADER, LABEL_HEADER = 16, 8

DESCRIPTION = Description(
    name="fashion-mnist",
    kind="image",
    task="classification",
    summary="70 000 grey pictures of clothes, 28 x 28",
    license="MIT, copyright 2017 Zalando SE",
    source="keras.datasets.fashion_mnist",
    needs="a download of 30 MB",
)
LABELS = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def load() -> Dataset:
    """Load the pictures from Keras's cache, or let Keras download them; raises `DatasetAbsent`, `DatasetAltered`."""
    train, test = (
        Rows(
            _read(f"{part}-images-idx3-ubyte.gz", IMAGE_HEADER).reshape(-1, 28, 28, 1),
            _read(f"{part}-labels-idx1-ubyte.gz", LABEL_HEADER).astype(np.int64),
        )
        for part in ("train", "t10k")
    )
    return DESCRIPTION.dataset(
        train, test, labels=LABELS, sha256=hashlib.sha256("".join(SHA256.values()).encode()).hexdigest()
    )


def _read(name: str, header: int) -> npt.NDArray[np.uint8]:
    path = cached(f"fashion-mnist/{name}", SHA256[name], download=_download)
    return np.frombuffer(gzip.decompress(path.read_bytes())[header:], dtype=np.uint8)


def _download() -> None:
    import keras

    keras.datasets.fashion_mnist.load_data()

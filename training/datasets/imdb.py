"""IMDB: film reviews, negative or positive; 25 000 to learn from, 25 000 held out. object [n] of `str`.

Keras distributes the reviews as numbers of words; the texts are put together again from its word index: lower
case, no punctuation, words separated by blanks. So a model learns words, not the reviews' own spelling.
Source: A. Maas, R. Daly, P. Pham, D. Huang, A. Ng, C. Potts, "Learning Word Vectors for Sentiment Analysis", ACL 2011.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from training.datasets.cache import cached
from training.datasets.dataset import Dataset, Rows
from training.datasets.description import Description
from training.datasets.rebuilt import read_word_index, rebuild
from training.datasets.unpickle import read_object_array

SHA256 = "69664113be75683a8fe16e3ed0ab59fda8886cb3cd7ada244f7d9544e4676b9f"
WORD_INDEX_SHA256 = "027313fe9a320280f3bf0fac5baf58c4a683cf39a7ed9c3d3d3912bde4284cf6"

DESCRIPTION = Description(
    name="imdb",
    kind="text",
    task="classification",
    summary="50 000 film reviews, negative or positive (words only)",
    license="none stated; cite A. Maas and others 2011",
    source="keras.datasets.imdb",
    needs="a download of 19 MB",
)


def load() -> Dataset:
    """Load the reviews from Keras's cache, or let Keras download them; raises `DatasetAbsent`, `DatasetAltered`."""
    path = cached("imdb.npz", SHA256, download=_download)
    words = read_word_index(cached("imdb_word_index.json", WORD_INDEX_SHA256, download=_download))
    train, test = (_rows(path, part, words) for part in ("train", "test"))
    return DESCRIPTION.dataset(train, test, labels=("negative", "positive"), sha256=SHA256)


def _rows(path: Path, part: str, words: dict[int, str]) -> Rows:
    with np.load(path, allow_pickle=False) as arrays:
        targets = arrays[f"y_{part}"].astype(np.int64)
    return Rows(rebuild(read_object_array(path, f"x_{part}"), words), targets)


def _download() -> None:
    import keras

    keras.datasets.imdb.load_data()
    keras.datasets.imdb.get_word_index()

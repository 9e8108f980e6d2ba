"""Reuters newswires of 1987 in 46 topics, 11 228 texts, 20 % held out, stratified. object [n] of `str`.

Keras distributes the newswires as numbers of words; the texts are put together again from its word index: lower
case, no punctuation, words separated by blanks. The licence is for research: do not ship a model made from it.
Source: D. Lewis, "Reuters-21578, Distribution 1.0".
"""

from __future__ import annotations

import numpy as np

from training.datasets.cache import cached
from training.datasets.dataset import Dataset, Rows, held_out
from training.datasets.description import Description
from training.datasets.rebuilt import read_word_index, rebuild
from training.datasets.unpickle import read_object_array

SHA256 = "d6586e694ee56d7a4e65172e12b3e987c03096cb01eab99753921ef915959916"
WORD_INDEX_SHA256 = "9b56000edc4b34a32e89fd5a23b2605594682c74efcf7d8f4e2a5514b771e633"

DESCRIPTION = Description(
    name="reuters",
    kind="text",
    task="classification",
    summary="11 228 newswires in 46 topics (words only)",
    license="for research purposes only, copyright Reuters Ltd.",
    source="keras.datasets.reuters",
    needs="a download of 3 MB",
)
# fmt: off
LABELS = (
    "cocoa", "grain", "veg-oil", "earn", "acq", "wheat", "copper", "housing", "money-supply", "coffee", "sugar",
    "trade", "reserves", "ship", "cotton", "carcass", "crude", "nat-gas", "cpi", "money-fx", "interest", "gnp",
    "meal-feed", "alum", "oilseed", "gold", "tin", "strategic-metal", "livestock", "retail", "ipi", "iron-steel",
    "rubber", "heat", "jobs", "lei", "bop", "zinc", "orange", "pet-chem", "dlr", "gas", "silver", "wpi", "hog",
    "lead",
)
# fmt: on


def load() -> Dataset:
    """Load the newswires from Keras's cache, or let Keras download them; raises `DatasetAbsent`, `DatasetAltered`."""
    path = cached("reuters.npz", SHA256, download=_download)
    words = read_word_index(cached("reuters_word_index.json", WORD_INDEX_SHA256, download=_download))
    with np.load(path, allow_pickle=False) as arrays:
        targets = arrays["y"].astype(np.int64)
    train, test = held_out(Rows(rebuild(read_object_array(path, "x"), words), targets), stratified=True)
    return DESCRIPTION.dataset(train, test, labels=LABELS, sha256=SHA256)


def _download() -> None:
    import keras

    keras.datasets.reuters.load_data()
    keras.datasets.reuters.get_word_index()

"""Naver sentiment movie corpus: Korean film comments, negative or positive; 150 000 and 50 000 held out.

object [n] of `str`; a few comments are empty, and the comments are unfiltered: profanity occurs. Keras has no
download for it: the two files of the corpus must lie in the cache's folder `nsmc`.
Source: L. Park, "Naver sentiment movie corpus v1.0", 2016.
"""

from __future__ import annotations

import csv
import hashlib

import numpy as np

from training.datasets.cache import cached
from training.datasets.dataset import Dataset, Rows, texts
from training.datasets.description import Description

SHA256 = {
    "ratings_train.txt": "e03b7d14e9e41be8d464a28057cd25d7396c53e67aa7fd5f7e552c59b0ee2940",
    "ratings_test.txt": "8ac9f64052f11dbf6ae0acb5e038f03d90a76f0eda7820cfb3a92d02edfcebda",
}

DESCRIPTION = Description(
    name="nsmc",
    kind="text",
    task="classification",
    summary="200 000 Korean film comments, negative or positive",
    license="CC0 1.0, Lucy Park",
    source="Naver sentiment movie corpus v1.0",
    needs="its two files in Keras's cache, under datasets/nsmc",
)


def load() -> Dataset:
    """Load the comments from Keras's cache; raises `DatasetAbsent`, `DatasetAltered`."""
    train, test = (_read(name) for name in SHA256)
    return DESCRIPTION.dataset(
        train,
        test,
        labels=("negative", "positive"),
        sha256=hashlib.sha256("".join(SHA256.values()).encode()).hexdigest(),
    )


def _read(name: str) -> Rows:
    """Read tab-separated rows of id, document, label; documents with a quote are quoted as in CSV."""
    path = cached(f"nsmc/{name}", SHA256[name])
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return Rows(texts(row["document"] for row in rows), np.array([int(row["label"]) for row in rows], dtype=np.int64))

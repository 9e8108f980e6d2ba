"""Puts texts together again from numbers of words, as Keras's word indices number them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from training.datasets.dataset import Array, texts


def read_word_index(path: Path) -> dict[int, str]:
    """Read Keras's word index the other way round: number → word."""
    return {number: word for word, number in json.loads(path.read_text(encoding="utf-8")).items()}


def rebuild(rows: Iterable[list[int]], words: dict[int, str]) -> Array:
    """Write each row of word numbers (from 1, as the files hold them) as words separated by blanks."""
    return texts(" ".join(words[number] for number in row) for row in rows)

"""What a report shows of a text model: how texts became tokens, and which tokens speak for which class.

Knows no recipe: it is given a front, the fitted Keras model that reads its ids, and the data set.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from training.datasets import Dataset
from training.evidence import figures
from training.evidence.exhibit import Exhibit
from training.text.front import FIRST_TOKEN, PADDING, UNKNOWN, TextFront
from training.text.subwords import SubwordFront

if TYPE_CHECKING:
    import keras

COUNTED_TEXTS = 2000
# Longer texts are counted as so long.
MOST_TOKENS = 2000
TRIED_TOKENS = 2000
SHOWN_TOKENS = 10
MOST_CLASSES = 12
EPSILON = 1e-7


def token_statistics(front: TextFront | SubwordFront, dataset: Dataset) -> Exhibit:
    """Show how long held-out texts are in tokens, where they are cut, and how many tokens are unknown."""
    texts = dataset.test.inputs[:COUNTED_TEXTS]
    ids = dataclasses.replace(front, length=max(MOST_TOKENS, front.length), keep="start").encode(texts)
    lengths = np.count_nonzero(ids != PADDING, axis=1)
    tokens = max(1, int(lengths.sum()))
    figure = figures.lengths(lengths, front.length)
    return Exhibit(
        name="tokens",
        title="Tokens of held-out texts",
        text=f"{len(texts)} texts: {np.mean(lengths > front.length):.1%} are longer than the {front.length} tokens "
        f"that are read; {np.count_nonzero(ids == UNKNOWN) / tokens:.1%} of the tokens are unknown; "
        f"{np.count_nonzero(lengths == 0)} have no token.",
        figure=figure,
    )


def telling_tokens(front: TextFront | SubwordFront, model: keras.Model, dataset: Dataset) -> Exhibit:
    """Show, for each class, the tokens that alone speak for it the most: the log odds beside those of an empty text."""
    assert dataset.labels is not None
    tried = min(TRIED_TOKENS, len(front.names))
    ids = np.zeros((tried + 1, front.length), dtype=np.int32)
    ids[1:, 0] = np.arange(FIRST_TOKEN, FIRST_TOKEN + tried)
    gains = _log_odds(model.predict(ids, batch_size=256, verbose=0))
    gains = gains[1:] - gains[:1]
    best = {
        label: [(_visible(front.names[index]), float(gains[index, column])) for index in _largest(gains[:, column])]
        for column, label in enumerate(dataset.labels)
    }
    header = ("class", "tokens that speak for it, the strongest first")
    rows = tuple((label, ", ".join(token for token, _ in entries)) for label, entries in best.items())
    return Exhibit(
        name="telling_tokens",
        title="Tokens that speak for a class",
        text=f"Each of the {tried} first tokens of the vocabulary was read as a text of its own; the bars are how much "
        "it changes the log odds of the class beside an empty text.",
        figure=figures.ranked_tokens(dict(list(best.items())[:MOST_CLASSES])),
        table=(header, *rows),
    )


def _visible(token: str) -> str:
    """Write blanks, and the beginnings of words, as one sees them; other blanks as in Python."""
    return token.replace(" ", "▁") if token.strip(" ") == token.strip() else repr(token)[1:-1]


def _log_odds(answers: Any) -> npt.NDArray[np.float64]:
    certain = np.clip(np.asarray(answers, dtype=np.float64), EPSILON, 1 - EPSILON)
    odds: npt.NDArray[np.float64] = np.log(certain / (1 - certain))
    return odds


def _largest(column: npt.NDArray[np.float64]) -> list[int]:
    order: list[int] = np.argsort(-column, kind="stable")[:SHOWN_TOKENS].tolist()
    return order

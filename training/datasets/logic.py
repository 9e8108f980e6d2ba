"""The truth tables of two inputs, as points in the plane: what a line can separate, and what it cannot.

Each corner of the unit square comes once as it is and 49 times moved a little; as many of each corner are held out.
So no line, and no single perceptron, gets more than three quarters of the rows of `xor` right.
"""

from __future__ import annotations

import numpy as np

from training.datasets.dataset import Dataset, Rows, digest, held_out
from training.datasets.description import Description

CORNERS = np.array([(0, 0), (0, 1), (1, 0), (1, 1)], dtype=np.float32)
COPIES = 50
# Far enough from 0.5 that the corners' neighbourhoods do not touch.
LARGEST_MOVE = 0.2
SEED = 1958


def description(name: str, words: str) -> Description:
    """Describe the table of one logical function."""
    return Description(
        name=name,
        kind="features",
        task="classification",
        summary=f"200 points around the corners of a square: {words}",
        license="CC0 1.0",
        source="made by Ovenbird",
    )


def table(described: Description, function: np.ufunc) -> Dataset:
    """Make the points: float32 [n, 2] around 0 and 1 → 0 or 1, what the function gives for the nearest corner."""
    corners = np.repeat(np.arange(len(CORNERS)), COPIES)
    moves = np.random.default_rng(SEED).uniform(-LARGEST_MOVE, LARGEST_MOVE, (len(corners), 2))
    moves[::COPIES] = 0
    points = (CORNERS[corners] + moves).astype(np.float32)
    truth = function(*(CORNERS.T > 0)).astype(np.int64)
    # Held out by corner, not by class: else a line could do better on the held-out rows than on all.
    train, test = (Rows(rows.inputs, truth[rows.targets]) for rows in held_out(Rows(points, corners), stratified=True))
    return described.dataset(
        train, test, labels=("0", "1"), columns=("x1", "x2"), sha256=digest(points, truth[corners])
    )

"""Handwritten digits, 8 x 8 grey: the pictures that every installation has.

1 797 pictures, uint8 [n, 8, 8, 1] scaled from 0..16 to 0..255, ten classes; 20 % held out, stratified.
Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998
(its test part, as bundled with scikit-learn).
"""

from __future__ import annotations

import numpy as np

from training.datasets.dataset import Dataset, Rows, digest, held_out
from training.datasets.description import Description

DESCRIPTION = Description(
    name="digits",
    kind="image",
    task="classification",
    summary="1 797 grey pictures of digits, 8 x 8",
    license="CC BY 4.0, E. Alpaydin and C. Kaynak",
    source="scikit-learn: load_digits",
)


def load() -> Dataset:
    """Load the pictures from scikit-learn."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pictures = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., np.newaxis]
    targets = bunch.target.astype(np.int64)
    train, test = held_out(Rows(pictures, targets), stratified=True)
    return DESCRIPTION.dataset(
        train, test, labels=tuple(str(digit) for digit in range(10)), sha256=digest(pictures, targets)
    )

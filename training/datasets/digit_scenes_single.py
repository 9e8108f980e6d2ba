"""Scenes of one digit each: as `training.datasets.digit_scenes`, for classification with localisation."""

from __future__ import annotations

from training.datasets import digit_scenes
from training.datasets.dataset import Dataset
from training.datasets.description import Description

DESCRIPTION = Description(
    name="digit-scenes-single",
    kind="boxes",
    task="detection",
    summary="5 000 grey pictures, 64 x 64, of one digit to find",
    license=digit_scenes.LICENSE,
    source=digit_scenes.SOURCE,
)


def load() -> Dataset:
    """Compose scenes of one digit each."""
    return digit_scenes.compose(digit_scenes.single_digits(), 1, DESCRIPTION)

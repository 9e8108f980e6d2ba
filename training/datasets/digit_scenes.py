"""Scenes of digits to find: one to four handwritten digits of several sizes on a softly shaded ground.

5 000 pictures, uint8 [n, 64, 64, 1]; 4 000 to learn from, 1 000 held out. Boxes are tight around the ink, and overlap
a little at most. The digits are MNIST's where that lies in Keras's cache, else the 8 x 8 ones that come inside
scikit-learn; scenes that are held out show digits that are held out there. The same digits give the same scenes, so
that they keep the digits' licence: CC BY-SA 3.0 for MNIST (Y. LeCun, C. Cortes), CC BY 4.0 for the others
(E. Alpaydin, C. Kaynak).
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
from PIL import Image

from training.datasets import digits, mnist
from training.datasets.cache import cache_folder
from training.datasets.dataset import Dataset, Rows, boxes_array, digest_of_boxes
from training.datasets.description import Description

Pixels = npt.NDArray[np.uint8]
Boxes = npt.NDArray[np.float32]

SIDE = 64
TRAIN_SCENES, TEST_SCENES = 4000, 1000
MOST_DIGITS = 4
# The longer side of a digit, in pixels.
SMALLEST, LARGEST = 14, 30
# Darker pixels count as ground, which is never lighter than BRIGHTEST_GROUND.
INK = 64
BRIGHTEST_GROUND = 48
# Of the smaller of two boxes.
MOST_COVERED = 0.15
PLACES_TRIED = 20
SEED = 20_240_301


LICENSE = "that of the digits: CC BY-SA 3.0 (MNIST, if it is cached), else CC BY 4.0 (scikit-learn's)"
SOURCE = "composed of MNIST or of scikit-learn's digits"

DESCRIPTION = Description(
    name="digit-scenes",
    kind="boxes",
    task="detection",
    summary="5 000 grey pictures, 64 x 64, of one to four digits to find",
    license=LICENSE,
    source=SOURCE,
)


def load() -> Dataset:
    """Compose scenes of one to four digits."""
    return compose(single_digits(), MOST_DIGITS, DESCRIPTION)


def single_digits() -> Dataset:
    """Load the digits that scenes are made of: MNIST's if they are here."""
    return mnist.load() if (cache_folder() / "mnist.npz").is_file() else digits.load()


def compose(
    of: Dataset, most: int, description: Description, sizes: tuple[int, int] = (TRAIN_SCENES, TEST_SCENES)
) -> Dataset:
    """Compose (train, test) scenes of up to `most` objects from small pictures of single ones."""
    train, test = (
        scenes(part, count, most, np.random.default_rng([SEED, number]))
        for number, (part, count) in enumerate(zip((of.train, of.test), sizes, strict=True))
    )
    dataset = description.dataset(train, test, labels=of.labels, sha256=digest_of_boxes(train, test))
    return dataclasses.replace(dataset, source=f"composed of {of.name}: {of.license}")


def scenes(objects: Rows, count: int, most: int, random: np.random.Generator) -> Rows:
    """Compose scenes: uint8 [count, 64, 64, 1], and for each its boxes."""
    pictures = np.empty((count, SIDE, SIDE, 1), np.uint8)
    found = []
    for picture in pictures:
        chosen = random.integers(len(objects), size=random.integers(1, most, endpoint=True))
        picture[..., 0], boxes = _scene(objects, chosen, random)
        found.append(boxes)
    return Rows(pictures, boxes_array(found))


def _scene(objects: Rows, chosen: npt.NDArray[np.int64], random: np.random.Generator) -> tuple[Pixels, Boxes]:
    scene = _ground(random)
    boxes: list[tuple[float, ...]] = []
    for index in chosen:
        ink = _resized(objects.inputs[index, ..., 0].astype(np.uint8), int(random.integers(SMALLEST, LARGEST + 1)))
        height, width = ink.shape
        place = _free_place(height, width, boxes, random)
        if place is None:
            continue
        left, top = place
        part = scene[top : top + height, left : left + width]
        np.maximum(part, ink, out=part)
        boxes.append((left, top, left + width, top + height, float(objects.targets[index].astype(np.int64))))
    return scene, np.array(boxes, np.float32).reshape(-1, 5)


def _ground(random: np.random.Generator) -> Pixels:
    """Shade the ground softly, so that darkness alone does not tell where nothing is."""
    shades = random.integers(BRIGHTEST_GROUND, size=(5, 5)).astype(np.uint8)
    return np.array(Image.fromarray(shades).resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def _resized(picture: Pixels, longer: int) -> Pixels:
    """Cut a picture to its ink, with the longer side at so many pixels."""
    ink = _cut(picture)
    scale = longer / max(ink.shape)
    size = [max(1, round(side * scale)) for side in reversed(ink.shape)]
    return _cut(np.array(Image.fromarray(ink).resize((size[0], size[1]), Image.Resampling.BILINEAR)))


def _cut(picture: Pixels) -> Pixels:
    is_ink = picture >= INK
    rows, columns = np.flatnonzero(is_ink.any(axis=1)), np.flatnonzero(is_ink.any(axis=0))
    if not len(rows):
        return picture
    return np.ascontiguousarray(picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])


def _free_place(
    height: int, width: int, boxes: list[tuple[float, ...]], random: np.random.Generator
) -> tuple[int, int] | None:
    """Find a place (left, top) where others are covered a little at most; None if chance finds none."""
    for _ in range(PLACES_TRIED):
        left, top = int(random.integers(SIDE - width + 1)), int(random.integers(SIDE - height + 1))
        if all(_covered((left, top, left + width, top + height), box) <= MOST_COVERED for box in boxes):
            return left, top
    return None


def _covered(first: tuple[float, ...], second: tuple[float, ...]) -> float:
    """Give the intersection's share of the smaller box."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return max(width, 0) * max(height, 0) / smaller

"""What a data set is once it is loaded: raw inputs as a client would send them, and what is right.

Knows no recipe, no Keras and no file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from training.datasets.on_disk import RowsOnDisk
from training.errors import UnusableData

Array = npt.NDArray[np.generic]
Kind = Literal["image", "features", "text", "table", "boxes"]

FEWEST_ROWS = 10
TEST_FRACTION = 0.2
# The held-out rows do not depend on `--set seed=…`: results of different seeds must be comparable.
TEST_SEED = 20_240_229
# Pictures on disk may be large.
ROWS_IN_MEMORY = 64


@dataclass(frozen=True)
class Rows:
    """Inputs with their targets, row by row.

    Pictures may stay on disk: inputs are then a `RowsOnDisk`, of which what is indexed is read.

    inputs: uint8 [n, height, width, channels], float32 [n, columns], object [n] of `str`, or, for a table of
        numbers and texts, a structured array [n] with a field (float32, or object of `str`) for each column.
    targets: int64 [n] class indices, float32 [n] values in the data's own unit, or, for boxes, object [n] of
        float32 [objects, 5]: left, top, right, bottom in pixels, and the class index. Of rows without a target,
        object [n] of None.
    """

    inputs: Array
    targets: Array

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, indices: npt.NDArray[np.integer]) -> Rows:
        """Choose rows by their indices, and read them into the memory if they are on disk."""
        return Rows(self.inputs[indices], self.targets[indices])

    def part(self, indices: npt.NDArray[np.integer]) -> Rows:
        """Choose rows by their indices; what is on disk stays there."""
        inputs: Any = self.inputs
        if not isinstance(inputs, RowsOnDisk):
            return self.take(indices)
        return Rows(cast(Array, inputs.part(indices)), self.targets[indices])


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A loaded data set.

    `labels` names the classes (None: regression), `columns` the features (None: pictures and texts); `sha256` is
    that of the file it came from, or of its content where it has no file of its own. `validation` is given where
    the source has such a split; else a fit holds back some of the training rows. `notes` say what was noticed while
    it was read, a line each.
    """

    name: str
    kind: Kind
    train: Rows
    test: Rows
    validation: Rows | None = None
    labels: tuple[str, ...] | None
    columns: tuple[str, ...] | None = None
    license: str
    source: str
    sha256: str
    notes: tuple[str, ...] = ()

    @property
    def is_classified(self) -> bool:
        """Whether each row belongs to one class, so that splits can be stratified."""
        return self.train.targets.dtype.kind == "i"

    @property
    def sizes(self) -> dict[str, int]:
        """Rows per split."""
        return {part: len(rows) for part, rows in self.splits.items()}

    @property
    def splits(self) -> dict[str, Rows]:
        """The splits that the source has."""
        validation = {} if self.validation is None else {"validation": self.validation}
        return {"train": self.train, **validation, "test": self.test}


def tensors(inputs: Array, names: Sequence[str]) -> dict[str, Array]:
    """Give raw inputs as a graph takes them: a table's columns each by its name, anything else by the one name."""
    if inputs.dtype.names is None:
        (name,) = names
        return {name: inputs}
    columns: Any = inputs
    return {name: np.ascontiguousarray(columns[name]) for name in names}


def check_usable(dataset: Dataset) -> Dataset:
    """Return the data set if something can be learned from it.

    Raises:
        UnusableData: there are too few rows, one class only, or a class without training rows.
    """
    rows = len(dataset.train) + len(dataset.test)
    if rows < FEWEST_ROWS or not len(dataset.train) or not len(dataset.test):
        raise UnusableData(f"{dataset.name}: {rows} rows are too few: at least {FEWEST_ROWS} are needed")
    if dataset.labels is None:
        return dataset
    # One kind of object can be told from the ground.
    if len(dataset.labels) < 2 and dataset.kind != "boxes":
        raise UnusableData(f"{dataset.name}: one class only ({', '.join(dataset.labels)}): at least two are needed")
    if dataset.kind == "boxes" and not sum(map(len, dataset.test.targets)):
        raise UnusableData(f"{dataset.name}: no object in the {len(dataset.test)} pictures that are held out")
    counts = np.bincount(_class_indices(dataset.train), minlength=len(dataset.labels))
    if not counts.all():
        raise UnusableData(f"{dataset.name}: no training row of the class {dataset.labels[int(counts.argmin())]!r}")
    return dataset


def _class_indices(rows: Rows) -> npt.NDArray[np.int64]:
    """Give the class of each row, or, where rows are boxes, of each object."""
    if rows.targets.dtype.hasobject:
        return np.concatenate([np.asarray(boxes)[:, 4] for boxes in rows.targets]).astype(np.int64)
    return rows.targets.astype(np.int64)


def split(rows: Rows, fraction: float, seed: int, *, stratified: bool) -> tuple[Rows, Rows]:
    """Part rows into (kept, held): `fraction` of them are held, of each class alike if stratified.

    Both keep the order of the source. Every class keeps at least one row.
    """
    random = np.random.default_rng(seed)
    groups = [np.arange(len(rows))]
    if stratified:
        groups = [np.flatnonzero(rows.targets == value) for value in np.unique(rows.targets)]
    held = np.zeros(len(rows), dtype=bool)
    for group, count in zip(groups, _shares([len(group) for group in groups], fraction), strict=True):
        held[random.permutation(group)[:count]] = True
    return rows.part(np.flatnonzero(~held)), rows.part(np.flatnonzero(held))


def _shares(sizes: list[int], fraction: float) -> list[int]:
    """Take a fraction of each group, in whole rows, so that the sum is right too: the largest remainders round up."""
    exact = np.array(sizes) * fraction
    counts = np.floor(exact).astype(np.int64)
    missing = round(float(exact.sum())) - int(counts.sum())
    counts[np.argsort(counts - exact, kind="stable")[:missing]] += 1
    return [min(count, size - 1) for count, size in zip(counts.tolist(), sizes, strict=True)]


def held_out(rows: Rows, *, stratified: bool) -> tuple[Rows, Rows]:
    """Part a source that has no test split of its own into (train, test)."""
    return split(rows, TEST_FRACTION, TEST_SEED, stratified=stratified)


def mean_and_deviation(rows: Array) -> tuple[Any, Any]:
    """Return both per column; the deviation of a constant column is 1."""
    numbers = rows.astype(np.float64)
    deviation = numbers.std(axis=0)
    return numbers.mean(axis=0), np.where(deviation > 0, deviation, 1.0)


def classes(values: Iterable[str]) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    """Give each class name a number: (names in order, index of each value). Whole numbers sort by value."""
    listed = list(values)
    names = sorted(set(listed))
    if all(_is_whole(name) for name in names):
        names.sort(key=int)
    index = {name: number for number, name in enumerate(names)}
    return tuple(names), np.array([index[value] for value in listed], dtype=np.int64)


def _is_whole(text: str) -> bool:
    try:
        int(text)
    except ValueError:
        return False
    return True


def no_targets(count: int) -> Array:
    """Stand in for the targets of so many rows that have none."""
    return np.full(count, None)


def texts(values: Iterable[str]) -> Array:
    """Make an object array of strings."""
    listed = list(values)
    array = np.empty(len(listed), dtype=object)
    array[:] = listed
    return array


def boxes_array(boxes: Sequence[npt.NDArray[np.float32]]) -> Array:
    """Make an object array of one array [objects, 5] for each row, however many objects the rows have."""
    array = np.empty(len(boxes), dtype=object)
    # One by one: of arrays of the same length NumPy would make one array of numbers.
    for index, objects in enumerate(boxes):
        array[index] = objects
    return array


def digest_of_boxes(*parts: Rows) -> str:
    """Hash pictures with their boxes."""
    arrays: list[Array] = []
    for rows in parts:
        counts = np.array([len(boxes) for boxes in rows.targets])
        arrays += [rows.inputs, counts, *rows.targets]
    return digest(*arrays)


def digest(*arrays: Array) -> str:
    """Hash the content of arrays, for data that has no file of its own; of those on disk few rows are in memory."""
    total = hashlib.sha256()
    for array in arrays:
        total.update(f"{array.dtype.str}{array.shape}".encode())
        if array.dtype.hasobject:
            # Of objects, and of tables that hold some, the words: the bytes are addresses.
            total.update("\0".join(map(str, array)).encode())
        else:
            for start in range(0, len(array), ROWS_IN_MEMORY):
                total.update(array[start : start + ROWS_IN_MEMORY].tobytes())
    return total.hexdigest()

"""predictions.npz: what a version answered on each held-out row, so that two versions can be compared row by row.

The file holds plain arrays only (never a pickle): `rows` (the sha256 of the held-out rows, with what is right),
`kind`, and one entry for each row under the names below. Knows numpy alone, and no measure of quality.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from model_store.errors import InvalidPredictions

PREDICTIONS_FILE = "report/predictions.npz"
RESAMPLES = 2000
# So many numbers are drawn at once: enough to be quick, and few beside a model.
DRAWN_AT_ONCE = 1_000_000

Kind = Literal["classification", "regression", "reconstruction", "detection", "clustering"]
Numbers = npt.NDArray[Any]
Means = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """One entry for each held-out row, in their order.

    classification: `truth` and `predicted` are class indices, `probability` is that of the truth.
    regression: `truth` and `predicted` are values. reconstruction: `error` is the row's mean squared error.
    detection: `truth` [objects, 5] and `predicted` [detections, 6] hold boxes as left, top, right, bottom, class and
    score, picture after picture; `truth_counts` and `predicted_counts` [pictures] say how many belong to each.
    clustering: `predicted` is the row's cluster, `truth` its class, where there are classes.
    """

    rows: str
    kind: Kind
    truth: Numbers | None = None
    predicted: Numbers | None = None
    probability: Numbers | None = None
    error: Numbers | None = None
    truth_counts: Numbers | None = None
    predicted_counts: Numbers | None = None

    def __len__(self) -> int:
        first = next(column for column in (self.predicted_counts, self.error, self.predicted) if column is not None)
        return len(first)

    @property
    def errors(self) -> Means:
        """One error for each row: 1 for a wrong class, the absolute error of a value, the squared one of pixels.

        Boxes and clusters have none: only all of them together are right or wrong.
        """
        if self.error is not None:
            return np.asarray(self.error, np.float64)
        assert self.truth is not None
        assert self.predicted is not None
        if self.kind == "classification":
            return np.asarray(self.truth != self.predicted, np.float64)
        return np.asarray(np.abs(self.predicted.astype(np.float64) - self.truth))

    def truth_by_picture(self) -> list[Numbers]:
        """List the objects [n, 5] of each picture of a detector."""
        return _cut(self.truth, self.truth_counts)

    def predicted_by_picture(self) -> list[Numbers]:
        """List the detections [n, 6] of each picture of a detector."""
        return _cut(self.predicted, self.predicted_counts)

    def write(self, path: Path) -> None:
        """Write one compressed file without pickles."""
        columns = {name: getattr(self, name) for name in _COLUMNS if getattr(self, name) is not None}
        with path.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, rows=np.array(self.rows), kind=np.array(self.kind), **columns)

    @classmethod
    def read(cls, path: Path) -> Predictions:
        """Read a file of predictions.

        Raises:
            InvalidPredictions: the file is missing, is no .npz of plain arrays, or lacks an entry.
        """
        try:
            with np.lib.npyio.NpzFile(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
                arrays: dict[str, Any] = {name: np.asarray(stored[name]) for name in stored.files}
        # RuntimeError: zipfile's word for a member that claims to be encrypted, or compressed in a way it lacks.
        except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            raise InvalidPredictions(f"{path}: {error}") from None
        kind = str(arrays.get("kind"))
        missing = {"rows", *_NEEDED.get(kind, ("kind",))} - arrays.keys()
        if missing or kind not in get_args(Kind):
            raise InvalidPredictions(f"{path}: holds no {', '.join(sorted(missing)) or 'known kind'}")
        columns = {name: arrays.get(name) for name in _COLUMNS}
        if not (_are_boxes(columns) if kind == "detection" else _are_alike(columns)):
            raise InvalidPredictions(f"{path}: its columns have different lengths")
        return cls(rows=str(arrays["rows"]), kind=kind, **columns)  # type: ignore[arg-type]


def _cut(boxes: Numbers | None, counts: Numbers | None) -> list[Numbers]:
    assert boxes is not None
    assert counts is not None
    return np.split(boxes, np.cumsum(counts)[:-1])


def _are_alike(columns: Mapping[str, Numbers | None]) -> bool:
    """Tell whether there is one entry for each row in all of them."""
    shapes = {column.shape for column in columns.values() if column is not None}
    return len(shapes) == 1 and len(shapes.pop()) == 1


def _are_boxes(columns: Mapping[str, Numbers | None]) -> bool:
    """Tell whether there are as many boxes as are counted, of as many pictures on both sides."""
    truth, predicted = columns["truth"], columns["predicted"]
    objects, found = columns["truth_counts"], columns["predicted_counts"]
    assert truth is not None
    assert predicted is not None
    assert objects is not None
    assert found is not None
    if any(
        counts.dtype.kind not in "iu" or counts.ndim != 1 or counts.min(initial=0) < 0 for counts in (objects, found)
    ):
        return False
    shapes = truth.shape, predicted.shape
    return len(objects) == len(found) and shapes == ((objects.sum(), 5), (found.sum(), 6))


_COLUMNS = ("truth", "predicted", "probability", "error", "truth_counts", "predicted_counts")
_NEEDED = {
    "classification": ("truth", "predicted", "probability"),
    "regression": ("truth", "predicted"),
    "reconstruction": ("error",),
    "detection": ("truth", "predicted", "truth_counts", "predicted_counts"),
    "clustering": ("predicted",),
}


def bootstrap_means(values: npt.NDArray[Any], resamples: int = RESAMPLES) -> Means:
    """Draw as many rows as there are, with repetition, again and again (always the same draws); give each mean."""
    random, rows = np.random.default_rng(0), len(values)
    at_once = max(1, DRAWN_AT_ONCE // rows)
    parts = [
        values[random.integers(0, rows, (min(at_once, resamples - done), rows))].mean(axis=1, dtype=np.float64)
        for done in range(0, resamples, at_once)
    ]
    return np.concatenate(parts)


def resamples(rows: int, shares: npt.NDArray[Any], width: int) -> Iterator[npt.NDArray[np.int64]]:
    """Draw as many rows as there are, again and again (always the same draws): how often each share came.

    Args:
        rows: how many rows there are.
        shares: which share of them is alike, and need only be counted: [shares], 1 in all.
        width: how many numbers of each draw are computed with at once.

    Yields:
        int64 [draws, shares], a part of the draws at a time.
    """
    random, at_once = np.random.default_rng(0), max(1, DRAWN_AT_ONCE // width)
    for done in range(0, RESAMPLES, at_once):
        yield random.multinomial(rows, shares, size=min(at_once, RESAMPLES - done))

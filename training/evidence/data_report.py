"""What a data set holds: classes per split, rows that occur twice, examples. Knows no network."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from training.datasets import Dataset, Rows
from training.datasets.dataset import Array
from training.evidence import figures
from training.evidence.exhibit import Exhibit

DataReport = tuple[dict[str, Any], tuple[Exhibit, ...]]

SAMPLES_PER_CLASS = 2
MOST_PICTURES, MOST_ROWS = 24, 12
LONGEST_TEXT = 200
ROWS_AT_ONCE = 1024


def data_report(dataset: Dataset) -> DataReport:
    """Look a data set over before anything is learned from it.

    Returns:
        the facts as plain JSON (`sizes`, `classes` and `missing_classes` per split, `duplicates`, and `warnings`, a
        line each), and what a report shows of them.
    """
    counts = class_counts(dataset)
    missing = {part: [label for label, count in found.items() if not count] for part, found in counts.items()}
    facts = {
        "sizes": dataset.sizes,
        "classes": counts,
        "missing_classes": {part: labels for part, labels in missing.items() if labels},
        "duplicates": duplicates(dataset),
    }
    return {**facts, "warnings": warnings(facts)}, _exhibits(dataset, counts)


def class_counts(dataset: Dataset) -> dict[str, dict[str, int]]:
    """Count the rows of each class in each split, or the objects where rows hold several; none for a regression."""
    if dataset.labels is None:
        return {}
    return {
        part: {
            label: int(count)
            for label, count in zip(
                dataset.labels, np.bincount(_classes(rows), minlength=len(dataset.labels)), strict=True
            )
        }
        for part, rows in dataset.splits.items()
    }


def _classes(rows: Rows) -> npt.NDArray[np.int64]:
    if not rows.targets.dtype.hasobject:
        return rows.targets.astype(np.int64)
    boxes: Any = np.concatenate(list(rows.targets))
    return np.asarray(boxes[:, 4], dtype=np.int64)


def duplicates(dataset: Dataset) -> dict[str, dict[str, int]]:
    """Count rows whose inputs are those of another row, to the last bit.

    `within` a split: rows that repeat an earlier one. `shared_with_train`: rows that training has seen.
    """
    found = {part: Counter(_digests(rows)) for part, rows in dataset.splits.items()}
    return {
        "within": {part: digests.total() - len(digests) for part, digests in found.items()},
        "shared_with_train": {
            part: sum(count for digest, count in digests.items() if digest in found["train"])
            for part, digests in found.items()
            if part != "train"
        },
    }


def _digests(rows: Rows) -> Iterator[bytes]:
    for start in range(0, len(rows), ROWS_AT_ONCE):
        for row in rows.take(np.arange(start, min(start + ROWS_AT_ONCE, len(rows)))).inputs:
            yield hashlib.blake2b(_content(row), digest_size=16).digest()


def _content(row: Any) -> bytes:
    """Give what a row says; of texts and of tables with texts, not the addresses."""
    if isinstance(row, np.ndarray):
        return row.tobytes()
    cells = row.item() if isinstance(row, np.void) else (row,)
    return "\0".join(map(str, cells)).encode(errors="surrogatepass")


def warnings(facts: dict[str, Any]) -> list[str]:
    """Say in a line each what may spoil a fit or its measurement."""
    sizes, repeated = facts["sizes"], facts["duplicates"]
    shared = [
        f"{count} of {sizes[part]} {part} rows are among the training rows, too: they measure what was learned by heart"
        for part, count in repeated["shared_with_train"].items()
        if count
    ]
    within = [
        f"{count} of {sizes[part]} {part} rows occur twice" for part, count in repeated["within"].items() if count
    ]
    missing = [f"no {part} row of {', '.join(labels)}" for part, labels in facts["missing_classes"].items()]
    return [*shared, *within, *missing]


def _exhibits(dataset: Dataset, counts: dict[str, dict[str, int]]) -> tuple[Exhibit, ...]:
    counted = Exhibit(name="class_counts", title="Classes", figure=figures.class_counts(counts)) if counts else None
    return tuple(exhibit for exhibit in (counted, _samples(dataset)) if exhibit)


def _samples(dataset: Dataset) -> Exhibit | None:
    """Show the first rows of each class: pictures, or a table of texts or features."""
    indices = sample_indices(dataset)
    rows = dataset.train.take(indices)
    if dataset.kind in ("image", "boxes"):
        drawn = figures.sample_pictures(
            rows.inputs.astype(np.uint8), [_answer(rows, i, dataset) for i in range(len(rows))]
        )
        return Exhibit(name="samples", title="Some training rows", figure=drawn)
    header = ("answer", *_columns(dataset, rows.inputs))
    lines = [(_answer(rows, index, dataset), *_cells(rows.inputs[index])) for index in range(len(rows))]
    return Exhibit(name="samples", title="Some training rows", table=(header, *lines))


def sample_indices(dataset: Dataset) -> npt.NDArray[np.int64]:
    """Choose training rows: the first few of each class, or the first rows."""
    most = MOST_PICTURES if dataset.kind in ("image", "boxes") else MOST_ROWS
    if not dataset.is_classified:
        return np.arange(min(most, len(dataset.train)))
    targets = dataset.train.targets
    firsts = [np.flatnonzero(targets == value)[:SAMPLES_PER_CLASS] for value in np.unique(targets)]
    return np.concatenate(firsts)[:most].astype(np.int64)


def _answer(rows: Rows, index: int, dataset: Dataset) -> str:
    if dataset.kind == "boxes":
        return f"{len(np.asarray(rows.targets[index]))} objects"
    target: Any = rows.targets[index]
    if target is None:
        return "–"
    return f"{target:.4g}" if dataset.labels is None else dataset.labels[int(target)]


def _columns(dataset: Dataset, inputs: Array) -> tuple[str, ...]:
    if inputs.dtype.names is not None:
        return inputs.dtype.names
    return dataset.columns or ("text",)


def _cells(row: Any) -> tuple[str, ...]:
    cells = row.item() if isinstance(row, np.void) else row if isinstance(row, np.ndarray) else (row,)
    return tuple(cell[:LONGEST_TEXT] if isinstance(cell, str) else f"{cell:.4g}" for cell in cells)

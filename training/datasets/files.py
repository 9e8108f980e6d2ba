"""Reads the user's own files: CSV tables, CSV of texts, and .npz of pictures.

Every complaint is one line that names the file, the column and the row. A row's number counts as an editor
counts lines: the header is line 1.
"""

from __future__ import annotations

import csv
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model_store.manifest import sha256_of
from training.datasets.dataset import Array, Dataset, Rows, classes, held_out, no_targets, texts
from training.errors import UnusableData
from training.options import FileOptions

MOST_CLASSES_BY_NUMBER = 20
NPZ_PICTURES, NPZ_LABELS = ("x_train", "x_test"), ("y_train", "y_test")
LICENSE = "not stated"


def load_table(path: Path, options: FileOptions, *, needs_target: bool = True) -> Dataset:
    """Read a CSV table: numbers in every column but the target's, which may hold class names or numbers.

    Without `needs_target` there may be no such column: then the rows have neither classes nor values.

    Raises:
        UnusableData: the file is missing or not CSV, lacks the target column, or holds text, blanks or NaN.
    """
    table = read_csv(path)
    target = options.target or "target"
    if not (needs_target or options.target or target in table):
        return _load_unlabelled(path, table)
    answers = _column(path, table, target, option="target")
    columns = tuple(name for name in table if name != target)
    if not columns:
        raise UnusableData(f"{path}: no column beside the target {target!r}")
    features = np.stack([_numbers(path, name, table[name]) for name in columns], axis=1)
    _no_blanks(path, target, answers)
    is_classified = is_classification(answers, options.task)
    labels, targets = classes(answers) if is_classified else (None, _numbers(path, target, answers))
    train, test = held_out(Rows(features, targets), stratified=is_classified)
    return _dataset(path, "features", train, test, labels, columns)


def _load_unlabelled(path: Path, table: dict[str, list[str]]) -> Dataset:
    features = np.stack([_numbers(path, name, values) for name, values in table.items()], axis=1)
    train, test = held_out(Rows(features, no_targets(len(features))), stratified=False)
    return _dataset(path, "features", train, test, None, tuple(table))


def load_texts(path: Path, options: FileOptions) -> Dataset:
    """Read a CSV of texts and labels.

    Raises:
        UnusableData: the file is missing or not CSV, lacks a column, or has rows without a label.
    """
    table = read_csv(path)
    inputs = texts(_column(path, table, options.text, option="text"))
    answers = _column(path, table, options.target or "label", option="target")
    _no_blanks(path, options.target or "label", answers)
    labels, targets = classes(answers)
    train, test = held_out(Rows(inputs, targets), stratified=True)
    return _dataset(path, "text", train, test, labels)


def load_pictures(path: Path, *, needs_target: bool = True) -> Dataset:
    """Read an .npz with x_train, y_train, x_test, y_test.

    Pictures are whole numbers 0..255, [n, height, width] or [n, height, width, 1 or 3]; labels are whole numbers
    or names, one per picture. Without `needs_target` both arrays of labels may be missing.

    Raises:
        UnusableData: the file is missing, is no .npz of plain arrays, lacks one, or they do not fit together.
    """
    arrays = _read_npz(path, needs_target=needs_target)
    x_train, x_test = arrays["x_train"], arrays["x_test"]
    pictures = [_pictures(path, name, arrays[name]) for name in ("x_train", "x_test")]
    if pictures[0].shape[1:] != pictures[1].shape[1:]:
        raise UnusableData(f"{path}: x_train holds pictures of {x_train.shape[1:]}, x_test of {x_test.shape[1:]}")
    if "y_train" not in arrays:
        train, test = (Rows(part, no_targets(len(part))) for part in pictures)
        return _dataset(path, "image", train, test, None)
    answers = [_labels(path, part, arrays) for part in ("train", "test")]
    labels, targets = classes(answers[0] + answers[1])
    train, test = (Rows(part, found) for part, found in zip(pictures, np.split(targets, [len(x_train)]), strict=True))
    return _dataset(path, "image", train, test, labels)


def _labels(path: Path, part: str, arrays: Mapping[str, Array]) -> list[str]:
    """Read the labels of a split as texts."""
    answers, count = arrays[f"y_{part}"], len(arrays[f"x_{part}"])
    if answers.size != count or answers.dtype.kind not in "biuU":
        raise UnusableData(
            f"{path}: y_{part} must hold one whole number or name for each of the {count} pictures, "
            f"received {answers.dtype} {list(answers.shape)}"
        )
    return [str(answer) for answer in answers.ravel()]


def _dataset(
    path: Path,
    kind: str,
    train: Rows,
    test: Rows,
    labels: tuple[str, ...] | None,
    columns: tuple[str, ...] | None = None,
) -> Dataset:
    assert kind in ("image", "features", "text")
    return Dataset(
        name=path.stem,
        kind=kind,  # type: ignore[arg-type]
        train=train,
        test=test,
        labels=labels,
        columns=columns,
        license=LICENSE,
        source=path.name,
        sha256=sha256_of(path),
    )


def read_csv(path: Path) -> dict[str, list[str]]:
    """Read columns by name; raises `UnusableData` for what is no CSV file with a header."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = list(csv.reader(file, strict=True))
    except OSError as error:
        raise UnusableData(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise UnusableData(
            f"{path}: not a CSV file in UTF-8: {error}; save it as UTF-8 (it may be Latin-1 or Windows-1252)"
        ) from None
    except csv.Error as error:
        raise UnusableData(f"{path}: not a CSV file: {error}") from None
    header, rows = (lines[0] if lines else []), [row for row in lines[1:] if row]
    if not header or not all(header) or len(set(header)) < len(header):
        raise UnusableData(
            f"{path}: the first line must name each column once, received {', '.join(header) or 'nothing'}"
        )
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise UnusableData(f"{path}: line {number} has {len(row)} fields, the header has {len(header)}")
    return {name: [row[index] for row in rows] for index, name in enumerate(header)}


def _column(path: Path, table: dict[str, list[str]], name: str, *, option: str) -> list[str]:
    if name not in table:
        hint = f"name the one to use with --set {option}=COLUMN"
        if len(table) == 1 and ";" in next(iter(table)):
            hint = "columns are separated by commas, not semicolons"
        raise UnusableData(f"{path}: no column {name!r}; it has: {', '.join(table)}; {hint}")
    return table[name]


def _no_blanks(path: Path, name: str, values: list[str]) -> None:
    for line, value in enumerate(values, start=2):
        if not value.strip():
            raise UnusableData(f"{path}: column {name!r}, line {line}: empty")


def _numbers(path: Path, name: str, values: list[str]) -> npt.NDArray[np.float32]:
    """Read a column of finite numbers."""
    for line, value in enumerate(values, start=2):
        problem = _problem_as_number(value)
        if problem:
            raise UnusableData(f"{path}: column {name!r}, line {line}: {problem}{_way_out(value)}")
    return np.array([float(value) for value in values], dtype=np.float32)


def _problem_as_number(value: str) -> str | None:
    try:
        number = float(value)
    except ValueError:
        if not value.strip():
            return "empty"
        return f"{value!r} is text, but a table's columns are numbers"
    return (
        None if math.isfinite(number) and abs(number) <= float(np.finfo(np.float32).max) else f"{value} is not finite"
    )


def _way_out(value: str) -> str:
    """Name the recipes that take what is no number; none takes what is not finite."""
    try:
        float(value)
    except ValueError:
        return "; the recipe tabular takes gaps and categories, the recipe text takes texts"
    return ""


def is_classification(answers: list[str], task: str) -> bool:
    """Tell whether the target's texts are class names: what `task` says, else what they look like."""
    if task != "auto":
        return task == "classification"
    if any(_problem_as_number(answer) for answer in answers):
        return True
    are_whole = all(float(answer).is_integer() for answer in answers)
    return are_whole and len(set(answers)) <= MOST_CLASSES_BY_NUMBER


def _read_npz(path: Path, *, needs_target: bool) -> dict[str, Array]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            is_labelled = needs_target or any(name in arrays.files for name in NPZ_LABELS)
            wanted = (*NPZ_PICTURES, *(NPZ_LABELS if is_labelled else ()))
            missing = [name for name in wanted if name not in arrays.files]
            if missing:
                raise UnusableData(
                    f"{path}: lacks {', '.join(missing)}; it has: {', '.join(arrays.files) or 'nothing'}"
                )
            return {name: arrays[name] for name in wanted}
    except OSError as error:
        raise UnusableData(f"{path}: {error.strerror or error}") from None
    except (ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise UnusableData(f"{path}: not an .npz of plain arrays: {error}") from None


def _pictures(path: Path, name: str, array: Array) -> npt.NDArray[np.uint8]:
    pictures = array[..., np.newaxis] if array.ndim == 3 else array
    if pictures.ndim != 4 or pictures.shape[-1] not in (1, 3) or not pictures.size:
        raise UnusableData(
            f"{path}: {name} must be [n, height, width] or [n, height, width, 1 or 3], received {list(array.shape)}"
        )
    if pictures.dtype.kind not in "iu" or int(pictures.min()) < 0 or int(pictures.max()) > 255:
        raise UnusableData(f"{path}: {name} must hold whole numbers 0..255, received {array.dtype}")
    return pictures.astype(np.uint8)

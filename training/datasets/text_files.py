"""Reads the user's texts with their classes: CSV, JSON Lines, Parquet, or a folder of .txt files per class.

Every complaint is one line that names the file and the line (of a Parquet file, the row).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from model_store.manifest import sha256_of
from training.datasets import files
from training.datasets.dataset import Dataset, Rows, classes, digest, held_out, texts
from training.errors import MissingPackage, UnusableData
from training.options import FileOptions

EXPECTED = "a .csv, .jsonl or .parquet file, or a folder that holds a folder of .txt files for each class"
# Of a folder that is split already.
PARTS = ("train", "test")


def load(path: Path, options: FileOptions) -> Dataset:
    """Read texts and their labels.

    Raises:
        UnusableData: there is nothing, or it lacks a column, a label or a text, or holds what is not text.
        MissingPackage: the file is Parquet, and pyarrow is not installed.
    """
    if path.is_dir():
        return _load_folder(path)
    if not path.is_file():
        raise UnusableData(f"{path}: no such file")
    if path.suffix.lower() == ".csv":
        return files.load_texts(path, options)
    readers = {".jsonl": _read_json_lines, ".parquet": _read_parquet}
    if path.suffix.lower() not in readers:
        raise UnusableData(f"{path}: expected {EXPECTED}")
    wanted = {"text": options.text, "target": options.target or "label"}
    rows = list(readers[path.suffix.lower()](path, wanted))
    inputs = texts(_text(place, wanted["text"], text) for place, text, _ in rows)
    labels, targets = classes(_label(place, wanted["target"], label) for place, _, label in rows)
    return _dataset(path, labels, *held_out(Rows(inputs, targets), stratified=True), sha256=sha256_of(path))


def _dataset(path: Path, labels: tuple[str, ...], train: Rows, test: Rows, *, sha256: str) -> Dataset:
    return Dataset(
        name=path.resolve().stem,
        kind="text",
        train=train,
        test=test,
        labels=labels,
        license=files.LICENSE,
        source=path.resolve().name,
        sha256=sha256,
    )


def _read_json_lines(path: Path, wanted: Mapping[str, str]) -> Iterator[tuple[str, Any, Any]]:
    """Give the place, the text and the label of each line; blank lines are none."""
    for number, line in enumerate(_read(path).split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{path}: line {number}"
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UnusableData(f"{place}: not JSON: {error}") from None
        if not isinstance(row, dict):
            raise UnusableData(f'{place}: expected an object such as {{"text": …, "label": …}}')
        _check_columns(place, list(row), wanted)
        yield place, row[wanted["text"]], row[wanted["target"]]


def _read_parquet(path: Path, wanted: Mapping[str, str]) -> Iterator[tuple[str, Any, Any]]:
    """Give the place, the text and the label of each row, counted from 1."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise MissingPackage("not installed: pyarrow, which reads Parquet; pip install 'ovenbird[train]'") from None
    try:
        _check_columns(str(path), parquet.read_schema(path).names, wanted)
        table = parquet.read_table(path, columns=list(dict.fromkeys(wanted.values())))
    except (OSError, pyarrow.ArrowException) as error:
        raise UnusableData(f"{path}: not a Parquet file: {' '.join(str(error).split())}") from None
    columns = (table.column(name).to_pylist() for name in wanted.values())
    for number, (text, label) in enumerate(zip(*columns, strict=True), start=1):
        yield f"{path}: row {number}", text, label


def _check_columns(place: str, known: Sequence[str], wanted: Mapping[str, str]) -> None:
    for option, name in wanted.items():
        if name not in known:
            raise UnusableData(
                f"{place}: no column {name!r}; it has: {', '.join(known)}; name the one to use with "
                f"--set {option}=COLUMN"
            )


def _text(place: str, column: str, value: Any) -> str:
    if not isinstance(value, str):
        raise UnusableData(f"{place}: column {column!r}: expected a text, received {json.dumps(value, default=str)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UnusableData(f"{place}: column {column!r}: holds half a character (a lone surrogate)") from None
    return value


def _label(place: str, column: str, value: Any) -> str:
    """Take a name or a whole number, as a number with a point too: where a column has gaps, others write these."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, (str, int)) or not str(value).strip():
        received = json.dumps(value, default=str)
        raise UnusableData(f"{place}: column {column!r}: expected a name or a whole number, received {received}")
    return str(value)


def _load_folder(path: Path) -> Dataset:
    """Read folder/class/*.txt; where a split is there already, train/class/*.txt and test/class/*.txt in it."""
    if all((path / part).is_dir() for part in PARTS):
        (train_texts, train_names), (test_texts, test_names) = (_read_classes(path / part) for part in PARTS)
        labels, targets = classes([*train_names, *test_names])
        inputs, border = texts([*train_texts, *test_texts]), len(train_names)
        train, test = Rows(inputs[:border], targets[:border]), Rows(inputs[border:], targets[border:])
    else:
        values, names = _read_classes(path)
        labels, targets = classes(names)
        inputs = texts(values)
        train, test = held_out(Rows(inputs, targets), stratified=True)
    return _dataset(path, labels, train, test, sha256=digest(inputs, targets))


def _read_classes(folder: Path) -> tuple[list[str], list[str]]:
    """Give all texts below a folder with their classes, in the order of their names."""
    found = sorted(file for file in folder.glob("*/*.txt") if not file.parent.name.startswith("."))
    if not found:
        raise UnusableData(f"{folder}: no texts there; expected {EXPECTED}")
    return [_read(file) for file in found], [file.parent.name for file in found]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UnusableData(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise UnusableData(f"{path}: not a text in UTF-8: {error}") from None

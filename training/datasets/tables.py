"""Reads the user's tables of numbers and categories: CSV, Parquet and JSON Lines, gaps and all.

A column of numbers is float32 (NaN: missing), any other one is categories: `str` ("": missing). What a column is
follows from its cells, or is said with `--set numbers=…` and `--set categories=…`. Columns that can teach nothing
are left out, and what looks suspicious is noted; dates are not read. Every complaint is one line that names the
file, the column and the line (of a Parquet file, the row).
"""

from __future__ import annotations

import datetime
import decimal
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model_store.cells import Cell, category, is_missing, number
from model_store.manifest import sha256_of
from training.datasets.dataset import Array, Dataset, Rows, classes, held_out, texts
from training.datasets.files import LICENSE, is_classification, read_csv
from training.datasets.suspicions import suspicions
from training.errors import InvalidParameter, MissingPackage, UnusableData
from training.options import FileOptions

# Year, month and day in any order, with a time or without.
_DATE = re.compile(r"(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{4})(?:[T ]\d{1,2}:\d{2}.*)?")
# A leading zero is no part of a number, but of a postal code or an article's number.
_NAME_OF_DIGITS = re.compile(r"[+-]?0[0-9]+")
# So many numbers among the cells, and the few others look like slips.
MOSTLY = 0.9


@dataclass(frozen=True)
class Table:
    """Cells by column and, of each row, where it stands. `is_typed`: a text is a text, even if it looks otherwise."""

    path: Path
    columns: dict[str, list[Cell]]
    places: list[str]
    is_typed: bool

    def take(self, rows: Sequence[int]) -> Table:
        """Choose rows by their indices."""
        chosen = {name: [cells[row] for row in rows] for name, cells in self.columns.items()}
        return Table(self.path, chosen, [self.places[row] for row in rows], self.is_typed)


def load_mixed(path: Path, options: FileOptions) -> Dataset:
    """Read a table of numbers and categories; rows without a target are left out, with a note.

    Raises:
        UnusableData: the file is missing or damaged, lacks the target column, or has no column to learn from; a
            column that is said to be of numbers holds something else.
        InvalidParameter: an option names a column that is not there.
        MissingPackage: the file is Parquet, and pyarrow is not installed.
    """
    target = options.target or "target"
    table, notes = _with_target(_read(path), target)
    answers = table.columns.pop(target)
    _check_names(path, table.columns, options)
    columns: dict[str, Array] = {}
    for name, cells in table.columns.items():
        if name not in options.drop:
            read, said = _column(table, name, cells, options)
            columns |= {name: read} if read is not None else {}
            notes += said
    if not columns:
        raise UnusableData("; ".join([f"{path}: no column to learn from beside the target {target!r}", *notes]))
    labels, targets = _targets(table, target, answers, options.task)
    notes += suspicions(columns, targets)
    train, test = held_out(Rows(_structured(columns), targets), stratified=labels is not None)
    return Dataset(
        name=path.stem,
        kind="table",
        train=train,
        test=test,
        labels=labels,
        columns=tuple(columns),
        license=LICENSE,
        source=path.name,
        sha256=sha256_of(path),
        notes=tuple(notes),
    )


def _with_target(table: Table, target: str) -> tuple[Table, list[str]]:
    """Leave out the rows that have no target, and say so."""
    if target not in table.columns:
        hint = "name the one to predict with --set target=COLUMN"
        if len(table.columns) == 1 and ";" in next(iter(table.columns)):
            hint = "columns are separated by commas, not semicolons"
        raise UnusableData(f"{table.path}: no column {target!r}; it has: {', '.join(table.columns)}; {hint}")
    known = [row for row, cell in enumerate(table.columns[target]) if not is_missing(cell)]
    lost = len(table.places) - len(known)
    if not lost:
        return table, []
    first = next(place for place, cell in zip(table.places, table.columns[target], strict=True) if is_missing(cell))
    counted = "1 row" if lost == 1 else f"{lost} rows"
    return table.take(known), [f"left out {counted} without a target, the first at {first}"]


def _targets(
    table: Table, target: str, answers: Sequence[Cell], task: str
) -> tuple[tuple[str, ...] | None, npt.NDArray[Any]]:
    names = [category(cell) for cell in answers]
    if is_classification(names, task):
        return classes(names)
    return None, _numbers(table, target, answers)


def _check_names(path: Path, columns: Iterable[str], options: FileOptions) -> None:
    """Refuse options that name a column that is not there, or the same one twice."""
    known, seen = list(columns), set[str]()
    for option in ("numbers", "categories", "drop"):
        for name in getattr(options, option):
            if name not in known:
                raise InvalidParameter(option, name, expected=f"columns of {path}: {', '.join(known)}")
            if name in seen:
                raise InvalidParameter(option, name, expected="a column that no other option names")
            seen.add(name)


def _column(table: Table, name: str, cells: Sequence[Cell], options: FileOptions) -> tuple[Array | None, list[str]]:
    """Read a column as what it is, or leave it out: (its values or None, what is to be said of it)."""
    present = [cell for cell in cells if not is_missing(cell)]
    if len(set(present)) < 2 and len(present) in (0, len(cells)):
        return _left_out(name, f"it is {present[0]!r} in every row" if present else "it is empty")
    if name in options.numbers or (name not in options.categories and _are_numbers(present, table.is_typed)):
        return _numbers(table, name, cells), []
    names = texts(category(cell) for cell in cells)
    different = set(names.tolist()) - {""}
    if name in options.categories:
        return names, []
    if all(_DATE.fullmatch(each) for each in different):
        return _left_out(
            name, "it holds dates, which are not read: give what matters of them, the month or the days since, as a "
            f"number of its own, or take them as they are with --set categories={name}"
        )  # fmt: skip
    if len(different) == len(present) > 1:
        return _left_out(name, f"each row has another text, as an identifier has; --set categories={name} keeps it")
    return names, _slips(table, name, cells)


def _left_out(name: str, why: str) -> tuple[None, list[str]]:
    return None, [f"column {name!r} is left out: {why}"]


def _are_numbers(present: Sequence[Cell], is_typed: bool) -> bool:
    return all(_is_number(cell, is_typed) for cell in present)


def _is_number(cell: Cell, is_typed: bool) -> bool:
    if isinstance(cell, str) and (is_typed or _NAME_OF_DIGITS.fullmatch(cell.strip())):
        return False
    try:
        number(cell)
    except ValueError:
        return False
    return True


def _slips(table: Table, name: str, cells: Sequence[Cell]) -> list[str]:
    """Say so if a column of categories is nearly one of numbers."""
    others = [row for row, cell in enumerate(cells) if not is_missing(cell) and not _is_number(cell, table.is_typed)]
    if len(others) > (1 - MOSTLY) * sum(not is_missing(cell) for cell in cells):
        return []
    return [
        f"column {name!r} is read as categories for {cells[others[0]]!r} at {table.places[others[0]]}, though "
        f"{len(cells) - len(others)} of {len(cells)} cells are numbers or empty"
    ]


def _numbers(table: Table, name: str, cells: Sequence[Cell]) -> npt.NDArray[np.float32]:
    values = np.empty(len(cells), dtype=np.float32)
    for row, cell in enumerate(cells):
        try:
            values[row] = number(cell)
        except ValueError as error:
            raise UnusableData(f"{table.path}: column {name!r}, {table.places[row]}: {error}") from None
    return values


def _structured(columns: Mapping[str, Array]) -> Array:
    rows = len(next(iter(columns.values())))
    table = np.empty(rows, dtype=[(name, values.dtype) for name, values in columns.items()])
    for name, values in columns.items():
        table[name] = values
    return table


# Files


def _read(path: Path) -> Table:
    reader: Callable[[Path], Table] = {".parquet": _read_parquet, ".jsonl": _read_json_lines}.get(
        path.suffix.lower(), _read_csv
    )
    table = reader(path)
    stripped = [name.strip() for name in table.columns]
    if not all(stripped) or len(set(stripped)) < len(stripped):
        raise UnusableData(f"{path}: each column needs a name of its own, received {', '.join(stripped) or 'none'}")
    return Table(path, dict(zip(stripped, table.columns.values(), strict=True)), table.places, table.is_typed)


def _read_csv(path: Path) -> Table:
    columns = read_csv(path)
    rows = len(next(iter(columns.values())))
    return Table(
        path,
        {name: list(cells) for name, cells in columns.items()},
        [f"line {line}" for line in range(2, rows + 2)],
        is_typed=False,
    )


def _read_json_lines(path: Path) -> Table:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise UnusableData(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise UnusableData(f"{path}: not JSON Lines in UTF-8: {error}") from None
    found = [(f"line {line}", text) for line, text in enumerate(lines, 1) if text.strip()]
    rows = [_json_row(path, place, text) for place, text in found]
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [_cell(path, name, place, row.get(name)) for (place, _), row in zip(found, rows, strict=True)]
               for name in names}  # fmt: skip
    return Table(path, columns, [place for place, _ in found], is_typed=True)


def _json_row(path: Path, place: str, text: str) -> dict[str, Any]:
    try:
        row = json.loads(text)
    except ValueError as error:
        raise UnusableData(f"{path}: {place}: not JSON: {error}") from None
    if not isinstance(row, dict):
        raise UnusableData(f"{path}: {place}: expected an object with a value for each column, received {text[:40]}")
    return row


def _read_parquet(path: Path) -> Table:
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise MissingPackage("not installed: pyarrow, which reads Parquet; pip install 'ovenbird[train]'") from None
    try:
        columns = parquet.read_table(path).to_pydict()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise UnusableData(f"{path}: not a Parquet file: {' '.join(str(error).split())[:200]}") from None
    places = [f"row {row}" for row in range(1, 1 + max(map(len, columns.values()), default=0))]
    cells = {
        name: [_cell(path, name, place, value) for place, value in zip(places, values, strict=True)]
        for name, values in columns.items()
    }
    return Table(path, cells, places, is_typed=True)


def _cell(path: Path, name: str, place: str, value: object) -> Cell:
    """Take a value for a cell; dates by their ISO 8601 text, so that they are found out."""
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, datetime.date):
        return value.isoformat()
    raise UnusableData(f"{path}: column {name!r}, {place}: expected a number, a text or nothing, received {value!r}")

"""The rows of JSON Lines files."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from service.scoring import json_cells
from service.scoring.errors import InvalidSource
from service.scoring.json_cells import PASSING
from service.scoring.tables import UNREADABLE, Tables, line_bytes

# So many lines tell which columns a file has.
LINES_THAT_TELL = 1000
# So many keys that are not kept are named, so that no more are looked for.
NAMED = 20
# What Python needs for a byte of a line.
OBJECT_BYTES = 4


class JsonLineRows:
    """A file with one JSON object a line; a key that a line lacks is null there, empty lines are passed over.

    A line that is no JSON object is a row of nulls, with the reason in the column `UNREADABLE`. A column may be asked
    for behind `PASSING`: each cell of it is JSON.
    """

    count: int | None = None

    def __init__(self, path: Path) -> None:
        self.path = path
        # Keys that were read and are no columns, the first of them.
        self.late: dict[str, None] = {}
        with path.open("rb") as file:
            first = [line for _, line in itertools.islice(_lines(file), LINES_THAT_TELL)]
        rows = [line for line in first if isinstance(line, dict)]
        if not first:
            raise InvalidSource(f"{path}: holds no rows")
        if not rows:
            raise InvalidSource(f"{path} row 1: {first[0]}")
        names = dict.fromkeys(name for row in rows for name in row)
        self._names = names.keys()
        self.schema: pa.Schema = pa.table({name: _column([row.get(name) for row in rows]) for name in names}).schema

    def read(self, size: int, columns: Sequence[str], *, start: int = 0) -> Tables:
        """Yield rows as `ParquetRows.read` does; what lies before `start` is read and left aside."""
        whole = max(1, self.path.stat().st_size)
        with self.path.open("rb") as file:
            lines = itertools.islice(_lines(file), start, None)
            while batch := list(itertools.islice(lines, size)):
                yield self._table([line for _, line in batch], columns), batch[-1][0] / whole

    def row_bytes(self, _columns: Sequence[str], /) -> float:
        """Estimate what a row takes in memory: a line of whatever columns is read whole."""
        return OBJECT_BYTES * line_bytes(self.path)

    def _table(self, lines: Sequence[dict[str, Any] | str], columns: Sequence[str]) -> pa.Table:
        rows = [line if isinstance(line, dict) else {} for line in lines]
        self._note_late(rows)
        table = pa.table({name: self._column(rows, name) for name in columns})
        reasons = pa.array([line if isinstance(line, str) else None for line in lines], pa.string())
        return table if reasons.null_count == len(lines) else table.append_column(UNREADABLE, reasons)

    def _note_late(self, rows: Sequence[dict[str, Any]]) -> None:
        if len(self.late) < NAMED:
            self.late |= dict.fromkeys(name for row in rows if not row.keys() <= self._names for name in row)
            self.late = {name: None for name in self.late if name not in self._names}

    def _column(self, rows: Sequence[dict[str, Any]], name: str) -> pa.Array:
        key = name.removeprefix(PASSING)
        values = [row.get(key) for row in rows]
        return json_cells.column_of(values) if key != name else _column(values, self.schema.field(name).type)


def _lines(file: Iterable[bytes]) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Yield each line's object, or why it is none; with the place in bytes where the line ends."""
    place = 0
    for line in file:
        place += len(line)
        if line.strip():
            yield place, _object(line)


def _object(line: bytes) -> dict[str, Any] | str:
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return f"not JSON: {error}"
    return found if isinstance(found, dict) else 'expected an object, such as {"text": "…"}'


def _column(values: list[Any], usual: pa.DataType | None = None) -> pa.Array:
    """Make a column; values of several types become text, nothing but nulls is of the type that is usual."""
    try:
        column = pa.array(values)
    except json_cells.DIFFERENT:
        return json_cells.as_texts(values)
    return pa.nulls(len(values), usual) if usual is not None and pa.types.is_null(column.type) else column

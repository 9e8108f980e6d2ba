"""The rows of table files, as Arrow tables of a given number of rows, in order: Parquet, CSV, JSON Lines.

Memory is bounded by what is asked for at once, whatever the file's size. Knows no model.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from service.scoring.errors import InvalidSource

# What is read of a file at once, beneath the rows that are asked for.
BLOCK_BYTES = 2**20
# So many values of a Parquet file are decoded at once: few enough that their memory is used again, not asked for anew.
DECODED_VALUES = 2**19
# So many lines tell which columns a file of JSON Lines has.
LINES_THAT_TELL = 1000
# Why rows could not be read, beside their columns, where some could not be.
UNREADABLE = "__ovenbird_unreadable"

Tables = Iterator[tuple[pa.Table, float]]


class ParquetRows:
    """A Parquet file."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = pyarrow.parquet.ParquetFile(path, pre_buffer=False, buffer_size=BLOCK_BYTES)
        except (pa.ArrowInvalid, OSError) as error:
            raise InvalidSource(f"{path}: not a Parquet file: {_first_line(error)}") from None
        self.path = path
        self.schema: pa.Schema = self._file.schema_arrow
        self.count: int | None = self._file.metadata.num_rows

    def read(self, size: int, columns: Sequence[str], *, start: int = 0) -> Tables:
        """Yield so many rows at a time from row `start` on, and how much of the file lies before their end (0 to 1)."""
        groups, before = _groups_from(self._file.metadata, start)
        batches = self._file.iter_batches(
            batch_size=min(size, max(1, int(DECODED_VALUES / _values_of_a_row(self._file.metadata, columns)))),
            row_groups=groups,
            columns=list(columns),
            use_threads=False,
        )
        done = start
        try:
            for table in recut((pa.Table.from_batches([batch]) for batch in batches), size, drop=start - before):
                done += table.num_rows
                yield table.select(columns), done / max(1, self.count or 0)
        except (pa.ArrowException, OSError) as error:
            raise InvalidSource(f"{self.path} after row {done}: {_first_line(error)}") from None


def _groups_from(metadata: Any, start: int) -> tuple[list[int], int]:
    """List the row groups from that on which holds row `start`, and count the rows before them."""
    before = 0
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group).num_rows
        if before + rows > start:
            return list(range(group, metadata.num_row_groups)), before
        before += rows
    return [], before


def _values_of_a_row(metadata: Any, columns: Sequence[str]) -> float:
    """Count the values, those in lists too, that a row has in these columns, on average; at least 1."""
    values = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        chunks = (group.column(index) for index in range(group.num_columns))
        values += sum(chunk.num_values for chunk in chunks if chunk.path_in_schema.split(".")[0] in columns)
    return float(max(1.0, values / max(1, metadata.num_rows)))


class CsvRows:
    """A CSV file with a header. Every cell is text, as it stands there: 007 stays 007, and nothing is guessed."""

    count: int | None = None

    def __init__(self, path: Path) -> None:
        self.path = path
        with _naming(path), self._opened() as reader:
            self.schema: pa.Schema = pa.schema([(name, pa.string()) for name in reader.schema.names])

    def read(self, size: int, columns: Sequence[str], *, start: int = 0) -> Tables:
        """Yield rows as `ParquetRows.read` does; what lies before `start` is read and left aside."""
        whole = max(1, self.path.stat().st_size)
        done = start
        with _naming(self.path), self.path.open("rb") as file, self._opened(file) as reader:
            tables = (pa.Table.from_batches([batch]) for batch in reader)
            for table in recut((table.select(columns) for table in tables), size, drop=start):
                done += table.num_rows
                yield table, min(1.0, file.tell() / whole)

    def _opened(self, file: Any = None) -> Any:
        # One thread: the errors of several do not say which row is meant.
        return pyarrow.csv.open_csv(
            file or self.path,
            read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={name: pa.string() for name in self.schema.names} if file else None,
                strings_can_be_null=False,
            ),
        )


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Say in which file Arrow found something wrong."""
    try:
        yield
    except pa.ArrowException as error:
        raise InvalidSource(f"{path}: {_first_line(error)}") from None


class JsonLineRows:
    """A file with one JSON object a line; a key that a line lacks is null there, empty lines are passed over.

    A line that is no JSON object is a row of nulls, with the reason in the column `UNREADABLE`.
    """

    count: int | None = None

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            first = [line for _, line in itertools.islice(_lines(file), LINES_THAT_TELL)]
        rows = [line for line in first if isinstance(line, dict)]
        if first and not rows:
            raise InvalidSource(f"{path} row 1: {first[0]}")
        names = dict.fromkeys(name for row in rows for name in row)
        self.schema: pa.Schema = pa.table({name: _column([row.get(name) for row in rows]) for name in names}).schema

    def read(self, size: int, columns: Sequence[str], *, start: int = 0) -> Tables:
        """Yield rows as `ParquetRows.read` does; what lies before `start` is read and left aside."""
        whole = max(1, self.path.stat().st_size)
        with self.path.open("rb") as file:
            lines = itertools.islice(_lines(file), start, None)
            while batch := list(itertools.islice(lines, size)):
                yield self._table([line for _, line in batch], columns), batch[-1][0] / whole

    def _table(self, lines: Sequence[dict[str, Any] | str], columns: Sequence[str]) -> pa.Table:
        rows = [line if isinstance(line, dict) else {} for line in lines]
        table = pa.table(
            {name: _column([row.get(name) for row in rows], self.schema.field(name).type) for name in columns}
        )
        reasons = pa.array([line if isinstance(line, str) else None for line in lines], pa.string())
        return table if reasons.null_count == len(lines) else table.append_column(UNREADABLE, reasons)


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


def unreadable(table: pa.Table) -> dict[int, str]:
    """Tell which rows of a table that was read could not be read, and why."""
    reasons = table.column(UNREADABLE).to_pylist() if UNREADABLE in table.column_names else []
    return {row: reason for row, reason in enumerate(reasons) if reason}


def _column(values: list[Any], usual: pa.DataType | None = None) -> pa.Array:
    """Make a column; values of several types become text, nothing but nulls is of the type that is usual."""
    try:
        column = pa.array(values)
    except (pa.ArrowException, OverflowError):
        return pa.array([value if value is None or isinstance(value, str) else _text(value) for value in values])
    return pa.nulls(len(values), usual) if usual is not None and pa.types.is_null(column.type) else column


def _text(value: Any) -> str:
    return orjson.dumps(value).decode()


def recut(tables: Iterable[pa.Table], size: int, *, drop: int = 0) -> Iterator[pa.Table]:
    """Cut rows that come in tables of any size anew, into tables of `size` rows; the first `drop` are left out."""
    waiting: list[pa.Table] = []
    rows = 0
    for table in tables:
        kept = table.slice(min(drop, table.num_rows))
        drop -= table.num_rows - kept.num_rows
        waiting.append(kept)
        rows += kept.num_rows
        while rows >= size:
            together = pa.concat_tables(waiting)
            yield together.slice(0, size)
            waiting = [together.slice(size)]
            rows -= size
    if rows:
        yield pa.concat_tables(waiting)


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:300]

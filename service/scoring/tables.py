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
    """A file with one JSON object a line; a key that a line lacks is null there, empty lines are passed over."""

    count: int | None = None

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            first = [row for _, row in itertools.islice(self._rows(file), LINES_THAT_TELL)]
        names = list(dict.fromkeys(name for row in first for name in row))
        self.schema: pa.Schema = _table(first, names).schema

    def read(self, size: int, columns: Sequence[str], *, start: int = 0) -> Tables:
        """Yield rows as `ParquetRows.read` does; what lies before `start` is read and left aside."""
        whole = max(1, self.path.stat().st_size)
        with self.path.open("rb") as file:
            place = 0
            rows = itertools.islice(self._rows(file), start, None)
            while batch := list(itertools.islice(rows, size)):
                place = batch[-1][0]
                yield _table([row for _, row in batch], columns), place / whole

    def _rows(self, file: Iterable[bytes]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield each object, with the place in bytes where its line ends."""
        place = row = 0
        for line in file:
            place += len(line)
            if not line.strip():
                continue
            row += 1
            yield place, self._object(line, row)

    def _object(self, line: bytes, row: int) -> dict[str, Any]:
        try:
            found = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise InvalidSource(f"{self.path} row {row}: not JSON: {error}") from None
        if not isinstance(found, dict):
            raise InvalidSource(f'{self.path} row {row}: expected an object, such as {{"text": "…"}}')
        return found


def _table(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> pa.Table:
    return pa.table({name: _column([row.get(name) for row in rows]) for name in columns})


def _column(values: list[Any]) -> pa.Array:
    """Make a column; values of several types become text."""
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError):
        return pa.array([value if value is None or isinstance(value, str) else _text(value) for value in values])


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

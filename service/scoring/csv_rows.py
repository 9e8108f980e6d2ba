"""The rows of CSV files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.csv

from service.scoring.errors import InvalidSource
from service.scoring.tables import BLOCK_BYTES, Tables, line_bytes, naming, recut

# So much is read at once; more where a row does not fit.
BLOCKS = tuple(BLOCK_BYTES * times for times in (1, 2, 8, 32, 128))
# What Arrow says of a row that does not fit.
DOES_NOT_FIT = "straddl"


class CsvRows:
    """A CSV file with a header. Every cell is text, as it stands there: 007 stays 007, and nothing is guessed.

    An empty line is a row where a row has one cell, and passed over where it has several.
    """

    count: int | None = None

    def __init__(self, path: Path) -> None:
        self.path = path
        self._passes_over = True
        names = self._beginning(()).column_names
        if len(names) == 1:
            self._passes_over = False
            # Before the header an empty line is none.
            self._passes_over = self._beginning(()).column_names != names
        self.schema: pa.Schema = pa.schema([(name, pa.string()) for name in names])

    def read(self, size: int, columns: Sequence[str], *, start: int = 0) -> Tables:
        """Yield rows as `ParquetRows.read` does; what lies before `start` is read and left aside."""
        whole, done = max(1, self.path.stat().st_size), start
        with naming(self.path):
            for block in BLOCKS:
                try:
                    for table, place in self._tables(size, columns, done, block):
                        done += table.num_rows
                        yield table, min(1.0, place / whole)
                    return
                except pa.ArrowInvalid as error:
                    _check_fit(error)
        raise self._too_long(f" after row {done}")

    def _tables(self, size: int, columns: Sequence[str], start: int, block: int) -> Iterator[tuple[pa.Table, int]]:
        with self.path.open("rb") as file, self._opened(file, block, self.schema.names) as reader:
            tables = (pa.Table.from_batches([batch]).select(columns) for batch in reader)
            for table in recut(tables, size, drop=start):
                yield table, file.tell()

    def row_bytes(self, columns: Sequence[str], /) -> float:
        """Estimate what a row of these columns takes in memory: their share of it, by the first rows."""
        first = self._beginning(self.schema.names)
        if not first.num_rows:
            return 0.0
        whole = max(first.nbytes / first.num_rows, line_bytes(self.path))
        return float(whole * first.select(columns).nbytes / max(1, first.nbytes))

    def _beginning(self, texts: Sequence[str]) -> pa.Table:
        """Read the first rows; these columns as texts."""
        with naming(self.path):
            for block in BLOCKS:
                try:
                    with self.path.open("rb") as file, self._opened(file, block, texts) as reader:
                        return pa.Table.from_batches(
                            [batch for batch in [next(iter(reader), None)] if batch], reader.schema
                        )
                except pa.ArrowInvalid as error:
                    _check_fit(error)
        raise self._too_long("")

    def _opened(self, file: IO[bytes], block: int, texts: Sequence[str]) -> Any:
        # One thread: the errors of several do not say which row is meant.
        return pyarrow.csv.open_csv(
            file,
            read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=block),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=self._passes_over),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={name: pa.string() for name in texts}, strings_can_be_null=False
            ),
        )

    def _too_long(self, where: str) -> InvalidSource:
        return InvalidSource(
            f"{self.path}{where}: a row is longer than {BLOCKS[-1] // 2**20} MiB, or a quoted cell does not end"
        )


def _check_fit(error: pa.ArrowInvalid) -> None:
    """Raise the error again, unless it says that a row does not fit into a block."""
    if DOES_NOT_FIT not in str(error):
        raise error

"""The rows of CSV files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv

from service.scoring.tables import BLOCK_BYTES, Tables, line_bytes, naming, recut


class CsvRows:
    """A CSV file with a header. Every cell is text, as it stands there: 007 stays 007, and nothing is guessed."""

    count: int | None = None

    def __init__(self, path: Path) -> None:
        self.path = path
        with naming(path), self._opened() as reader:
            self.schema: pa.Schema = pa.schema([(name, pa.string()) for name in reader.schema.names])

    def read(self, size: int, columns: Sequence[str], *, start: int = 0) -> Tables:
        """Yield rows as `ParquetRows.read` does; what lies before `start` is read and left aside."""
        whole = max(1, self.path.stat().st_size)
        done = start
        with naming(self.path), self.path.open("rb") as file, self._opened(file) as reader:
            tables = (pa.Table.from_batches([batch]) for batch in reader)
            for table in recut((table.select(columns) for table in tables), size, drop=start):
                done += table.num_rows
                yield table, min(1.0, file.tell() / whole)

    def row_bytes(self, columns: Sequence[str], /) -> float:
        """Estimate what a row of these columns takes in memory: their share of it, by the first rows."""
        with naming(self.path), self.path.open("rb") as file, self._opened(file) as reader:
            first = next(iter(reader), None)
        if first is None or not first.num_rows:
            return 0.0
        whole = max(first.nbytes / first.num_rows, line_bytes(self.path))
        return float(whole * first.select(columns).nbytes / max(1, first.nbytes))

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

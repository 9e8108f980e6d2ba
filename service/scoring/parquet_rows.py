"""The rows of Parquet files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from service.scoring.errors import InvalidSource
from service.scoring.tables import BLOCK_BYTES, Tables, first_line, recut

# So many values are decoded at once: few enough that their memory is used again, not asked for anew.
DECODED_VALUES = 2**19


class ParquetRows:
    """A Parquet file."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = pyarrow.parquet.ParquetFile(path, pre_buffer=False, buffer_size=BLOCK_BYTES)
        except (pa.ArrowInvalid, OSError) as error:
            raise InvalidSource(f"{path}: not a Parquet file: {first_line(error)}") from None
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
            raise InvalidSource(f"{self.path} after row {done}: {first_line(error)}") from None


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

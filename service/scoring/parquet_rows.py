"""The rows of Parquet files."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from service.scoring.errors import InvalidSource
from service.scoring.tables import BLOCK_BYTES, Tables, first_line, naming, recut

# So many values are decoded at once: few enough that their memory is used again, not asked for anew.
DECODED_VALUES = 2**19
# And so many bytes.
DECODED_BYTES = 4 * 2**20
# So many rows of the first, the middle and the last row group are looked at to tell how wide rows are.
SAMPLE_ROWS = 16


class ParquetRows:
    """A Parquet file."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = pyarrow.parquet.ParquetFile(path, pre_buffer=False, buffer_size=BLOCK_BYTES)
        except (pa.ArrowInvalid, OSError) as error:
            raise InvalidSource(f"{path}: not a Parquet file: {first_line(error)}") from None
        self.path = path
        self.schema = pa.schema([field.with_type(_plain(field.type)) for field in self._file.schema_arrow])
        self.count: int | None = self._file.metadata.num_rows

    def read(self, size: int, columns: Sequence[str], *, start: int = 0) -> Tables:
        """Yield so many rows at a time from row `start` on, and how much of the file lies before their end (0 to 1)."""
        groups, before = _groups_from(self._file.metadata, start)
        batches = self._file.iter_batches(
            batch_size=min(size, self._rows_at_once(columns)),
            row_groups=groups,
            columns=list(columns),
            use_threads=False,
        )
        done = start
        try:
            for table in recut((pa.Table.from_batches([batch]) for batch in batches), size, drop=start - before):
                done += table.num_rows
                yield _as_plain(table.select(columns)), done / max(1, self.count or 0)
        except (pa.ArrowException, OSError) as error:
            raise InvalidSource(f"{self.path} after row {done}: {first_line(error)}") from None

    def _rows_at_once(self, columns: Sequence[str]) -> int:
        values, width = _values_of_a_row(self._file.metadata, columns), self.row_bytes(columns)
        return max(1, int(min(DECODED_VALUES / values, DECODED_BYTES / max(1.0, width))))

    def row_bytes(self, columns: Sequence[str], /) -> float:
        """Estimate what a row takes in memory: as the file says, or as rows that are looked at show, if that is more.

        What the file says is too little where few values are written once and referred to.
        """
        with naming(self.path):
            return max(_written_bytes_of_a_row(self._file.metadata, columns), self._decoded_bytes_of_a_row(columns))

    def _decoded_bytes_of_a_row(self, columns: Sequence[str]) -> float:
        groups = self._file.metadata.num_row_groups
        widest = 0.0
        for group in {0, groups // 2, groups - 1} if groups else ():
            batches = self._file.iter_batches(
                batch_size=SAMPLE_ROWS, row_groups=[group], columns=list(columns), use_threads=False
            )
            widest = max([widest, *(batch.nbytes / max(1, batch.num_rows) for batch in itertools.islice(batches, 1))])
        return widest


def _plain(kind: pa.DataType) -> pa.DataType:
    """Give the type that holds the same and that everything takes."""
    return {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}.get(kind, kind)


def _as_plain(table: pa.Table) -> pa.Table:
    plain = pa.schema([field.with_type(_plain(field.type)) for field in table.schema])
    return table if plain.equals(table.schema) else table.cast(plain)


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
    groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
    values = sum(chunk.num_values for group in groups for chunk in _chunks(group, columns))
    return float(max(1.0, values / max(1, metadata.num_rows)))


def _written_bytes_of_a_row(metadata: Any, columns: Sequence[str]) -> float:
    """Tell how many bytes, before compression, these columns have a row: in the row group where they have most."""
    groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
    sizes = (
        sum(chunk.total_uncompressed_size for chunk in _chunks(group, columns)) / max(1, group.num_rows)
        for group in groups
    )
    return float(max(sizes, default=0.0))


def _chunks(group: Any, columns: Sequence[str]) -> Iterator[Any]:
    chunks = (group.column(index) for index in range(group.num_columns))
    return (chunk for chunk in chunks if chunk.path_in_schema.split(".")[0] in columns)

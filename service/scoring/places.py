"""Where the rows of a table came from: file and row, in two columns of it, while they travel between processes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from service.errors import InferenceFailed
from service.tensors import Array

# Both are counted from 0, and not written.
FILE, ROW = "__ovenbird_file", "__ovenbird_row"


def with_place(table: pa.Table, file: int, first: int) -> pa.Table:
    """Say of rows that follow each other in a file which ones they are."""
    files = pa.repeat(pa.scalar(file, pa.int64()), len(table))
    rows = pa.array(np.arange(first, first + len(table)), pa.int64())
    return table.append_column(FILE, files).append_column(ROW, rows)


def consecutive(table: pa.Table) -> Iterator[pa.Table]:
    """Cut a table into pieces whose rows follow each other in one file."""
    files, rows = _places(table)
    breaks = np.flatnonzero((np.diff(rows) != 1) | (np.diff(files) != 0)) + 1
    for start, end in zip([0, *breaks], [*breaks, len(rows)], strict=True):
        yield table.slice(start, end - start)


def in_turn(table: pa.Table, before: tuple[int, int]) -> tuple[int, int]:
    """Give the place of the last row; raise `InferenceFailed` unless all follow the one before, file by file."""
    files, rows = (np.concatenate([[last], places]) for last, places in zip(before, _places(table), strict=True))
    is_next = (np.diff(files) == 0) & (np.diff(rows) == 1)
    is_first_of_later_file = (np.diff(files) > 0) & (rows[1:] == 0)
    wrong = np.flatnonzero(~(is_next | is_first_of_later_file)) + 1
    if wrong.size:
        file, row = files[wrong[0]], rows[wrong[0]]
        raise InferenceFailed(f"Ray gave row {row + 1} of file {file + 1} back out of turn: start it again")
    return int(files[-1]), int(rows[-1])


def _places(table: pa.Table) -> tuple[Array, Array]:
    return table.column(FILE).to_numpy(), table.column(ROW).to_numpy()

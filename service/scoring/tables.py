"""What the files of rows have in common, of whatever kind: tables of a given number of rows, in order.

Memory is bounded by what is asked for at once, whatever the file's size. Knows no model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from service.scoring.errors import InvalidSource

# What is read of a file at once, beneath the rows that are asked for.
BLOCK_BYTES = 2**20
# So much is read at each place of a file to tell how long its lines are.
SAMPLE_BYTES = 2**18
# Why rows could not be read, beside their columns, where some could not be.
UNREADABLE = "__ovenbird_unreadable"

Tables = Iterator[tuple[pa.Table, float]]


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Say in which file Arrow found something wrong."""
    try:
        yield
    except pa.ArrowException as error:
        raise InvalidSource(f"{path}: {first_line(error)}") from None


def line_bytes(path: Path) -> float:
    """Estimate how long a line is: of the beginning, the middle and the end, where lines are longest, on average."""
    whole = path.stat().st_size
    samples = []
    with path.open("rb") as file:
        for place in (0, whole // 2 - SAMPLE_BYTES // 2, whole - SAMPLE_BYTES):
            file.seek(max(0, place))
            samples.append(file.read(SAMPLE_BYTES))
    return max(len(sample) / max(1, sample.count(b"\n")) for sample in samples)


def unreadable(table: pa.Table) -> dict[int, str]:
    """Tell which rows of a table that was read could not be read, and why."""
    reasons = table.column(UNREADABLE).to_pylist() if UNREADABLE in table.column_names else []
    return {row: reason for row, reason in enumerate(reasons) if reason}


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


def first_line(error: BaseException) -> str:
    """Say in short what Arrow found."""
    return str(error).strip().split("\n")[0][:300]

"""The rows of NumPy's files: an .npy is one column, an .npz one for each array with a first dimension in common.

Arrays are read in order, so many rows at a time, out of the zip file as well. Pickles are refused. Source:
NEP 1 ("A Simple File Format for NumPy Arrays").
"""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
from numpy.lib import format as npy

from service.scoring.errors import InvalidSource
from service.scoring.tables import Tables
from service.tensors import Array

# What a damaged file is found by. RuntimeError: zipfile's word for a member that claims to be encrypted.
DAMAGE = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)


class ArrayRows:
    """An .npy or .npz file; a row is one entry of the first dimension of each array."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with ExitStack() as stack:
                members = {name: _Member(file) for name, file in self._opened(stack).items()}
        except DAMAGE as error:
            raise InvalidSource(f"{path}: {error}") from None
        counts = {name: member.shape[0] if member.shape else 0 for name, member in members.items()}
        if len(set(counts.values())) != 1:
            listed = ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"
            raise InvalidSource(f"{path}: expected arrays with as many rows each, found {listed}")
        self.count: int | None = next(iter(counts.values()))
        self._row_bytes = {name: member.row_bytes for name, member in members.items()}
        self.schema = pa.schema([(name, column_of(member.none()).type) for name, member in members.items()])

    def read(self, size: int, columns: Sequence[str], *, start: int = 0) -> Tables:
        """Yield so many rows at a time from row `start` on, and how much of the file lies before their end (0 to 1)."""
        total, done = self.count or 0, start
        try:
            with ExitStack() as stack:
                members = {name: _Member(file) for name, file in self._opened(stack).items() if name in columns}
                for member in members.values():
                    member.skip(start)
                while done < total:
                    rows = min(size, total - done)
                    done += rows
                    yield pa.table({name: column_of(members[name].read(rows)) for name in columns}), done / total
        except DAMAGE as error:
            raise InvalidSource(f"{self.path} after row {done}: {error}") from None

    def row_bytes(self, columns: Sequence[str], /) -> float:
        """Tell what a row of these arrays takes in memory."""
        return sum(self._row_bytes[name] for name in columns)

    def _opened(self, stack: ExitStack) -> dict[str, IO[bytes]]:
        if self.path.suffix.lower() == ".npy":
            return {self.path.stem: stack.enter_context(self.path.open("rb"))}
        archive = stack.enter_context(zipfile.ZipFile(self.path))
        names = [name for name in archive.namelist() if name.endswith(".npy")]
        return {name.removesuffix(".npy"): stack.enter_context(archive.open(name)) for name in names}


class _Member:
    """One array's file, read from its beginning."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        major, _ = npy.read_magic(file)
        header = npy.read_array_header_1_0 if major == 1 else npy.read_array_header_2_0
        self.shape, by_column, self.dtype = header(file)
        if self.dtype.hasobject:
            raise ValueError("holds Python objects, which are not read: save texts as np.array(texts, dtype=str)")
        if by_column and len(self.shape) > 1:
            raise ValueError("is stored by column: save it as np.ascontiguousarray(array)")

    def none(self) -> Array:
        return np.empty((0, *self.shape[1:]), self.dtype)

    def skip(self, rows: int) -> None:
        self._file.seek(rows * self.row_bytes, io.SEEK_CUR)

    def read(self, rows: int) -> Array:
        body = self._file.read(rows * self.row_bytes)
        if len(body) < rows * self.row_bytes:
            raise EOFError("the file ends too soon")
        return np.frombuffer(body, self.dtype).reshape(rows, *self.shape[1:])

    @property
    def row_bytes(self) -> int:
        return int(math.prod(self.shape[1:]) * self.dtype.itemsize)


def column_of(array: Array) -> pa.Array:
    """Make an Arrow column of an array [rows, …]: lists of a fixed size for every further dimension."""
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    flat: Any = native.ravel()
    column = pa.array(flat.tolist(), pa.string()) if native.dtype.kind == "U" else pa.array(flat)
    for size in reversed(array.shape[1:]):
        column = pa.FixedSizeListArray.from_arrays(column, size)
    return column

"""Rows that stay in a file until they are asked for, so that a data set may be larger than the memory.

Knows no picture and no Keras.
"""

from __future__ import annotations

import math
import os
import tempfile
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class RowsOnDisk:
    """Some rows of an array in a file, in some order, as NumPy would show them.

    What is indexed (a row, a slice, indices) is read into the memory; `part` chooses rows and reads none. `np.asarray`
    and `astype` read all: for what cannot go piece by piece.
    """

    file: np.memmap[Any, np.dtype[Any]]
    indices: npt.NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, ...]:
        """As an array's."""
        return (len(self.indices), *self.file.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """As an array's."""
        return self.file.dtype

    @property
    def ndim(self) -> int:
        """As an array's."""
        return self.file.ndim

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, key: Any) -> npt.NDArray[Any]:
        rows: npt.NDArray[Any] = np.asarray(self.file)[self.indices[key]]
        return rows

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return self[:].astype(dtype or self.dtype, copy=False)

    def astype(self, dtype: Any) -> npt.NDArray[Any]:
        """Read all rows, as another dtype."""
        return self[:].astype(dtype)

    def part(self, indices: npt.NDArray[np.integer]) -> RowsOnDisk:
        """Choose rows by their indices, and read none."""
        return RowsOnDisk(self.file, self.indices[indices])


def empty_on_disk(shape: tuple[int, ...], dtype: npt.DTypeLike) -> np.memmap[Any, np.dtype[Any]]:
    """Map a new file without a name into memory, in TMPDIR; it is gone when nothing maps it any more.

    Raises:
        OSError: there is no room for it.
    """
    kind = np.dtype(dtype)
    with tempfile.TemporaryFile(prefix="ovenbird-") as file:
        # Else a full disk would show only later, and kill the process.
        os.posix_fallocate(file.fileno(), 0, math.prod(shape) * kind.itemsize)
        return np.memmap(file, dtype=kind, mode="r+", shape=shape)

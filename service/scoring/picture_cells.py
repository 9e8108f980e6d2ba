"""Cells of a table → the bytes of pictures, which they hold or give the path of."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa


@dataclass(frozen=True)
class PicturePaths:
    """Where pictures are that a table has by their paths: what these are relative to, and how large files may be."""

    folder: Path
    most_bytes: int

    def read(self, path: str) -> bytes:
        """Read a file; raise `OSError` or `ValueError` if it is none, or too large."""
        with open(self.folder / path, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ValueError(f"{path}: is no file of a picture")
            body = file.read(self.most_bytes + 1)
        if len(body) > self.most_bytes:
            raise ValueError(f"{path}: is larger than {self.most_bytes} bytes (OVENBIRD_MAX_BINARY_BYTES)")
        return body


def _without_waiting(path: str, flags: int) -> int:
    # A pipe would be waited for until somebody writes into it.
    return os.open(path, flags | os.O_NONBLOCK)


def reader_of(kind: pa.DataType, paths: PicturePaths) -> Callable[[Any], bytes] | None:
    """Choose how a cell becomes a picture's bytes: it holds them, alone or as `bytes`, or the path of their file."""
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return lambda cell: paths.read(_there(cell))
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return lambda cell: bytes(_there(cell))
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        return lambda cell: bytes(_there(_there(cell)["bytes"]))
    return None


def _there(cell: Any) -> Any:
    if cell is None:
        raise ValueError("there is no picture")
    return cell

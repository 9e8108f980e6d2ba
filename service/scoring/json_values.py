"""Columns → the values that JSON is written of: floats of 32 or 16 bits with the digits that they have, no more.

As Python's own floats they would have those of a double: 0.8693511 would be 0.8693510890007019.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from service.scoring import json_cells
from service.tensors import Array


def values_of(column: pa.ChunkedArray) -> list[Any]:
    """List the cells, for `orjson` with its option for NumPy; None, or NaN, for nothing: JSON has null for both."""
    if json_cells.is_json(column.type):
        return json_cells.values_of(column)
    return list(itertools.chain.from_iterable(map(_cells, column.chunks)))


def _has_short_floats(kind: pa.DataType) -> bool:
    if _is_list(kind) or pa.types.is_struct(kind):
        return any(_has_short_floats(kind.field(index).type) for index in range(kind.num_fields))
    return bool(pa.types.is_float32(kind) or pa.types.is_float16(kind))


def _is_list(kind: pa.DataType) -> bool:
    kinds = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(is_of(kind) for is_of in kinds)


def _cells(array: pa.Array) -> Sequence[Any] | Array:
    kind = array.type
    if not _has_short_floats(kind):
        return list(array.to_pylist())
    if pa.types.is_struct(kind):
        names = [field.name for field in kind]
        rows = zip(*(_cells(array.field(index)) for index in range(kind.num_fields)), strict=True)
        there = array.is_valid().to_pylist()
        return [
            dict(zip(names, row, strict=True)) if is_there else None for row, is_there in zip(rows, there, strict=True)
        ]
    if _is_list(kind):
        cells, lengths = _cells(array.flatten()), pc.list_value_length(array)
        ends = np.cumsum(pc.fill_null(lengths, 0).to_numpy()).tolist()
        return [
            None if length is None else cells[end - length : end]
            for end, length in zip(ends, lengths.to_pylist(), strict=True)
        ]
    return array.to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]

"""Columns of a table → arrays that a model takes, and what is wrong with single rows.

Cells are read as training and the service read them (`model_store.cells`, `model_store.pictures`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from model_store.cells import LARGEST, MISSING, category, number
from model_store.manifest import InputSpec
from service.codec import pictures
from service.codec.detections import Size
from service.errors import MalformedBody
from service.scoring.binding import Bound, is_list
from service.scoring.errors import InvalidColumns
from service.scoring.picture_cells import PicturePaths, reader_of
from service.tensors import DATATYPES, NUMPY_DTYPES, Array

Problems = dict[int, str]


@dataclass
class Decoded:
    """One input's rows. Those with a problem hold zeros or empty texts.

    `values` is a list of arrays, one a row, where rows differ in shape. `sizes` are those of the pictures as they were.
    """

    values: Array | list[Array]
    problems: Problems = field(default_factory=dict)
    sizes: list[Size | None] = field(default_factory=list)


def decode(table: pa.Table, bound: Bound, paths: PicturePaths, *, with_sizes: bool = False) -> Decoded:
    """Make one input's rows; `paths` of pictures are read.

    Raises:
        InvalidColumns: a column's type can be no such input, whatever its rows hold.
    """
    columns = [_flat(table.column(name)) for name in bound.columns]
    spec = bound.spec
    if len(columns) > 1:
        return _numbers_side_by_side(columns, bound)
    (column,) = columns
    if spec.kind == "image" and not (is_list(column.type) or pa.types.is_fixed_size_binary(column.type)):
        return _pictures(column, bound, paths, with_sizes=with_sizes)
    if is_list(column.type):
        return _lists(column, bound)
    if pa.types.is_fixed_size_binary(column.type):
        return _raw(column, bound)
    if any(size not in (None, 1) for size in spec.shape[1:]):
        raise InvalidColumns(f"{_named(bound)} holds {column.type}, expected lists for shape {list(spec.shape)}")
    decoded = _texts(column, bound) if spec.dtype == "string" else _numbers(column, bound, bound.columns[0])
    assert isinstance(decoded.values, np.ndarray)
    return Decoded(decoded.values.reshape(-1, *(1 for _ in spec.shape[1:])), decoded.problems)


def _flat(column: pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        whole = pa.concat_arrays(whole.chunks)
    return whole.dictionary_decode() if pa.types.is_dictionary(whole.type) else whole


def _named(bound: Bound) -> str:
    return f"column {bound.columns[0]!r} for input {bound.spec.name!r} of kind {bound.spec.kind!r}"


def _dtype(spec: InputSpec) -> np.dtype[Any]:
    return NUMPY_DTYPES[DATATYPES[spec.dtype]]


def _texts(column: pa.Array, bound: Bound) -> Decoded:
    if bound.spec.kind == "column":
        return Decoded(_categories(column))
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        try:
            column = column.cast(pa.string())
        except pa.ArrowException:
            raise InvalidColumns(f"{_named(bound)} holds {column.type}, expected texts") from None
    nothing = np.flatnonzero(column.is_null()).tolist() if column.null_count else []
    values = pc.fill_null(column, "").to_numpy(zero_copy_only=False)
    return Decoded(values, dict.fromkeys(nothing, f"column {bound.columns[0]!r} is null; expected a text"))


def _categories(column: pa.Array) -> Array:
    """Read categories, each different cell once."""
    coded = column.dictionary_encode()
    known = np.array([category(cell) for cell in coded.dictionary.to_pylist()] + [""], object)
    return np.asarray(known[pc.fill_null(coded.indices, len(known) - 1).to_numpy()])


def _numbers_side_by_side(columns: Sequence[pa.Array], bound: Bound) -> Decoded:
    """Put a row's numbers together that stand in a column each: [rows, columns]."""
    spec = bound.spec
    if spec.dtype == "string" or len(spec.shape) != 2 or spec.shape[1] not in (None, len(columns)):
        raise InvalidColumns(f"{len(columns)} columns do not fit input {spec.name!r} of shape {list(spec.shape)}")
    values = np.empty((len(columns[0]), len(columns)), _dtype(spec))
    problems: Problems = {}
    for index, (column, name) in enumerate(zip(columns, bound.columns, strict=True)):
        decoded = _numbers(column, bound, name)
        values[:, index] = decoded.values
        problems = decoded.problems | problems
    return Decoded(values, problems)


def _numbers(column: pa.Array, bound: Bound, name: str) -> Decoded:
    """Read one number a row. Nothing is NaN to a table's column, and a problem to any other input."""
    spec = bound.spec
    dtype = _dtype(spec)
    if pa.types.is_boolean(column.type) and dtype == np.bool_ and not column.null_count:
        return Decoded(column.to_numpy(zero_copy_only=False))
    if pa.types.is_integer(column.type) and dtype.kind in "iu" and not column.null_count:
        # Not by way of float64, which holds no large whole number exactly.
        whole = column.to_numpy()
        values = whole.astype(dtype)
        wrong = np.flatnonzero((values != whole) | ((values < 0) != (whole < 0)))
        return Decoded(values, {int(row): _unfit(name, whole[row], spec) for row in wrong})
    if (floats := _usual_floats(column, dtype)) is not None:
        return Decoded(floats)
    numbers, problems = _as_float64(column, name)
    return _of_type(numbers, problems, spec, name)


def _usual_floats(column: pa.Array, dtype: np.dtype[Any]) -> Array | None:
    """Read floats as they are; None if one is missing or too large, so that each is looked at by itself."""
    if not pa.types.is_floating(column.type) or dtype.kind != "f" or column.null_count:
        return None
    with np.errstate(over="ignore"):
        values = column.to_numpy().astype(dtype, copy=False)
    return values if np.abs(values).max(initial=0.0) <= LARGEST else None


def _of_type(numbers: Array, problems: Problems, spec: InputSpec, name: str) -> Decoded:
    dtype = _dtype(spec)
    missing = np.isnan(numbers)
    may_miss = spec.kind == "column" and dtype.kind == "f"
    with np.errstate(all="ignore"):
        values = numbers.astype(dtype)
    unfit = np.isinf(values) if dtype.kind == "f" else (values != numbers) & ~missing
    for row in np.flatnonzero(unfit | (missing & (not may_miss))).tolist():
        reason = f"column {name!r} is empty; expected a number" if missing[row] else _unfit(name, numbers[row], spec)
        problems.setdefault(row, reason)
    if problems:
        values[list(problems)] = 0
    return Decoded(values, problems)


def _unfit(name: str, value: Any, spec: InputSpec) -> str:
    return f"column {name!r}: {value:g} is no value of type {spec.dtype}"


def _as_float64(column: pa.Array, name: str) -> tuple[Array, Problems]:
    """Read cells as numbers, NaN for nothing; cell by cell only where that is needed to say what is wrong."""
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        numbers = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        if numbers.size == 0 or not np.nanmax(np.abs(numbers), initial=0.0) > LARGEST:
            return np.asarray(numbers), {}
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        try:
            trimmed = pc.utf8_trim_whitespace(column)
            known = pc.if_else(pc.is_in(trimmed, value_set=pa.array(MISSING)), None, trimmed)
            numbers = known.cast(pa.float64()).to_numpy(zero_copy_only=False)
            if not (np.isinf(numbers).any() or np.nanmax(np.abs(numbers), initial=0.0) > LARGEST):
                return np.asarray(numbers), {}
        except pa.ArrowException:
            pass
    return _cell_by_cell(column, name)


def _cell_by_cell(column: pa.Array, name: str) -> tuple[Array, Problems]:
    numbers, problems = np.zeros(len(column)), {}
    for row, cell in enumerate(column.to_pylist()):
        try:
            numbers[row] = number(cell)
        except (TypeError, ValueError) as error:
            problems[row] = f"column {name!r}: {error}"
    return numbers, problems


def _lists(column: pa.Array, bound: Bound) -> Decoded:
    """Read a list a row: nested as the input's shape, or flat with as many values."""
    spec = bound.spec
    flat, shape = _rectangular(column)
    if flat is not None and not flat.null_count:
        whole = _shaped(_flat_values(flat, bound), (len(column), *shape), spec)
        if whole is not None:
            return whole
    return _list_by_list(column, bound)


def _rectangular(column: pa.Array) -> tuple[pa.Array | None, tuple[int, ...]]:
    """Take nested lists apart into their values and the shape of a row; None if rows differ or one is null."""
    shape: list[int] = []
    while is_list(column.type):
        if column.null_count:
            return None, ()
        lengths = pc.list_value_length(column)
        size = lengths[0].as_py() if len(lengths) else 0
        if not pc.all(pc.equal(lengths, size), min_count=0).as_py():
            return None, ()
        shape.append(size)
        column = column.flatten()
    return column, tuple(shape)


def _flat_values(flat: pa.Array, bound: Bound) -> Array:
    is_numbers = pa.types.is_primitive(flat.type) or pa.types.is_null(flat.type)
    if not (pa.types.is_string(flat.type) if bound.spec.dtype == "string" else is_numbers):
        raise InvalidColumns(f"{_named(bound)} holds lists of {flat.type}, expected {bound.spec.dtype}")
    return np.asarray(flat.to_numpy(zero_copy_only=False))


def _shaped(values: Array, shape: tuple[int, ...], spec: InputSpec) -> Decoded | None:
    """Give values their shape and type; None if some do not fit, so that each row is looked at."""
    wanted = tuple(spec.shape[1:])
    if None not in wanted and math.prod(shape[1:]) == math.prod(size or 1 for size in wanted):
        shape = (shape[0], *(size or 1 for size in wanted))
    if len(shape) - 1 != len(wanted) or any(w not in (None, s) for w, s in zip(wanted, shape[1:], strict=True)):
        return None
    dtype = _dtype(spec)
    with np.errstate(all="ignore"):
        typed = values.astype(dtype, copy=False)
    if dtype.kind in "biu" and values.dtype != dtype and not np.array_equal(typed, values):
        return None
    return Decoded(typed.reshape(shape))


def _raw(column: pa.Array, bound: Bound) -> Decoded:
    """Read the bytes of a row's values, as they lie in memory: by row, the lowest byte first."""
    spec, dtype = bound.spec, _dtype(bound.spec)
    wanted = math.prod(size or 1 for size in spec.shape[1:]) * dtype.itemsize
    if dtype.hasobject or None in spec.shape[1:] or column.type.byte_width != wanted:
        raise InvalidColumns(f"{_named(bound)} holds {column.type}, expected {wanted} bytes a row, or lists of values")
    if column.null_count:
        nothing = np.flatnonzero(column.is_null()).tolist()
        whole = _raw(column.fill_null(bytes(wanted)), bound)
        return Decoded(whole.values, dict.fromkeys(nothing, f"{_named(bound)} is null"))
    body = column.buffers()[1]
    first = column.offset * wanted
    values = np.frombuffer(body, dtype.newbyteorder("<"), offset=first, count=len(column) * wanted // dtype.itemsize)
    return Decoded(values.reshape(len(column), *(size or 1 for size in spec.shape[1:])))


def _list_by_list(column: pa.Array, bound: Bound) -> Decoded:
    rows: list[Array] = []
    problems: Problems = {}
    for row in range(len(column)):
        one = column.slice(row, 1)
        flat, shape = _rectangular(one)
        found = None
        if flat is not None and not flat.null_count:
            found = _shaped(_flat_values(flat, bound), (1, *shape), bound.spec)
        if found is None:
            wanted = f"shape {list(bound.spec.shape[1:])} of {bound.spec.dtype}"
            received = "null" if one.null_count else f"{one[0].as_py()!r:.60}"
            problems[row] = f"{_named(bound)}: expected {wanted}, received {received}"
            rows.append(np.zeros([size or 1 for size in bound.spec.shape[1:]], _dtype(bound.spec)))
        else:
            rows.append(np.asarray(found.values)[0])
    return Decoded(rows if len({array.shape for array in rows}) > 1 else np.stack(rows), problems)


def _pictures(column: pa.Array, bound: Bound, paths: PicturePaths, *, with_sizes: bool) -> Decoded:
    wanted = bound.spec.image
    assert wanted is not None
    body_of = reader_of(column.type, paths)
    if body_of is None:
        raise InvalidColumns(
            f"{_named(bound)} holds {column.type}, expected paths, bytes of pictures, or lists of pixels"
        )
    values = np.zeros((len(column), wanted.height, wanted.width, wanted.channels), _dtype(bound.spec))
    problems: Problems = {}
    sizes: list[Size | None] = []
    for row, cell in enumerate(column.to_pylist()):
        try:
            body = body_of(cell)
            values[row] = pictures.picture(body, wanted)
            sizes.append(pictures.upright_size(body) if with_sizes else None)
        except (MalformedBody, OSError, ValueError) as error:
            problems[row] = str(error)
            sizes.append(None)
    return Decoded(values, problems, sizes)

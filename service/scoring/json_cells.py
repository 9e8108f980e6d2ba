"""Cells of JSON Lines that pass through: each as its own JSON, so that none is written otherwise for its neighbours.

Only a Parquet file has one type for all; it is found when every cell is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

# A column is read under its name to be decoded, and under its name behind this one to pass through.
PASSING = "__ovenbird_passing_"
# What Arrow says of values that have no type in common.
DIFFERENT = (pa.ArrowException, OverflowError)
# What JSON writes without a comma.
WITHOUT_COMMAS = {int, float, bool, type(None)}


def is_json(kind: pa.DataType) -> bool:
    """Tell whether a column holds such cells."""
    return bool(kind == pa.json_())


def column_of(values: list[Any]) -> pa.Array:
    """Make a column of values as JSON knows them."""
    if values and set(map(type, values)) <= WITHOUT_COMMAS:
        # As one list: there may be millions of cells.
        texts = pc.split_pattern(pa.array([orjson.dumps(values)[1:-1]], pa.string()), ",").flatten()
    else:
        texts = pa.array(list(map(orjson.dumps, values)), pa.string())
    texts = pc.if_else(pc.equal(texts, "null"), pa.scalar(None, pa.string()), texts)
    return pa.ExtensionArray.from_storage(pa.json_(), texts)


def as_json(value: Any) -> str:
    """Write a value as JSON; NumPy's numbers and arrays as theirs."""
    return orjson.dumps(value, default=str, option=orjson.OPT_SERIALIZE_NUMPY).decode()


def values_of(column: pa.ChunkedArray) -> list[Any]:
    """Read each cell; None for nothing."""
    values: list[Any] = []
    for chunk in column.chunks:
        texts = pc.fill_null(chunk.storage, "null")
        (together,) = pc.binary_join(pa.ListArray.from_arrays([0, len(texts)], texts), ",").to_pylist()
        values += orjson.loads(f"[{together}]")
    return values


def as_texts(values: Iterable[Any]) -> pa.Array:
    """Write values as texts: those that are texts as they are, others as JSON."""
    texts = [value if value is None or isinstance(value, str) else as_json(value) for value in values]
    return pa.array(texts, pa.string())


def common_types(blocks: Callable[[], Iterable[pa.Table]]) -> dict[str, pa.DataType]:
    """Find the type that holds all cells of each column: that of texts where they have none in common.

    `blocks` gives the rows anew whenever it is called. They are to be cut alike however they were written: what one
    block is taken for depends on what stands in it together.
    """
    found: dict[str, dict[pa.DataType, None]] = {}
    for table in blocks():
        for name in table.column_names:
            found.setdefault(name, {})[_type_of(values_of(table.column(name)))] = None
    kinds = {name: merged(list(several)) for name, several in found.items()}
    # A whole number may be too large to be told from others once it stands among decimals.
    unsure = [name for name, several in found.items() if len(several) > 1]
    for table in blocks() if unsure else ():
        kinds |= {name: pa.string() for name in unsure if not _holds(kinds[name], values_of(table.column(name)))}
    return kinds


def merged(kinds: Sequence[pa.DataType]) -> pa.DataType:
    """Find the type that holds what is of these types: that of texts where there is no other."""
    fields = [pa.schema([("cell", kind)]) for kind in kinds]
    try:
        return pa.unify_schemas(fields, promote_options="permissive").field(0).type
    except pa.ArrowException:
        return pa.string()


def _type_of(values: Sequence[Any]) -> pa.DataType:
    try:
        return pa.array(values).type
    except DIFFERENT:
        return pa.string()


def _holds(kind: pa.DataType, values: Sequence[Any]) -> bool:
    try:
        return pa.types.is_string(kind) or len(pa.array(values, kind)) == len(values)
    except DIFFERENT:
        return False


def typed(column: pa.ChunkedArray, kind: pa.DataType) -> pa.Array:
    """Make a column of a type that holds all of it."""
    values = values_of(column)
    return as_texts(values) if pa.types.is_string(kind) else pa.array(values, kind)

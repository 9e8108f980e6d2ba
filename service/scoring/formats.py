"""How the output is written: each part by itself, and then the parts as one file. Parquet, CSV, JSON Lines.

Parts of CSV and JSON Lines are the text itself, joined by copying. Parts of a Parquet file are kept in Arrow's format,
which is written and read at once; types that differ are made one when they are joined.
"""

from __future__ import annotations

import io
import mmap
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Literal

import orjson
import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet

from service.scoring import json_cells, json_values
from service.scoring.errors import InvalidColumns
from service.scoring.parts import Parts
from service.scoring.tables import recut

Format = Literal["parquet", "csv", "jsonl"]
SUFFIXES: dict[str, Format] = {".parquet": "parquet", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
# A row group of the Parquet file holds at least one part, and is full with so many rows or bytes.
GROUP_ROWS = 2**17
GROUP_BYTES = 32 * 2**20
# So many values tell that they hardly repeat.
TELLING_VALUES = 4096
# So many rows are looked at together to tell the types of JSON.
TYPED_ROWS = 4096


def format_of(path: Path) -> Format:
    """Tell the output's format by its name; raise `InvalidColumns` if none goes by it."""
    try:
        return SUFFIXES[path.suffix.lower()]
    except KeyError:
        raise InvalidColumns(
            f"{path}: cannot tell the format; the name of the output ends in {', '.join(SUFFIXES)}"
        ) from None


def can_hold(form: Format, kind: pa.DataType) -> bool:
    """Tell whether a column of this type can be written: by a try. Bytes have no place in text, nested or not."""
    if form != "parquet" and _has_bytes(kind):
        return False
    table = pa.table({"cell": pa.nulls(1, kind)})
    try:
        if form == "parquet":
            pyarrow.parquet.write_table(table, io.BytesIO())
        else:
            write_part(table, io.BytesIO(), form, first=True)
    except pa.ArrowException:
        return False
    return True


def _has_bytes(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.BaseExtensionType):
        return _has_bytes(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return _has_bytes(kind.value_type)
    if pa.types.is_nested(kind):
        return any(_has_bytes(kind.field(index).type) for index in range(kind.num_fields))
    of_bytes = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary, pa.types.is_binary_view)
    return any(is_of(kind) for is_of in of_bytes)


def write_part(table: pa.Table, file: IO[bytes], form: Format, *, first: bool) -> None:
    """Write a part's rows; the first one of a CSV has the header."""
    match form:
        case "parquet":
            with pyarrow.ipc.new_file(file, table.schema) as writer:
                writer.write_table(table)
        case "csv":
            options = pyarrow.csv.WriteOptions(include_header=first)
            pyarrow.csv.write_csv(_with_json(table), file, options)
        case "jsonl":
            option = orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY
            columns = [json_values.values_of(column) for column in table.columns]
            rows = (dict(zip(table.column_names, row, strict=True)) for row in zip(*columns, strict=True))
            file.writelines(orjson.dumps(row, default=str, option=option) for row in rows)


def _with_json(table: pa.Table) -> pa.Table:
    """Write what CSV has no cells for, lists and objects, as JSON; and what is JSON, texts without their quotes."""
    for index, name in enumerate(table.column_names):
        column = table.column(index)
        if json_cells.is_json(column.type) or pa.types.is_nested(column.type):
            table = table.set_column(index, name, json_cells.as_texts(json_values.values_of(column)))
    return table


def join(parts: Parts, file: IO[bytes], form: Format) -> None:
    """Write all parts, one behind the other, as one file; memory holds no more than a row group.

    Parts may still be made: each is written when it comes, as far as it can be told before the others are there.
    """
    if form != "parquet":
        for part in parts():
            with part.open("rb") as opened:
                shutil.copyfileobj(opened, file, 2**20)
        return
    try:
        _join_alike(parts, file)
    except _OtherTypes:
        file.seek(0)
        file.truncate()
        schema = _common_schema(parts)
        _write(file, schema, lambda: (_cast(_read(part), schema) for part in parts()))


class _OtherTypes(Exception):
    """A part's types are told by all of them together."""


def _join_alike(parts: Parts, file: IO[bytes]) -> None:
    """Join parts that have the types of the first one; raise `_OtherTypes` if one has others, or cells of JSON."""
    schema = _read(next(parts())).schema
    if any(json_cells.is_json(field.type) for field in schema):
        raise _OtherTypes

    def tables() -> Iterator[pa.Table]:
        for table in map(_read, parts()):
            if not table.schema.equals(schema):
                raise _OtherTypes
            yield table

    _write(file, schema, tables)


def _write(file: IO[bytes], schema: pa.Schema, tables: Callable[[], Iterator[pa.Table]]) -> None:
    with pyarrow.parquet.ParquetWriter(file, schema, use_dictionary=_repeating(next(tables()))) as writer:
        for group in _groups(tables()):
            writer.write_table(pa.concat_tables(group))


def _repeating(first: pa.Table) -> list[str]:
    """Name the columns that get a dictionary: all but those whose values hardly repeat in the first part.

    One of numbers that all differ costs more time than all else.
    """
    plain, coded = _column_chunks(first, use_dictionary=False), _column_chunks(first, use_dictionary=True)
    return [
        path
        for path, chunk in coded.items()
        if _values_in(chunk) < TELLING_VALUES or chunk.total_compressed_size <= plain[path].total_compressed_size
    ]


def _column_chunks(table: pa.Table, *, use_dictionary: bool) -> dict[str, Any]:
    """Describe the columns of a Parquet file of these rows: by a try."""
    with io.BytesIO() as file:
        pyarrow.parquet.write_table(table, file, use_dictionary=use_dictionary)
        group = pyarrow.parquet.ParquetFile(file).metadata.row_group(0)
        chunks = (group.column(index) for index in range(group.num_columns))
        return {chunk.path_in_schema: chunk for chunk in chunks}


def _values_in(chunk: Any) -> int:
    nulls = chunk.statistics.null_count if chunk.is_stats_set and chunk.statistics.has_null_count else 0
    return int(chunk.num_values - nulls)


def _common_schema(parts: Parts) -> pa.Schema:
    schema = _common([_read(part).schema for part in parts()])
    for name, kind in _types_of_json(parts, schema).items():
        schema = schema.set(schema.get_field_index(name), pa.field(name, kind))
    return schema


def _types_of_json(parts: Parts, schema: pa.Schema) -> dict[str, pa.DataType]:
    names = [field.name for field in schema if json_cells.is_json(field.type)]
    if not names:
        return {}
    kinds = json_cells.common_types(lambda: recut((_read(part).select(names) for part in parts()), TYPED_ROWS))
    return {name: kind if can_hold("parquet", kind) else pa.string() for name, kind in kinds.items()}


def _read(part: Path) -> pa.Table:
    """Map a part into memory, as long as the table is there: what was written just now is not copied."""
    with part.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return pyarrow.ipc.open_file(pa.py_buffer(mapped)).read_all()


def _groups(tables: Iterable[pa.Table]) -> Iterator[list[pa.Table]]:
    group: list[pa.Table] = []
    rows = size = 0
    for table in tables:
        group.append(table)
        rows += len(table)
        size += table.nbytes
        if rows >= GROUP_ROWS or size >= GROUP_BYTES:
            yield group
            group, rows, size = [], 0, 0
    if group:
        yield group


def _common(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """Find types that hold every part's values: decimals for whole numbers too, texts for whatever else differs."""
    different = list(dict.fromkeys(schemas))
    if len(different) == 1:
        return different[0]
    kinds = {name: dict.fromkeys(schema.field(name).type for schema in different) for name in different[0].names}
    return pa.schema([(name, json_cells.merged(list(several))) for name, several in kinds.items()])


def _cast(table: pa.Table, schema: pa.Schema) -> pa.Table:
    if table.schema.equals(schema):
        return table
    cells = {field.name: _cast_column(table.column(field.name), field.type) for field in schema}
    return pa.table(cells, schema=schema)


def _cast_column(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if json_cells.is_json(column.type):
        return pa.chunked_array([json_cells.typed(column, kind)])
    if pa.types.is_string(kind) and pa.types.is_nested(column.type):
        return pa.chunked_array([json_cells.as_texts(json_values.values_of(column))])
    return column.cast(kind)

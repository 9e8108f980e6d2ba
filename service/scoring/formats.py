"""How the output is written: each part by itself, and then the parts as one file. Parquet, CSV, JSON Lines.

Parts of CSV and JSON Lines are the text itself, joined by copying. Parts of a Parquet file are kept in Arrow's format,
which is written and read at once; types that differ are made one when they are joined.
"""

from __future__ import annotations

import io
import itertools
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Literal

import orjson
import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet

from service.scoring import json_cells
from service.scoring.errors import InvalidColumns
from service.scoring.tables import recut

Format = Literal["parquet", "csv", "jsonl"]
SUFFIXES: dict[str, Format] = {".parquet": "parquet", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
# A row group of the Parquet file holds at least one part, and is full with so many rows or bytes.
GROUP_ROWS = 2**17
GROUP_BYTES = 32 * 2**20
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
            option = orjson.OPT_APPEND_NEWLINE
            columns = [_values(column) for column in table.columns]
            rows = (dict(zip(table.column_names, row, strict=True)) for row in zip(*columns, strict=True))
            file.writelines(orjson.dumps(row, default=str, option=option) for row in rows)


def _values(column: pa.ChunkedArray) -> list[Any]:
    return json_cells.values_of(column) if json_cells.is_json(column.type) else list(column.to_pylist())


def _with_json(table: pa.Table) -> pa.Table:
    """Write what CSV has no cells for, lists and objects, as JSON; and what is JSON, texts without their quotes."""
    for index, name in enumerate(table.column_names):
        column = table.column(index)
        if json_cells.is_json(column.type):
            table = table.set_column(index, name, json_cells.as_texts(json_cells.values_of(column)))
        elif pa.types.is_nested(column.type):
            table = table.set_column(index, name, json_cells.as_texts(column.to_pylist()))
    return table


def join(parts: Iterator[Path], file: IO[bytes], form: Format) -> None:
    """Write all parts, one behind the other, as one file; memory holds no more than a row group.

    Parts may still be made: each is written when it comes, as far as it can be told before the others are there.
    """
    if form != "parquet":
        for part in parts:
            with part.open("rb") as opened:
                shutil.copyfileobj(opened, file, 2**20)
        return
    known: list[Path] = []
    if not _join_alike(_noted(parts, known), file):
        known += parts
        file.seek(0)
        file.truncate()
        _join_as(_common_schema(known), known, file)


def _noted(parts: Iterator[Path], known: list[Path]) -> Iterator[Path]:
    for part in parts:
        known.append(part)
        yield part


def _join_alike(parts: Iterator[Path], file: IO[bytes]) -> bool:
    """Join parts of the first one's types; tell whether all had them."""
    tables = map(_read, parts)
    first = next(tables)
    if any(json_cells.is_json(field.type) for field in first.schema):
        return False
    with _writer(file, first) as writer:
        for group in _groups(itertools.chain([first], tables)):
            if any(not table.schema.equals(first.schema) for table in group):
                return False
            writer.write_table(pa.concat_tables(group))
    return True


def _join_as(schema: pa.Schema, parts: Sequence[Path], file: IO[bytes]) -> None:
    with _writer(file, _cast(_read(parts[0]), schema)) as writer:
        for group in _groups(map(_read, parts)):
            writer.write_table(pa.concat_tables([_cast(table, schema) for table in group]))


def _writer(file: IO[bytes], first: pa.Table) -> pyarrow.parquet.ParquetWriter:
    """Open a Parquet file for what begins with these rows.

    Columns whose values hardly repeat get no dictionary: one of numbers that all differ costs more than all else.
    """
    plain, coded = _sizes(first, use_dictionary=False), _sizes(first, use_dictionary=True)
    repeating = [path for path in coded if coded[path] <= plain[path]]
    return pyarrow.parquet.ParquetWriter(file, first.schema, use_dictionary=repeating)


def _sizes(table: pa.Table, *, use_dictionary: bool) -> dict[str, int]:
    """Tell how many bytes each column of a Parquet file of these rows has: by a try."""
    with io.BytesIO() as file:
        pyarrow.parquet.write_table(table, file, use_dictionary=use_dictionary)
        group = pyarrow.parquet.ParquetFile(file).metadata.row_group(0)
        chunks = (group.column(index) for index in range(group.num_columns))
        return {chunk.path_in_schema: chunk.total_compressed_size for chunk in chunks}


def _common_schema(parts: Sequence[Path]) -> pa.Schema:
    schema = _common([_schema(part) for part in parts])
    for name, kind in _types_of_json(parts, schema).items():
        schema = schema.set(schema.get_field_index(name), pa.field(name, kind))
    return schema


def _types_of_json(parts: Sequence[Path], schema: pa.Schema) -> dict[str, pa.DataType]:
    names = [field.name for field in schema if json_cells.is_json(field.type)]
    if not names:
        return {}
    kinds = json_cells.common_types(lambda: recut((_read(part).select(names) for part in parts), TYPED_ROWS))
    return {name: kind if can_hold("parquet", kind) else pa.string() for name, kind in kinds.items()}


def _schema(part: Path) -> pa.Schema:
    with pyarrow.ipc.open_file(part) as reader:
        return reader.schema


def _read(part: Path) -> pa.Table:
    """Map a part into memory: what was written just now is not copied."""
    with pa.memory_map(str(part)) as file, pyarrow.ipc.open_file(file) as reader:
        return reader.read_all()


def _groups(tables: Iterable[pa.Table]) -> Iterable[list[pa.Table]]:
    group: list[pa.Table] = []
    for table in tables:
        group.append(table)
        if sum(len(one) for one in group) >= GROUP_ROWS or sum(one.nbytes for one in group) >= GROUP_BYTES:
            yield group
            group = []
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
        return pa.chunked_array([json_cells.as_texts(column.to_pylist())])
    return column.cast(kind)

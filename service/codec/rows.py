"""Rows as people write them: lines of text, CSV, and the named fields of a form."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

import numpy as np

from model_store.manifest import InputSpec
from service.codec.compression import hint
from service.errors import MalformedBody
from service.tensors import Array


def lines(body: bytes, spec: InputSpec) -> Array:
    """Read one text a line from UTF-8; an array of `str`."""
    if not body:
        raise MalformedBody("the body is empty: send one text a line")
    found = utf8(body).split("\n")
    if len(found) > 1 and found[-1] == "":
        found.pop()
    return texts([text.removesuffix("\r") for text in found], spec)


def texts(values: Sequence[str], spec: InputSpec) -> Array:
    """Make a text input's array: one text a row."""
    array = np.empty(len(values), object)
    array[:] = values
    return array.reshape(-1, *(1 for _ in spec.shape[1:]))


def utf8(body: bytes) -> str:
    """Decode a text, with or without a byte order mark."""
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MalformedBody(f"the body is not UTF-8: {error.reason} at byte {error.start}{hint(body)}") from None


def table(body: bytes, spec: InputSpec) -> Array:
    """Read rows of numbers from CSV: by column name if there is a header, else by position.

    Raises:
        MalformedBody: no rows, a missing column, or a value that is not a finite number; names row and column.
    """
    try:
        rows = [row for row in csv.reader(io.StringIO(utf8(body))) if row]
    except csv.Error as error:
        raise MalformedBody(f"the body is not CSV: {error}") from None
    columns = list(spec.columns or ())
    if rows and columns and not _is_number(rows[0][0]):
        header = [name.strip() for name in rows.pop(0)]
        missing = [name for name in columns if name not in header]
        if missing:
            raise MalformedBody(lacking(missing, header, one_line=not rows))
        positions = [header.index(name) for name in columns]
    else:
        positions = list(range(len(columns) or (spec.shape[-1] or len(rows[0]) if rows else 0)))
    if not rows:
        raise MalformedBody("the CSV has no rows of data")
    return _array([_numbers(row, number, positions, columns) for number, row in enumerate(rows, 1)], spec)


def row_of_fields(fields: Sequence[tuple[str, str]], spec: InputSpec) -> Array:
    """Read one row of numbers from fields that are named as the input's columns; other fields are left aside.

    Raises:
        MalformedBody: a column's field is missing, stands there twice, or is not a finite number; names it.
    """
    columns = spec.columns or ()
    named = [(name, value) for name, value in fields if name in columns]
    values = dict(named)
    missing = [name for name in columns if name not in values]
    if missing:
        raise MalformedBody(f"the form lacks the fields {', '.join(missing)}; a row has a field for each column")
    for name, value in values.items():
        if not _is_number(value):
            raise MalformedBody(f"field {name!r}: {_no_number(value)}")
    if len(named) > len(values):
        raise MalformedBody("a field was sent twice; fields are one row: send several rows as CSV")
    return _array([[float(values[name]) for name in columns]], spec)


def lacking(missing: Sequence[str], header: Sequence[str], *, one_line: bool) -> str:
    """Say which columns a CSV header lacks, and what may be the cause."""
    found = ", ".join(header[:40]) + (", …" if len(header) > 40 else "")
    advice = ""
    if one_line and len(header) > 1:
        advice = "; it is one line: curl keeps line ends with --data-binary, not with -d"
    elif len(header) == 1 and ";" in header[0]:
        advice = "; columns are separated by commas, not semicolons"
    return f"the CSV header lacks the columns {', '.join(missing)}; it has {found}{advice}"


def _numbers(row: Sequence[str], number: int, positions: Sequence[int], columns: Sequence[str]) -> list[float]:
    if len(row) <= max(positions):
        raise MalformedBody(f"row {number} of the CSV has {len(row)} values, expected {max(positions) + 1}")
    values = []
    for index, position in enumerate(positions):
        if not _is_number(row[position]):
            name = columns[index] if columns else str(position + 1)
            raise MalformedBody(f"row {number}, column {name!r}: {_no_number(row[position])}")
        values.append(float(row[position]))
    return values


def _array(rows: Sequence[Sequence[float]], spec: InputSpec) -> Array:
    """Make an input's array; raise `MalformedBody` if its type cannot hold a value."""
    numbers = np.array(rows, np.float64)
    with np.errstate(all="ignore"):
        array = numbers.astype(spec.dtype)
    holds = np.isfinite(array) if array.dtype.kind == "f" else array == numbers
    if not holds.all():
        raise MalformedBody(f"{numbers[~holds][0]:g} is no value of type {spec.dtype}, which the model takes")
    return array


def _no_number(text: str) -> str:
    return f"{text!r} is not a finite number" if text.strip() else "empty; expected a number"


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False

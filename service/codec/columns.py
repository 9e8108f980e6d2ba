"""Rows for models that take a table's columns by name: CSV, the fields of a form, and JSON by row or by column.

Cells are read as training read them (`model_store.cells`). Where every column must be named, further ones are left
aside; where a column may be left out, because nothing is known of it, an unknown name is refused: it may be a slip.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from model_store.cells import Cell, category, number
from model_store.manifest import InputSpec
from service.codec.rows import lacking, utf8
from service.errors import MalformedBody, WrongTensor
from service.tensors import DATATYPES, NUMPY_DTYPES, Array

Specs = Sequence[InputSpec]


def is_table(inputs: Specs) -> bool:
    """Tell whether a model's inputs are the columns of a table."""
    return bool(inputs) and all(spec.kind == "column" for spec in inputs)


def columns_of_csv(body: bytes, specs: Specs) -> dict[str, Array]:
    """Read rows below a header that names every column, in any order; an empty cell is a missing one.

    Raises:
        MalformedBody: a column is not in the header, there are no rows, or a row lacks cells.
        WrongTensor: a cell of a column of numbers holds something else; names row and column.
    """
    try:
        rows = [row for row in csv.reader(io.StringIO(utf8(body))) if row]
    except csv.Error as error:
        raise MalformedBody(f"the body is not CSV: {error}") from None
    header = [name.strip() for name in rows.pop(0)] if rows else []
    missing = [spec.name for spec in specs if spec.name not in header]
    if missing:
        raise MalformedBody(f"{lacking(missing, header, one_line=not rows)}; leave a cell empty that is not known")
    if not rows:
        raise MalformedBody("the CSV has no rows of data")
    for count, row in enumerate(rows, 1):
        if len(row) != len(header):
            raise MalformedBody(f"row {count} of the CSV has {len(row)} cells, the header has {len(header)}")
    return {spec.name: _array([row[header.index(spec.name)] for row in rows], spec) for spec in specs}


def columns_of_fields(fields: Sequence[tuple[str, str]], specs: Specs) -> dict[str, Array]:
    """Read one row from fields that are named as the columns; an empty one is missing, others are left aside.

    Raises:
        MalformedBody: a column has no field, or two.
        WrongTensor: the field of a column of numbers holds something else; names it.
    """
    names = [name for name, _ in fields]
    missing = [spec.name for spec in specs if spec.name not in names]
    if missing:
        raise MalformedBody(f"the form lacks the fields {', '.join(missing)}; leave a field empty that is not known")
    twice = [spec.name for spec in specs if names.count(spec.name) > 1]
    if twice:
        raise MalformedBody(f"the field {twice[0]!r} was sent twice; fields are one row: send several rows as CSV")
    values = dict(fields)
    return {spec.name: _array([values[spec.name]], spec) for spec in specs}


def columns_of_json(inputs: Any, specs: Specs) -> dict[str, Array]:
    """Read rows as a list of objects, or columns as an object of lists, or one row as an object of values.

    What is null or left out is missing.

    Raises:
        MalformedBody: it is none of these, or there are no rows.
        WrongTensor: a name is no column, columns differ in length, or a value is of another kind; names it.
    """
    if isinstance(inputs, dict):
        columns = _checked(inputs, specs, "inputs")
        if not any(isinstance(values, list) for values in columns.values()):
            columns = {name: [value] for name, value in columns.items()}
        return _of_columns(columns, specs)
    if not isinstance(inputs, list) or not inputs:
        raise MalformedBody("inputs: expected a list of one or more rows, or an object of columns")
    rows = [_checked(row, specs, f"inputs: row {count}") for count, row in enumerate(inputs, 1)]
    return {spec.name: _array([row.get(spec.name) for row in rows], spec) for spec in specs}


def _checked(row: Any, specs: Specs, where: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise MalformedBody(f"{where}: expected an object with a value for each column")
    known = [spec.name for spec in specs]
    for name in row:
        if name not in known:
            raise WrongTensor(f"{where}: unknown column {name!r}; the model takes: {', '.join(known)}")
    return row


def _of_columns(columns: Mapping[str, Any], specs: Specs) -> dict[str, Array]:
    sizes = {name: len(values) if isinstance(values, list) else 0 for name, values in columns.items()}
    if len(set(sizes.values())) != 1 or not max(sizes.values()):
        listed = ", ".join(f"{name} {size}" for name, size in sizes.items()) or "no column"
        raise WrongTensor(f"inputs: expected columns as lists of one length, received {listed}")
    (rows,) = set(sizes.values())
    return {spec.name: _array(columns.get(spec.name, [None] * rows), spec) for spec in specs}


def _array(cells: Sequence[Any], spec: InputSpec) -> Array:
    """Make a column's array, [rows]; raise `WrongTensor` for a cell that it does not take."""
    values = [_value(cell, row, spec) for row, cell in enumerate(cells, 1)]
    dtype = NUMPY_DTYPES[DATATYPES[spec.dtype]]
    if dtype.hasobject:
        array = np.empty(len(values), object)
        array[:] = values
        return array
    numbers = np.array(values, np.float64)
    with np.errstate(all="ignore"):
        array = numbers.astype(dtype)
    wrong = np.flatnonzero((array != numbers) if dtype.kind in "biu" else (np.isinf(array)))
    if len(wrong):
        raise WrongTensor(f"{_place(int(wrong[0]) + 1, spec)}: {numbers[wrong[0]]:g} is no value of type {spec.dtype}")
    return array


def _value(cell: Cell, row: int, spec: InputSpec) -> str | float:
    if not isinstance(cell, (str, int, float, type(None))):
        raise WrongTensor(f"{_place(row, spec)}: expected one value, received a list or an object")
    try:
        return category(cell) if spec.dtype == "string" else number(cell)
    except ValueError as error:
        raise WrongTensor(f"{_place(row, spec)}: {error}") from None


def _place(row: int, spec: InputSpec) -> str:
    return f"row {row}, column {spec.name!r}"

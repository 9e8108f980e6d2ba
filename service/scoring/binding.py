"""Which columns of a table feed which input of a model.

Columns are found by name; where a model has one input and only one column can be meant, it need not have the name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from model_store.manifest import InputSpec
from service.scoring.errors import InvalidColumns
from service.scoring.sources import PATH

# Under these names a table may list its pictures.
PICTURE_COLUMNS = ("picture", PATH, "file", "filename")


@dataclass(frozen=True)
class Bound:
    """One input, and the columns that it is made of: several where each is one number of a row."""

    spec: InputSpec
    columns: tuple[str, ...]


def bind(inputs: Sequence[InputSpec], schema: pa.Schema, chosen: Mapping[str, str]) -> tuple[Bound, ...]:
    """Find the columns for each input.

    Args:
        inputs: what the model takes.
        schema: the table's columns.
        chosen: what the caller said: an input, or the name that the model has for a column → the table's column, or
            several of them with commas between. Under "" for a model with one input.

    Raises:
        InvalidColumns: columns are missing; names all of them, those that are there, and the way out.
    """
    _check_chosen(inputs, schema, chosen)
    found = [(spec, _columns(spec, inputs, schema, chosen)) for spec in inputs]
    missing = {spec: [name for name in columns if name not in schema.names] for spec, columns in found}
    if any(missing.values()):
        raise InvalidColumns(_complaint({spec: names for spec, names in missing.items() if names}, schema))
    return tuple(Bound(spec, columns) for spec, columns in found)


def _check_chosen(inputs: Sequence[InputSpec], schema: pa.Schema, chosen: Mapping[str, str]) -> None:
    whole = [spec.name for spec in inputs]
    known = [name for spec in inputs for name in (spec.name, *(spec.columns or ()))]
    for name, told in chosen.items():
        option = f"--column {name}={told}" if name else f"--column {told}"
        if name and name not in known:
            raise InvalidColumns(f"{option}: the model has no input {name!r}; it has: {_some(known)}")
        columns = _listed(told, schema) if name in ("", *whole) else (told,)
        if missing := [column for column in columns if column not in schema.names]:
            said = f"the table has no column {', '.join(map(repr, missing))}; it has: {_some(schema.names)}"
            raise InvalidColumns(f"{option}: {said}. Write {_option(name, 'NAME', known)}")
        if not name and len(inputs) > 1:
            raise InvalidColumns(f"{option}: the model has {len(inputs)} inputs. Write {_option(name, told, known)}")


def _option(name: str, column: str, known: Sequence[str]) -> str:
    """Say how to name a column for an input, or for the one of those that are known."""
    if name or len(known) == 1:
        return f"--column {name or known[0]}={column}"
    return f"--column INPUT={column}, INPUT one of: {_some(known)}"


def _listed(told: str, schema: pa.Schema) -> tuple[str, ...]:
    return (told,) if told in schema.names else tuple(name.strip() for name in told.split(","))


def _columns(
    spec: InputSpec, inputs: Sequence[InputSpec], schema: pa.Schema, chosen: Mapping[str, str]
) -> tuple[str, ...]:
    told = chosen.get(spec.name) or chosen.get("")
    if told is not None:
        return _listed(told, schema)
    if spec.columns is not None and not _has_list(spec.name, schema):
        return tuple(chosen.get(name, name) for name in spec.columns)
    if spec.name in schema.names or spec.kind == "column":
        return (spec.name,)
    if spec.kind == "image":
        listed = [name for name in PICTURE_COLUMNS if name in schema.names]
        if listed:
            return (listed[0],)
    likely = [field.name for field in schema if _may_feed(spec, field.type)]
    return (likely[0],) if len(inputs) == 1 and len(likely) == 1 else (spec.name,)


def _has_list(name: str, schema: pa.Schema) -> bool:
    return name in schema.names and is_list(schema.field(name).type)


def _may_feed(spec: InputSpec, kind: pa.DataType) -> bool:
    """Tell whether a column of this type may be the one that an input is made of."""
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if spec.kind == "text" or spec.dtype == "string":
        return bool(is_text)
    if spec.kind == "image":
        return bool(
            is_text
            or is_list(kind)
            or pa.types.is_binary(kind)
            or pa.types.is_fixed_size_binary(kind)
            or pa.types.is_struct(kind)
        )
    return is_list(kind) or bool(pa.types.is_fixed_size_binary(kind))


def is_list(kind: pa.DataType) -> bool:
    """Tell whether a column's cells are lists."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _complaint(missing: Mapping[InputSpec, Sequence[str]], schema: pa.Schema) -> str:
    names = [name for columns in missing.values() for name in columns]
    spec = next(iter(missing))
    what = spec.name if spec.columns is None or len(missing[spec]) == 0 else names[0]
    kinds = ", ".join(dict.fromkeys(spec.kind for spec in missing))
    return (
        f"the input lacks the columns {_some(names)} (of kind {kinds}); it has: {_some(schema.names)}. "
        f"If one has another name: --column {what}=NAME"
    )


def _some(names: Sequence[str], most: int = 40) -> str:
    return ", ".join(names[:most]) + (f", … {len(names)} in all" if len(names) > most else "")

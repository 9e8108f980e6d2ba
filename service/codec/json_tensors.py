"""Tensors as (nested) JSON lists: what is not exactly representable is refused, never changed in silence."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import orjson

from service.codec.compression import hint
from service.errors import MalformedBody, WrongTensor
from service.tensors import NUMPY_DTYPES, Array, TensorSpec

# A sum of squares up to this one has no term that FP32 rounds to infinity; others are looked at more closely.
_LARGEST_SQUARES = 1e76

# NumPy's kinds of what the JSON may hold, by datatype; whole numbers for the others.
_KINDS = {"BOOL": "b", "FP16": "fiu", "FP32": "fiu", "FP64": "fiu"}


def parse(body: bytes) -> Any:
    """Parse JSON as RFC 8259 has it, without NaN and Infinity; raise `MalformedBody` for anything else."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedBody(f"the body is not JSON: {error}{hint(body)}") from None


def tensor_from_json(data: list[Any], spec: TensorSpec) -> Array:
    """Make an array of the input's datatype from (nested) lists; refuse whatever would change a value in silence.

    For a column of a table null is a missing number, NaN.

    Raises:
        WrongTensor: ragged lists, values of another kind, or values outside the datatype's range.
    """
    if spec.datatype == "BYTES":
        return _strings(data, spec.name)
    try:
        found = np.asarray(data)
    except (ValueError, OverflowError):
        raise WrongTensor(f"input {spec.name!r}: data is ragged: its lists differ in length or depth") from None
    if spec.may_be_missing and found.dtype.hasobject:
        found = _with_nan(found)
    wanted = NUMPY_DTYPES[spec.datatype]
    if wanted.kind in "iu" and found.dtype.kind == "f" and (whole := _whole_numbers(data)) is not None:
        return _cast(whole, wanted, spec)
    if found.dtype.kind not in _KINDS.get(spec.datatype, "iu"):
        raise WrongTensor(f"input {spec.name!r}: expected {spec.datatype} values, {_what_else(found)}")
    if found.dtype.kind != "b" and _holds_booleans(data, found.ndim):
        raise WrongTensor(f"input {spec.name!r}: expected {spec.datatype} values, received booleans among them")
    return _cast(found, wanted, spec)


def _with_nan(found: Array) -> Array:
    """Put NaN in the place of null; what is neither null nor a number stays what it is."""
    return np.array([math.nan if value is None else value for value in found.ravel()]).reshape(found.shape)


def _holds_booleans(data: list[Any], dimensions: int) -> bool:
    """Find booleans among numbers, of which NumPy makes 0 and 1."""
    values: Iterable[Any] = data
    for _ in range(dimensions - 1):
        values = itertools.chain.from_iterable(values)
    return bool in set(map(type, values))


def tensor_from_array(found: Array, spec: TensorSpec) -> Array:
    """Make an array of the input's datatype from one that `codec.numbers` has read; raises as `tensor_from_json`."""
    if spec.datatype == "FP32" and np.vdot(found, found) <= _LARGEST_SQUARES:
        return found.astype(np.float32)
    return _cast(found, NUMPY_DTYPES[spec.datatype], spec)


def _whole_numbers(data: list[Any]) -> Array | None:
    """Read whole numbers on both sides of 2**63, of which NumPy makes fractions, as they are; None for others."""
    numbers = np.array(data, dtype=object)
    return numbers if numbers.size and all(type(value) is int for value in numbers.ravel()) else None


def _cast(found: Array, wanted: np.dtype[Any], spec: TensorSpec) -> Array:
    if found.dtype == wanted:
        return found
    if wanted.kind in "iu":
        limits = np.iinfo(wanted)
        if found.min() < limits.min or found.max() > limits.max:
            raise WrongTensor(
                f"input {spec.name!r}: {spec.datatype} holds {limits.min} to {limits.max}, received {_range(found)}"
            )
        return found.astype(wanted)
    with np.errstate(over="ignore"):
        cast = found.astype(wanted)
    # NaN and Infinity that were sent as such (V1 can) stay; what has become infinite was too large.
    if (np.isfinite(cast) != np.isfinite(found)).any():
        raise WrongTensor(f"input {spec.name!r}: a value is too large for {spec.datatype}")
    return cast


def _range(found: Array) -> str:
    least, most = found.min(), found.max()
    return f"{least}" if least == most else f"{least} to {most}"


def _what_else(found: Array) -> str:
    kinds = {"b": "booleans", "f": "fractions", "U": "strings, or strings among them", "i": "numbers", "u": "numbers"}
    if found.size == 0:
        return "received none"
    return f"received {kinds.get(found.dtype.kind, 'null, objects or numbers beyond 64 bits')}"


def _strings(data: list[Any], name: str) -> Array:
    found = _object_array(data, name)
    if not all(type(value) is str for value in found.ravel()):
        raise WrongTensor(f"input {name!r}: expected strings, or rectangular lists of strings")
    return found


def _object_array(data: list[Any], name: str) -> Array:
    if not any(isinstance(value, list) for value in data):
        array = np.empty(len(data), object)
        array[:] = data
        return array
    try:
        return np.array(data, dtype=object)
    except ValueError:
        raise WrongTensor(f"input {name!r}: data is ragged: its lists differ in length or depth") from None

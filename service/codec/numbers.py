"""Long lists of numbers in JSON, read without a Python object for each number.

simdjson puts the numbers of a list into one buffer, but flattens nested lists in doing so and says nothing of ragged
ones. So what is read here was seen to be flat, or rectangular: its lists are counted against the brackets of the whole
body. Whatever is anything else is left to orjson, which also finds the words for what is wrong.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import orjson
import simdjson

from service.tensors import NUMPY_DTYPES, Array, Signature

# Shorter bodies are read as fast by orjson.
FROM_BYTES = 2048

Kind = Literal["d", "i", "u"]

# A list of numbers as simdjson is asked for it → NumPy's dtype of the buffer that it gives.
_DTYPES: dict[Kind, np.dtype[Any]] = {"d": np.dtype("<f8"), "i": np.dtype("<i8"), "u": np.dtype("<u8")}


_Found = tuple[dict[str, Any], str, Array, int]
"""A list that was read: where it belongs, under which name, the array, and how many brackets open in it."""

Read = Callable[[simdjson.Object], tuple[dict[str, Any], list[_Found]]]


class _NotHere(Exception):
    """Something that has to be read in another way."""


class _Parsers(threading.local):
    """A parser for each thread: one that is in use cannot parse another body."""

    def __init__(self) -> None:
        self.parser = simdjson.Parser()


_parsers = _Parsers()


def number_kind(datatype: str) -> Kind | None:
    """Say as what the numbers of a datatype are read; None for strings, booleans and what JSON does not carry."""
    if datatype in ("BYTES", "BOOL", "FP16"):
        return None
    dtype = NUMPY_DTYPES[datatype]
    return "d" if dtype.kind == "f" else "u" if datatype == "UINT64" else "i"


def parse_with_arrays(body: bytes, read: Read) -> dict[str, Any] | None:
    """Parse a long body whose lists of numbers become arrays; None if it is short or has to be read in another way.

    `read` makes the message of the parsed object, without those lists, and reads them, each with its place.
    """
    if len(body) < FROM_BYTES:
        return None
    try:
        root = _parsers.parser.parse(body)
        if not isinstance(root, simdjson.Object):
            return None
        message, arrays = read(root)
        brackets = orjson.dumps(message).count(b"[") + sum([count for _, _, _, count in arrays])
        for holder, name, array, _ in arrays:
            holder[name] = array
    except (_NotHere, ValueError, TypeError, KeyError, IndexError):
        return None
    except RuntimeError:
        # Something still holds a part of an earlier body: leave that parser to it.
        _parsers.parser = simdjson.Parser()
        return None
    finally:
        root = None
    return message if body.count(b"[") == brackets else None


def numbers(values: Any, kind: Kind) -> tuple[Array, int]:
    """Read a flat or rectangular list of lists; return the array, and how many brackets open in it if it is that."""
    if not isinstance(values, simdjson.Array):
        raise _NotHere
    rows: Any = values
    if isinstance(rows[0], simdjson.Array):
        width = len(rows[0])
        if not width or any(len(row) != width for row in rows):
            raise _NotHere
        shape: tuple[int, ...] = (len(rows), width)
        brackets = 1 + len(rows)
    else:
        shape, brackets = (len(rows),), 1
    array = np.frombuffer(values.as_buffer(of_type=kind), _DTYPES[kind])
    return array.reshape(shape), brackets


@lru_cache(maxsize=1024)
def v2_reader(signature: Signature) -> Read:
    """Read inference requests of the Open Inference Protocol V2: each tensor's `data`."""
    kinds = {spec.name: number_kind(spec.datatype) for spec in signature.inputs}

    def read_tensor(tensor: Any) -> _Found:
        entry = {name: None if name == "data" else _plain(tensor[name]) for name in _keys(tensor)}
        kind = kinds[entry["name"]]  # type: ignore[index]
        if kind is None:
            raise _NotHere
        return entry, "data", *numbers(tensor["data"], kind)

    def read(root: simdjson.Object) -> tuple[dict[str, Any], list[_Found]]:
        message = {key: None if key == "inputs" else _plain(root[key]) for key in _keys(root)}
        tensors = [read_tensor(tensor) for tensor in root["inputs"]]  # type: ignore[union-attr]
        message["inputs"] = [entry for entry, *_ in tensors]
        return message, tensors

    return read


@lru_cache(maxsize=1024)
def v1_reader(signature: Signature) -> Read:
    """Read predict requests of TensorFlow Serving for a model with one input: its rows."""
    kind = number_kind(signature.inputs[0].datatype) if len(signature.inputs) == 1 else None

    def read(root: simdjson.Object) -> tuple[dict[str, Any], list[_Found]]:
        if kind is None:
            raise _NotHere
        (rows,) = {"instances", "inputs"} & set(root)
        message = {key: None if key == rows else _plain(root[key]) for key in _keys(root)}
        return message, [(message, rows, *numbers(root[rows], kind))]

    return read


def _keys(holder: simdjson.Object) -> list[str]:
    keys = list(holder)
    if len(set(keys)) < len(keys):
        # Of two fields of one name simdjson finds the first; the last one counts.
        raise _NotHere
    return keys


def _plain(value: Any) -> Any:
    if isinstance(value, simdjson.Object):
        return value.as_dict()
    return value.as_list() if isinstance(value, simdjson.Array) else value

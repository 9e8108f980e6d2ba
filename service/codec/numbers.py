"""Long lists of numbers in JSON, read without a Python object for each number.

The lists are cut out of a body by their text: what is left, the frame, is a short JSON document with a mark where each
list was, and often the same for every request of a client. A list is read by simdjson into one buffer. simdjson
flattens nested lists in doing so and says nothing of ragged ones, so only what was seen to be flat or rectangular is
taken. Whatever is anything else is left to orjson, which also finds the words for what is wrong.
"""

from __future__ import annotations

import re
import secrets
import threading
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import simdjson

from service.tensors import NUMPY_DTYPES, Array

# Shorter bodies are read as fast by orjson.
FROM_BYTES = 2048
# More lists than a model with many columns has are left where they are.
MAX_LISTS = 256

Kind = Literal["d", "i", "u"]

# A list of numbers as simdjson is asked for it → NumPy's dtype of the buffer that it gives.
_DTYPES: dict[Kind, np.dtype[Any]] = {"d": np.dtype("<f8"), "i": np.dtype("<i8"), "u": np.dtype("<u8")}

# Where a list of numbers may begin, of which the brackets are caught: the fields of both protocols that hold one.
_BEGINNING = re.compile(rb'"(?:data|instances|inputs)"\s*:\s*(\[+)(?=\s*[-0-9])')

# No client can know them. A field that holds one is where a list was cut out, whatever else the frame says.
MARKS = tuple([f"{secrets.token_hex(16)}:{number}" for number in range(MAX_LISTS)])
_MARKS = tuple([f'"{mark}"'.encode() for mark in MARKS])


class NotNumbers(Exception):
    """A list is not flat, not rectangular, or does not hold numbers of that kind alone."""


class _Parsers(threading.local):
    """A parser for each thread: one that is in use cannot parse another body."""

    def __init__(self) -> None:
        self.parser = simdjson.Parser()


_parsers = _Parsers()


@dataclass(frozen=True, slots=True)
class Cut:
    """A body whose lists of numbers were cut out: JSON with the first of `MARKS` in their places, and their texts."""

    frame: bytes
    lists: tuple[bytes, ...]


def number_kind(datatype: str) -> Kind | None:
    """Say as what the numbers of a datatype are read; None for strings, booleans and what JSON does not carry."""
    if datatype in ("BYTES", "BOOL", "FP16"):
        return None
    dtype = NUMPY_DTYPES[datatype]
    return "d" if dtype.kind == "f" else "u" if datatype == "UINT64" else "i"


def cut_numbers(body: bytes) -> Cut | None:
    """Cut the lists of numbers out of a long body; None if it is short or has none.

    A value in JSON may be exchanged for another one without any change around it: body and frame mean the same but for
    the lists, if each of them is JSON by itself.
    """
    if len(body) < FROM_BYTES:
        return None
    frame: list[bytes] = []
    lists: list[bytes] = []
    position = 0
    while len(lists) < MAX_LISTS and (beginning := _BEGINNING.search(body, position)):
        start, numbers = beginning.span(1)
        brackets = numbers - start
        end = body.find(b"]" * brackets, numbers) + brackets
        if end < numbers:
            break
        frame += body[position:start], _MARKS[len(lists)]
        lists.append(body[start:end])
        position = end
    if not lists:
        return None
    frame.append(body[position:])
    return Cut(b"".join(frame), tuple(lists))


def read_numbers(text: bytes, kind: Kind | None) -> Array:
    """Read a flat or rectangular list of lists; raise `NotNumbers` if it is anything else."""
    if kind is None:
        raise NotNumbers
    try:
        return _read(_parsers.parser.parse(text), text, kind)
    except (ValueError, TypeError, IndexError):
        raise NotNumbers from None
    except RuntimeError:
        # Something still holds a part of an earlier body: leave that parser to it.
        _parsers.parser = simdjson.Parser()
        raise NotNumbers from None


def _read(values: Any, text: bytes, kind: Kind) -> Array:
    array = np.frombuffer(values.as_buffer(of_type=kind), _DTYPES[kind])
    # A flat list opens no second bracket.
    return array if text.find(b"[", 1) < 0 else array.reshape(_shape(values, text))


def _shape(values: Any, text: bytes) -> tuple[int, ...]:
    shape: list[int] = []
    inner = values
    while isinstance(inner, simdjson.Array):
        shape.append(len(inner))
        inner = inner[0]
    rectangular = _has_rows(values, shape[1], text) if len(shape) == 2 else _punctuation(text) == _brackets(shape)
    if not rectangular:
        raise NotNumbers
    return tuple(shape)


def _has_rows(rows: Any, width: int, text: bytes) -> bool:
    return text.count(b"[") == 1 + len(rows) and all(len(row) == width for row in rows)


def _punctuation(text: bytes) -> bytes:
    return text.translate(None, b"0123456789+-.eE \t\r\n")


def _brackets(shape: list[int]) -> bytes:
    """Write the brackets and commas of a rectangular list."""
    written = b""
    for size in reversed(shape):
        written = b"[" + b",".join([written] * size) + b"]"
    return written

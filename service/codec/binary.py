"""Tensors as bytes: Triton's binary tensor data extension of the Open Inference Protocol.

Little-endian, row-major, no padding. BOOL is one byte, 0 or 1; each BYTES element is a 4-byte unsigned
little-endian length and that many bytes, strict UTF-8 where the model takes strings.
Source: Triton Inference Server, protocol extension "binary tensor data".
"""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Iterable

import numpy as np

from service.errors import WrongTensor
from service.tensors import NUMPY_DTYPES, Array, TensorSpec

# So little is copied in less time than a view of it is made.
COPIED_BYTES = 4096

_LENGTH = struct.Struct("<I")


def tensor_from_bytes(buffer: memoryview, shape: tuple[int, ...], spec: TensorSpec) -> Array:
    """Read one tensor; numbers are not copied, and the array is read-only.

    Raises:
        WrongTensor: the bytes are not exactly the tensor's, a BOOL is neither 0 nor 1, or a string is not UTF-8.
    """
    if spec.datatype == "BYTES":
        return _strings(buffer, shape, spec.name)
    dtype = NUMPY_DTYPES[spec.datatype].newbyteorder("<")
    expected = math.prod(shape) * dtype.itemsize
    if len(buffer) != expected:
        raise WrongTensor(
            f"input {spec.name!r}: shape {list(shape)} of {spec.datatype} is {expected} bytes, received {len(buffer)}"
        )
    array = np.frombuffer(buffer, dtype)
    if spec.datatype == "BOOL" and array.size and np.frombuffer(buffer, np.uint8).max() > 1:
        raise WrongTensor(f"input {spec.name!r}: a BOOL is a byte 0 or 1, received {bytes(buffer).hex()[:20]}…")
    return array.reshape(shape)


def _strings(buffer: memoryview, shape: tuple[int, ...], name: str) -> Array:
    array = np.empty(math.prod(shape), object)
    position = 0
    for index in range(array.size):
        if position + _LENGTH.size > len(buffer):
            raise WrongTensor(f"input {name!r}: shape {list(shape)} needs {array.size} strings, received {index}")
        (length,) = _LENGTH.unpack_from(buffer, position)
        start, position = position + _LENGTH.size, position + _LENGTH.size + length
        if position > len(buffer):
            raise WrongTensor(f"input {name!r}: string {index} should have {length} bytes, but the tensor ends before")
        array[index] = utf8(bytes(buffer[start:position]), name, index)
    if position != len(buffer):
        raise WrongTensor(f"input {name!r}: {len(buffer) - position} bytes follow its {array.size} strings")
    return array.reshape(shape)


def utf8(value: bytes, name: str, index: int) -> str:
    """Decode one string strictly; raise `WrongTensor` naming the element."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise WrongTensor(
            f"input {name!r}: string {index} is not UTF-8: {error.reason} at byte {error.start}"
        ) from None


def tensor_to_bytes(array: Array) -> bytes | memoryview:
    """Write one tensor; numbers that lie in order are not copied."""
    if array.dtype == object:
        return _framed(str(value).encode() for value in array.ravel())
    if sys.byteorder == "little" and array.flags.c_contiguous and array.nbytes <= COPIED_BYTES:
        return array.tobytes()
    ordered = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return ordered.reshape(-1).view(np.uint8).data


def _framed(values: Iterable[bytes]) -> bytes:
    return b"".join(part for value in values for part in (_LENGTH.pack(len(value)), value))

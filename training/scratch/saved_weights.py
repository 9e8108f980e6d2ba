"""Reads the weights that somebody saved: W1, b1, W2, b2, … in an .npz or in a pickle of arrays.

A pickle may call anything; these get NumPy's arrays and nothing else. Knows no recipe.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy._core.numeric import _frombuffer  # type: ignore[attr-defined]  # what pickles of protocol 5 call

from training.datasets.unpickle import ArrayUnpickler
from training.errors import UnusableData
from training.scratch.network import Layer

WANTED = "W1, b1, W2, b2, … with W [inputs, units] and b [units]"
ZIP_SIGNATURE = b"PK"


def read_layers(path: Path) -> list[Layer]:
    """Read the layers, first to last, as float32.

    Raises:
        UnusableData: the file is missing, holds no such arrays, or is a pickle that asks for more than arrays.
    """
    try:
        is_zip = path.read_bytes()[: len(ZIP_SIGNATURE)] == ZIP_SIGNATURE
    except OSError as error:
        raise UnusableData(f"{path}: {error.strerror or error}") from None
    arrays = _named(path, _read_npz(path) if is_zip else _read_pickle(path))
    layers = [_layer(path, arrays, number) for number in range(1, len(arrays) // 2 + 1)]
    for number, (first, second) in enumerate(pairwise(layers), start=1):
        if first.weights.shape[1] != second.weights.shape[0]:
            raise UnusableData(
                f"{path}: W{number} gives {first.weights.shape[1]} units, W{number + 1} takes {second.weights.shape[0]}"
            )
    return layers


def _read_npz(path: Path) -> Any:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:  # a damaged archive fails in many ways
        raise UnusableData(f"{path}: not an .npz of plain arrays: {_one_line(error)}") from None


def _read_pickle(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return _WeightsUnpickler(file, encoding="latin1").load()
    except Exception as error:  # a pickle that is none, or means harm, fails in any way it likes
        raise UnusableData(f"{path}: neither an .npz nor a pickle of NumPy arrays alone: {_one_line(error)}") from None


class _WeightsUnpickler(ArrayUnpickler):
    """Knows arrays as every protocol of pickle writes them."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in (("numpy._core.numeric", "_frombuffer"), ("numpy.core.numeric", "_frombuffer")):
            return _frombuffer
        # How protocols 0 to 2 write bytes.
        if (module, name) == ("_codecs", "encode"):
            return _encode_latin1
        return super().find_class(module, name)


def _encode_latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"the encoding {encoding} is not allowed")
    return text.encode("latin1")


def _named(path: Path, content: Any) -> dict[str, npt.NDArray[Any]]:
    """Call arrays in a list or tuple W1, b1, W2, …; check that the names are those."""
    if isinstance(content, (list, tuple)):
        content = {f"{'Wb'[index % 2]}{index // 2 + 1}": array for index, array in enumerate(content)}
    if not isinstance(content, Mapping):
        raise UnusableData(f"{path}: expected {WANTED}, received {type(content).__name__}")
    names = {f"{letter}{number + 1}" for number in range(len(content) // 2) for letter in "Wb"}
    if not names or set(content) != names:
        raise UnusableData(f"{path}: expected {WANTED}; it has: {', '.join(map(str, content)) or 'nothing'}")
    return dict(content)


def _layer(path: Path, arrays: Mapping[str, npt.NDArray[Any]], number: int) -> Layer:
    weights, biases = _floats(path, arrays, f"W{number}"), _floats(path, arrays, f"b{number}").squeeze()
    biases = np.atleast_1d(biases)
    if weights.ndim != 2 or not weights.size or biases.shape != weights.shape[1:]:
        raise UnusableData(
            f"{path}: expected {WANTED}; W{number} is {list(weights.shape)}, b{number} {list(biases.shape)}"
        )
    return Layer(weights, biases)


def _floats(path: Path, arrays: Mapping[str, npt.NDArray[Any]], name: str) -> npt.NDArray[np.float32]:
    array = arrays[name]
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise UnusableData(f"{path}: {name} is no array of numbers")
    # A value that float32 cannot hold becomes infinite, and is refused in the next line.
    with np.errstate(over="ignore"):
        numbers = np.ascontiguousarray(array, dtype=np.float32)
    if not np.isfinite(numbers).all():
        raise UnusableData(f"{path}: {name} holds NaN or a number too large for float32")
    return numbers


def _one_line(error: Exception) -> str:
    return " ".join(f"{error}".split())[:200] or type(error).__name__

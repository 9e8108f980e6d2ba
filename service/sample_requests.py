"""Requests of the Open Inference Protocol that fit a model, with random values: what its metadata says suffices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import orjson

from service.codec.binary import tensor_to_bytes
from service.codec.oip import NOT_IN_JSON
from service.tensors import NUMPY_DTYPES, Array

Payload = Literal["json", "binary"]

# What an open dimension gets, other than the batch: a short series, a short text.
OPEN_SIZE = 16
WORDS = ("the", "oven", "bird", "bakes", "a", "model", "and", "serves", "it", "hot", "every", "day")
WORDS_PER_TEXT = 12


def random_inputs(
    tensors: Sequence[Mapping[str, Any]],
    rows: int,
    chance: np.random.Generator,
    *,
    categories: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Array]:
    """Make a batch of so many rows for a model whose metadata has these `inputs`.

    Floats lie between 0 and 1, bytes between 0 and 255, and whole numbers are 0 or 1, which every vocabulary has.
    Texts are a few words, or one of an input's `categories`.

    Raises:
        ValueError: a datatype that is not carried, or a model that takes another number of rows.
    """
    known = categories or {}
    return {tensor["name"]: _random(tensor, rows, chance, known.get(tensor["name"], ())) for tensor in tensors}


def _random(tensor: Mapping[str, Any], rows: int, chance: np.random.Generator, categories: Sequence[str]) -> Array:
    name, datatype, shape = tensor["name"], tensor["datatype"], list(tensor["shape"])
    if datatype not in NUMPY_DTYPES:
        raise ValueError(f"input {name!r}: no values are made for datatype {datatype}; give a request of your own")
    if shape[:1] == [-1]:
        shape[0] = rows
    elif rows != 1:
        raise ValueError(f"input {name!r} has shape {shape}, which takes no more than one row a request")
    sizes = [OPEN_SIZE if size == -1 else size for size in shape]
    if datatype == "BYTES":
        texts = np.empty(sizes, object)
        texts.ravel()[:] = [
            str(chance.choice(categories)) if categories else " ".join(chance.choice(WORDS, WORDS_PER_TEXT))
            for _ in range(texts.size)
        ]
        return texts
    if datatype.startswith("FP"):
        return chance.random(sizes, np.float32).astype(NUMPY_DTYPES[datatype])
    return chance.integers(256 if datatype == "UINT8" else 2, size=sizes).astype(NUMPY_DTYPES[datatype])


def encode(inputs: Mapping[str, Array], datatypes: Mapping[str, str], payload: Payload) -> tuple[bytes, dict[str, str]]:
    """Write an inference request: its body and its headers; with `binary`, the answer is asked for in binary, too.

    Raises:
        ValueError: JSON cannot carry a datatype.
    """
    if payload == "binary":
        return _binary(inputs, datatypes)
    entries = []
    for name, array in inputs.items():
        if datatypes[name] in NOT_IN_JSON:
            raise ValueError(f"input {name!r}: JSON cannot carry {datatypes[name]}; send it as binary")
        entries.append(_entry(name, array, datatypes) | {"data": array.ravel().tolist()})
    return orjson.dumps({"inputs": entries}), {"Content-Type": "application/json"}


def _binary(inputs: Mapping[str, Array], datatypes: Mapping[str, str]) -> tuple[bytes, dict[str, str]]:
    blobs = [tensor_to_bytes(array) for array in inputs.values()]
    entries = [
        _entry(name, array, datatypes) | {"parameters": {"binary_data_size": len(blob)}}
        for (name, array), blob in zip(inputs.items(), blobs, strict=True)
    ]
    header = orjson.dumps({"inputs": entries, "parameters": {"binary_data_output": True}})
    return b"".join((header, *blobs)), {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(len(header)),
    }


def _entry(name: str, array: Array, datatypes: Mapping[str, str]) -> dict[str, Any]:
    return {"name": name, "shape": list(array.shape), "datatype": datatypes[name]}

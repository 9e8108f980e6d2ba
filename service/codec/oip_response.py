"""The Open Inference Protocol V2: inference responses, as JSON and with binary tensors.

Source: Open Inference Protocol, REST specification, "Inference Response JSON Object"; Triton Inference Server,
protocol extensions "binary tensor data" and "classification".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import orjson

from service.codec.binary import tensor_to_bytes
from service.codec.oip import NOT_IN_JSON, InferenceRequest, RequestedOutput
from service.errors import UnrepresentableOutput, WrongTensor
from service.tensors import Array, Arrays, Signature

Labels = Mapping[str, tuple[str, ...]]
"""Output name → names of the entries of its last dimension."""


_Entry = tuple[str, str, tuple[int, ...], int | None, Any]
"""An output's name, datatype and shape; its bytes behind the header, or None and what stands in the JSON."""


@dataclass(frozen=True, slots=True)
class EncodedResponse:
    """A response's body; with binary tensors in it, `header_length` bytes of JSON come first."""

    body: bytes
    header_length: int | None = None


def encode_response(
    outputs: Arrays,
    signature: Signature,
    *,
    request: InferenceRequest,
    model_name: str,
    model_version: int,
    labels: Labels,
) -> EncodedResponse:
    """Encode the outputs that were asked for, in that order: as flat JSON, or as bytes behind the JSON.

    Raises:
        UnrepresentableOutput: a JSON output holds NaN or Infinity, or has a datatype that JSON cannot carry.
    """
    model = (model_name, model_version, request.id)
    blobs: list[bytes | memoryview] = []
    entries: list[_Entry] = []
    for asked in request.outputs:
        array, datatype = outputs[asked.name], signature.output_datatypes[asked.name]
        if asked.classes:
            array, datatype = classified(array, asked, labels.get(asked.name)), "BYTES"
        if asked.binary:
            blobs.append(tensor_to_bytes(array))
            entries.append((asked.name, datatype, array.shape, len(blobs[-1]), None))
        else:
            entries.append((asked.name, datatype, array.shape, None, _json_data(asked.name, datatype, array)))
    if len(blobs) < len(entries):
        header = _header(model, entries)
        return EncodedResponse(b"".join((header, *blobs)), len(header)) if blobs else EncodedResponse(header)
    # An id makes each header another one, and may be long.
    header = _header(model, entries) if request.id is not None else _binary_header(model, tuple(entries))
    return EncodedResponse(b"".join((header, *blobs)), len(header))


def _header(model: tuple[str, int, str | None], entries: Iterable[_Entry]) -> bytes:
    name, version, identifier = model
    response: dict[str, Any] = {"model_name": name, "model_version": str(version)}
    if identifier is not None:
        response["id"] = identifier
    response["outputs"] = [
        {"name": output, "datatype": datatype, "shape": shape}
        | ({"data": data} if size is None else {"parameters": {"binary_data_size": size}})
        for output, datatype, shape, size, data in entries
    ]
    return orjson.dumps(response, option=orjson.OPT_SERIALIZE_NUMPY)


# Where all outputs are binary, answers of one shape begin alike.
_binary_header = lru_cache(maxsize=4096)(_header)


def classified(array: Array, asked: RequestedOutput, labels: tuple[str, ...] | None) -> Array:
    """Write the best entries of each row as `value:index` or `value:index:label` (the classification extension).

    A one-dimensional output is one row; every other has its rows in its first dimension.

    Raises:
        WrongTensor: the output is not numeric.
    """
    if array.dtype.kind not in "iuf":
        raise WrongTensor(f"output {asked.name!r}: only numbers can be classified")
    rows = array.reshape(array.shape[0], -1) if array.ndim > 1 else array.reshape(1, -1)
    best = np.argsort(-rows.astype(np.float64), axis=1, kind="stable")[:, : asked.classes]
    texts = np.array(
        [[_class(row, index, labels) for index in chosen] for row, chosen in zip(rows, best.tolist(), strict=True)],
        object,
    )
    return texts if array.ndim > 1 else texts[0]


def _class(row: Array, index: int, labels: tuple[str, ...] | None) -> str:
    text = f"{float(row[index]):.6f}:{index}" if row.dtype.kind == "f" else f"{row[index]}:{index}"
    return f"{text}:{labels[index]}" if labels is not None and index < len(labels) else text


def _json_data(name: str, datatype: str, array: Array) -> Any:
    if datatype in NOT_IN_JSON:
        raise UnrepresentableOutput(f"output {name!r}: datatype {datatype} cannot be sent as JSON, ask for binary data")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        row = int(np.argwhere(~np.isfinite(array))[0][0]) if array.ndim else 0
        raise UnrepresentableOutput(
            f"output {name!r}: row {row} holds NaN or Infinity, which JSON cannot carry; "
            "look at that row's inputs, or ask for binary data"
        )
    return array.ravel().tolist() if array.dtype == object else np.ascontiguousarray(array).ravel()

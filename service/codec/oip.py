"""The Open Inference Protocol V2: inference requests, as JSON and with binary tensors.

Source: Open Inference Protocol, REST specification, "Inference Request JSON Object"; Triton Inference Server,
protocol extensions "binary tensor data", "classification", "schedule policy" and "parameters". JSON data may be nested
or flat, in row-major order.
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import orjson

from service.codec.binary import tensor_from_bytes
from service.codec.json_tensors import parse, tensor_from_array, tensor_from_json
from service.codec.numbers import MARKS, Cut, Kind, NotNumbers, cut_numbers, number_kind, read_numbers
from service.errors import BodyTooLarge, MalformedBody, ServiceError, WrongTensor
from service.tensors import NUMPY_DTYPES, Array, Signature, TensorSpec

# The protocol lets a server leave out what JSON cannot carry well; Triton and KServe refuse these too.
NOT_IN_JSON = frozenset({"FP16"})

# Parameters of a request that mean something to Triton, besides those that are read here; no custom ones.
RESERVED = frozenset({"sequence_id", "sequence_start", "sequence_end", "headers"})
RESERVED_PREFIX = "triton_"


@dataclass(frozen=True, slots=True)
class RequestedOutput:
    """An output to send back: as bytes or as JSON; with `classes` only its so many best entries, as strings."""

    name: str
    binary: bool = False
    classes: int = 0


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """A decoded request: arrays by input name, and the outputs to send back, in the order asked for.

    `timeout` is in seconds, `priority` 0 for the default and 1 for the highest.
    """

    inputs: dict[str, Array]
    outputs: tuple[RequestedOutput, ...]
    id: str | None = None
    timeout: float | None = None
    priority: int = 0


def decode_request(
    body: bytes, signature: Signature, *, header_length: str | None = None, max_header_length: int = sys.maxsize
) -> InferenceRequest:
    """Decode an inference request for a model.

    Args:
        body: JSON, or JSON followed by the binary tensors, or one tensor's bytes alone.
        signature: what the model takes and gives.
        header_length: the header Inference-Header-Content-Length: how many bytes of JSON come first; 0 for none.
        max_header_length: how many there may be.

    Raises:
        MalformedBody: the body is not a request; the message names the field.
        WrongTensor: a tensor does not fit the model; the message names the tensor, and what was expected.
        BodyTooLarge: the JSON before the binary tensors is too long.
    """
    if header_length is None:
        return _decode_json(body, signature)
    length = _header_length(header_length, len(body))
    if length > max_header_length:
        raise BodyTooLarge(max_header_length)
    if length == 0:
        return _raw_request(body, signature)
    return _decode_binary(body[:length], memoryview(body)[length:], signature)


_Place = tuple[TensorSpec, int, int, tuple[int, ...]]
"""An input whose bytes lie behind the header: from where, to where, and its shape."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """What a header says, and where it says that its inputs lie in the bytes behind it."""

    places: tuple[_Place, ...]
    size: int
    request: InferenceRequest

    def read(self, blobs: memoryview) -> InferenceRequest:
        return _with_inputs(
            self.request,
            {spec.name: tensor_from_bytes(blobs[start:stop], shape, spec) for spec, start, stop, shape in self.places},
        )


@dataclass(frozen=True, slots=True)
class _Frame:
    """What a request in JSON says but for its numbers, and which tensors these are."""

    tensors: tuple[tuple[TensorSpec, tuple[int, ...], Kind | None], ...]
    request: InferenceRequest

    def read(self, lists: Sequence[bytes]) -> InferenceRequest:
        return _with_inputs(
            self.request,
            {
                spec.name: _shaped(tensor_from_array(read_numbers(text, kind), spec), shape, spec)
                for text, (spec, shape, kind) in zip(lists, self.tensors, strict=True)
            },
        )


# A client sends the same header again and again, or the same JSON but for the numbers: what was found right once is
# kept, by the text and the signature that it was held against.
_LAYOUTS: dict[tuple[bytes, Signature], _Layout] = {}
_FRAMES: dict[tuple[bytes, Signature], _Frame] = {}
MAX_KEPT = 1024
MAX_KEPT_BYTES = 2048

Kept = TypeVar("Kept", _Layout, _Frame)


def _keep(kept: dict[tuple[bytes, Signature], Kept], text: bytes, signature: Signature, value: Kept) -> None:
    # A text with an id is not sent again.
    if value.request.id is None and len(text) <= MAX_KEPT_BYTES:
        if len(kept) >= MAX_KEPT:
            kept.clear()
        kept[text, signature] = value


def _with_inputs(said: InferenceRequest, inputs: dict[str, Array]) -> InferenceRequest:
    return InferenceRequest(inputs, said.outputs, said.id, said.timeout, said.priority)


def _decode_binary(header: bytes, blobs: memoryview, signature: Signature) -> InferenceRequest:
    layout = _LAYOUTS.get((header, signature))
    if layout is not None and layout.size == len(blobs):
        return layout.read(blobs)
    request, places = _decode(parse(header), blobs, signature)
    if len(places) == len(request.inputs):
        _keep(_LAYOUTS, header, signature, _Layout(tuple(places), len(blobs), replace(request, inputs={})))
    return request


def _decode_json(body: bytes, signature: Signature) -> InferenceRequest:
    cut = cut_numbers(body)
    if cut is not None:
        # What is refused here is refused below, in words that mean the whole body.
        with contextlib.suppress(NotNumbers, ServiceError):
            return _decode_cut(cut, signature)
    return _decode(parse(body), memoryview(b""), signature)[0]


def _decode_cut(cut: Cut, signature: Signature) -> InferenceRequest:
    frame = _FRAMES.get((cut.frame, signature))
    if frame is not None:
        return frame.read(cut.lists)
    message = parse(cut.frame)
    tensors = _put_back(message, cut.lists, signature)
    request, _ = _decode(message, memoryview(b""), signature)
    if len(tensors) == len(request.inputs):
        shaped = [(spec, request.inputs[spec.name].shape, number_kind(spec.datatype)) for spec in tensors]
        _keep(_FRAMES, cut.frame, signature, _Frame(tuple(shaped), replace(request, inputs={})))
    return request


def _put_back(message: Any, lists: Sequence[bytes], signature: Signature) -> list[TensorSpec]:
    """Put arrays where numbers were cut out; return whose they are. Raise `NotNumbers` if they are not all `data`."""
    specs = {spec.name: spec for spec in signature.inputs}
    found: list[TensorSpec] = []
    try:
        for tensor in message["inputs"]:
            number = len(found)
            if number < len(lists) and tensor["data"] == MARKS[number]:
                spec = specs[tensor["name"]]
                tensor["data"] = read_numbers(lists[number], number_kind(spec.datatype))
                found.append(spec)
    except (TypeError, KeyError):
        raise NotNumbers from None
    if len(found) < len(lists):
        raise NotNumbers
    return found


def _header_length(text: str, size: int) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18 or int(text) > size:
        raise MalformedBody(f"Inference-Header-Content-Length: expected a number from 0 to {size}, received {text!r}")
    return int(text)


def _raw_request(body: bytes, signature: Signature) -> InferenceRequest:
    """Read a body that is one tensor's bytes: a batch of one row for a model with one input."""
    if len(signature.inputs) != 1:
        raise MalformedBody(f"a raw body is one tensor, but this model has {len(signature.inputs)} inputs")
    (spec,) = signature.inputs
    shape = _raw_shape(spec, len(body))
    if spec.datatype == "BYTES":
        # The body is the string itself, without a length before it.
        framed = len(body).to_bytes(4, "little") + body
        array = tensor_from_bytes(memoryview(framed), shape, spec)
    else:
        array = tensor_from_bytes(memoryview(body), shape, spec)
    return InferenceRequest({spec.name: array}, tuple(RequestedOutput(o.name, binary=True) for o in signature.outputs))


def _raw_shape(spec: TensorSpec, size: int) -> tuple[int, ...]:
    """Fill in a raw tensor's shape: one row, and at most one other open dimension, from the number of bytes."""
    if spec.datatype == "BYTES":
        if any(length not in (None, 1) for length in spec.shape):
            raise MalformedBody(f"a raw body is one string, but input {spec.name!r} has shape {spec.wire_shape}")
        return (1,) * len(spec.shape)
    row = (1, *spec.shape[1:]) if spec.shape[:1] == (None,) else spec.shape
    known = math.prod(length for length in row if length is not None)
    if row.count(None) > 1:
        raise MalformedBody(f"a raw body cannot say the shape of input {spec.name!r}: {spec.wire_shape}")
    rest = max(1, size // (known * NUMPY_DTYPES[spec.datatype].itemsize))
    return tuple(rest if length is None else length for length in row)


def _decode(parsed: Any, blobs: memoryview, signature: Signature) -> tuple[InferenceRequest, list[_Place]]:
    message = _object(parsed, "the body")
    identifier = message.get("id")
    if identifier is not None and not isinstance(identifier, str):
        raise MalformedBody(f"id: expected a string, received {_kind(identifier)}")
    parameters = _parameters(message, "parameters")
    _check_custom(parameters)
    inputs, places = _decode_inputs(message.get("inputs"), blobs, signature)
    signature.check(inputs)
    binary = _boolean(parameters, "binary_data_output", "parameters")
    request = InferenceRequest(
        inputs,
        _requested_outputs(message.get("outputs"), signature, binary=binary),
        identifier,
        _timeout(parameters),
        _whole(parameters, "priority", "parameters"),
    )
    return request, places


def _object(value: Any, field: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MalformedBody(f"{field}: expected a JSON object, received {_kind(value)}")
    return value


def _parameters(holder: dict[str, Any], field: str) -> dict[str, Any]:
    # Clients that write every field of their schema write null for what they leave out.
    value = holder.get("parameters")
    return {} if value is None else _object(value, field)


def _check_custom(parameters: dict[str, Any]) -> None:
    """Let custom parameters pass, which change nothing; refuse those that would have to change the answer.

    A reserved one at its default (0, false, "") asks for nothing.
    """
    for name, value in parameters.items():
        if not isinstance(value, (str, int, float)):
            raise MalformedBody(f"parameters.{name}: expected a string, a number or a boolean, received {_kind(value)}")
        if value and (name in RESERVED or name.startswith(RESERVED_PREFIX)):
            why = "each request stands alone" if name.startswith("sequence") else "the name is reserved by the protocol"
            raise MalformedBody(f"parameters.{name}: not supported: {why}; leave it out")


def _check_not_shared(parameters: dict[str, Any], field: str) -> None:
    if "shared_memory_region" in parameters:
        raise MalformedBody(f"{field}.shared_memory_region: not supported; send tensors in the body, as binary data")


def _boolean(parameters: dict[str, Any], name: str, field: str) -> bool:
    value = parameters.get(name, False)
    if not isinstance(value, bool):
        raise MalformedBody(f"{field}.{name}: expected a boolean, received {_kind(value)}")
    return value


def _whole(parameters: dict[str, Any], name: str, field: str) -> int:
    value = parameters.get(name, 0)
    if type(value) is not int or value < 0:
        raise MalformedBody(f"{field}.{name}: expected a whole number from 0, received {_kind(value)}")
    return value


def _timeout(parameters: dict[str, Any]) -> float | None:
    """Read the request's `timeout`, in microseconds as the schedule policy extension has it; 0 for none."""
    microseconds = _whole(parameters, "timeout", "parameters")
    return microseconds / 1e6 if microseconds else None


def _decode_inputs(entries: Any, blobs: memoryview, signature: Signature) -> tuple[dict[str, Array], list[_Place]]:
    if not isinstance(entries, list) or not entries:
        raise MalformedBody(f"inputs: expected a list of one or more tensors, received {_kind(entries)}")
    specs = {spec.name: spec for spec in signature.inputs}
    inputs: dict[str, Array] = {}
    places: list[_Place] = []
    position = 0
    for index, value in enumerate(entries):
        entry = _object(value, f"inputs[{index}]")
        name = entry.get("name")
        if not isinstance(name, str):
            raise MalformedBody(f"inputs[{index}].name: expected a string, received {_kind(name)}")
        if name not in specs:
            raise WrongTensor(f"unknown input {name!r}; the model takes: {', '.join(specs)}")
        if name in inputs:
            raise WrongTensor(f"input {name!r} was sent twice")
        shape = _checked_shape(entry, specs[name])
        size = _binary_size(entry, name, left=len(blobs) - position)
        if size is None:
            inputs[name] = _json_tensor(entry, shape, specs[name])
        else:
            inputs[name] = tensor_from_bytes(blobs[position : position + size], shape, specs[name])
            places.append((specs[name], position, position + size, shape))
            position += size
    if position != len(blobs):
        raise MalformedBody(f"{len(blobs) - position} bytes follow the binary tensors that the inputs announce")
    return inputs, places


def _checked_shape(entry: dict[str, Any], spec: TensorSpec) -> tuple[int, ...]:
    shape, datatype = _shape(entry.get("shape"), spec.name), entry.get("datatype")
    if datatype != spec.datatype:
        raise WrongTensor(f"input {spec.name!r}: expected datatype {spec.datatype}, received {datatype}")
    if not spec.accepts(shape):
        raise WrongTensor(f"input {spec.name!r}: expected shape {spec.wire_shape}, received {list(shape)}")
    return shape


def _binary_size(entry: dict[str, Any], name: str, *, left: int) -> int | None:
    """Read how many bytes of the body are this tensor; None for a tensor in JSON."""
    field = f"input {name!r}: parameters"
    parameters = _parameters(entry, field)
    _check_not_shared(parameters, field)
    if "binary_data_size" not in parameters:
        return None
    size = parameters["binary_data_size"]
    if type(size) is not int or size < 0:
        raise MalformedBody(f"input {name!r}: binary_data_size: expected a whole number from 0, received {_kind(size)}")
    if size > left:
        raise MalformedBody(
            f"input {name!r}: binary_data_size is {size}, but {left} bytes are left behind the JSON; "
            "is the header Inference-Header-Content-Length right?"
        )
    return size


def _json_tensor(entry: dict[str, Any], shape: tuple[int, ...], spec: TensorSpec) -> Array:
    if spec.datatype in NOT_IN_JSON:
        raise WrongTensor(f"input {spec.name!r}: datatype {spec.datatype} cannot be sent as JSON, send binary data")
    if "data" not in entry:
        raise MalformedBody(f"input {spec.name!r}: data is missing")
    data = entry["data"]
    if isinstance(data, np.ndarray):
        array = tensor_from_array(data, spec)
    else:
        array = tensor_from_json(data if isinstance(data, list) else [data], spec)
    return _shaped(array, shape, spec)


def _shaped(array: Array, shape: tuple[int, ...], spec: TensorSpec) -> Array:
    """Give a tensor, flat or nested as it was sent, the shape that the request says."""
    if array.shape == shape:
        return array
    count = math.prod(shape)
    if array.ndim != 1 or array.size != count:
        raise WrongTensor(
            f"input {spec.name!r}: shape {list(shape)} needs {count} values, flat or nested so; "
            f"data has shape {list(array.shape)}"
        )
    return array.reshape(shape)


def _shape(value: Any, name: str) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(size) is int and size > 0 for size in value):
        raise WrongTensor(f"input {name!r}: shape must be a list of whole numbers from 1, received {_shown(value)}")
    return tuple(value)


def _requested_outputs(entries: Any, signature: Signature, *, binary: bool) -> tuple[RequestedOutput, ...]:
    known = tuple(spec.name for spec in signature.outputs)
    if entries is None or entries == []:
        return tuple(RequestedOutput(name, binary) for name in known)
    if not isinstance(entries, list):
        raise MalformedBody(f"outputs: expected a list, received {_kind(entries)}")
    return tuple(
        _requested_output(_object(entry, f"outputs[{index}]"), known, binary=binary)
        for index, entry in enumerate(entries)
    )


def _requested_output(entry: dict[str, Any], known: Sequence[str], *, binary: bool) -> RequestedOutput:
    name = entry.get("name")
    if not isinstance(name, str) or name not in known:
        raise WrongTensor(f"unknown output {name!r}; the model gives: {', '.join(known)}")
    field = f"output {name!r}: parameters"
    parameters = _parameters(entry, field)
    _check_not_shared(parameters, field)
    chosen = _boolean(parameters, "binary_data", field) if "binary_data" in parameters else binary
    return RequestedOutput(name, chosen, _whole(parameters, "classification", field))


def _shown(value: Any) -> str:
    text = orjson.dumps(value).decode()
    return text if len(text) <= 60 else f"{text[:60]}…"


def _kind(value: Any) -> str:
    """Say in JSON's words what a value is."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "nothing"}
    return "an empty list" if value == [] else names.get(type(value), "a number")

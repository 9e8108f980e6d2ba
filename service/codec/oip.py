"""The Open Inference Protocol V2 over JSON: inference requests and responses.

Source: Open Inference Protocol, REST specification, "Inference Request JSON Object" and "Inference Response JSON
Object". Tensor data may be nested or flat, in row-major order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from service.errors import MalformedBody, UnrepresentableOutput, WrongTensor
from service.tensors import NUMPY_DTYPES, Array, Arrays, Signature, TensorSpec

# The protocol lets a server leave out what JSON cannot carry well; Triton and KServe refuse these too.
NOT_IN_JSON = frozenset({"FP16"})

_KINDS = {"BOOL": "b", "FP32": "fiu", "FP64": "fiu"}


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """A decoded request: arrays by input name, and the outputs to send back, in the order asked for."""

    inputs: dict[str, Array]
    outputs: tuple[str, ...]
    id: str | None = None


def decode_request(body: bytes, signature: Signature) -> InferenceRequest:
    """Decode a JSON inference request for a model.

    Raises:
        MalformedBody: the body is not JSON, or not a request; the message names the field.
        WrongTensor: a tensor does not fit the model; the message names the tensor, and what was expected.
    """
    message = _object(_parse(body), "the body")
    identifier = message.get("id")
    if identifier is not None and not isinstance(identifier, str):
        raise MalformedBody(f"id: expected a string, received {_kind(identifier)}")
    _refuse_binary(message, "binary_data_output")
    inputs = _decode_inputs(message.get("inputs"), signature)
    signature.check(inputs)
    return InferenceRequest(inputs, _requested_outputs(message.get("outputs"), signature), identifier)


def encode_response(
    outputs: Arrays, signature: Signature, *, request: InferenceRequest, model_name: str, model_version: int
) -> bytes:
    """Encode the outputs that were asked for, flat, as a JSON inference response.

    Raises:
        UnrepresentableOutput: an output holds NaN or Infinity, or has a datatype that JSON cannot carry.
    """
    response: dict[str, Any] = {"model_name": model_name, "model_version": str(model_version)}
    if request.id is not None:
        response["id"] = request.id
    datatypes = {spec.name: spec.datatype for spec in signature.outputs}
    response["outputs"] = [_encode_output(name, datatypes[name], outputs[name]) for name in request.outputs]
    return orjson.dumps(response, option=orjson.OPT_SERIALIZE_NUMPY)


def _parse(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedBody(f"the body is not JSON: {error}") from None


def _object(value: Any, field: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MalformedBody(f"{field}: expected a JSON object, received {_kind(value)}")
    return value


def _refuse_binary(holder: dict[str, Any], parameter: str) -> None:
    parameters = _object(holder.get("parameters", {}), "parameters")
    if parameters.get(parameter):
        raise MalformedBody(f"parameters.{parameter}: binary tensors are not supported, send and ask for JSON data")


def _decode_inputs(entries: Any, signature: Signature) -> dict[str, Array]:
    if not isinstance(entries, list) or not entries:
        raise MalformedBody(f"inputs: expected a list of one or more tensors, received {_kind(entries)}")
    specs = {spec.name: spec for spec in signature.inputs}
    inputs: dict[str, Array] = {}
    for index, value in enumerate(entries):
        entry = _object(value, f"inputs[{index}]")
        name = entry.get("name")
        if not isinstance(name, str):
            raise MalformedBody(f"inputs[{index}].name: expected a string, received {_kind(name)}")
        if name not in specs:
            raise WrongTensor(f"unknown input {name!r}; the model takes: {', '.join(specs)}")
        if name in inputs:
            raise WrongTensor(f"input {name!r} was sent twice")
        _refuse_binary(entry, "binary_data_size")
        inputs[name] = _decode_tensor(entry, specs[name])
    return inputs


def _decode_tensor(entry: dict[str, Any], spec: TensorSpec) -> Array:
    shape, datatype = _shape(entry.get("shape"), spec.name), entry.get("datatype")
    if datatype != spec.datatype:
        raise WrongTensor(f"input {spec.name!r}: expected datatype {spec.datatype}, received {datatype}")
    if datatype in NOT_IN_JSON:
        raise WrongTensor(f"input {spec.name!r}: datatype {datatype} cannot be sent as JSON")
    if not spec.accepts(shape):
        raise WrongTensor(f"input {spec.name!r}: expected shape {spec.wire_shape}, received {list(shape)}")
    if "data" not in entry:
        raise MalformedBody(f"input {spec.name!r}: data is missing")
    data = entry["data"]
    array = tensor_from_json(data if isinstance(data, list) else [data], spec)
    if array.shape != shape and (array.ndim != 1 or array.size != _count(shape)):
        raise WrongTensor(
            f"input {spec.name!r}: shape {list(shape)} needs {_count(shape)} values, flat or nested so; "
            f"data has shape {list(array.shape)}"
        )
    return array.reshape(shape)


def _shape(value: Any, name: str) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(size) is int and size > 0 for size in value):
        raise WrongTensor(f"input {name!r}: shape must be a list of whole numbers from 1, received {_kind(value)}")
    return tuple(value)


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def tensor_from_json(data: list[Any], spec: TensorSpec) -> Array:
    """Make an array of the input's datatype from (nested) lists; refuse whatever would change a value in silence.

    Raises:
        WrongTensor: ragged lists, values of another kind, or values outside the datatype's range.
    """
    if spec.datatype == "BYTES":
        return _strings(data, spec.name)
    try:
        found = np.asarray(data)
    except (ValueError, OverflowError):
        raise WrongTensor(f"input {spec.name!r}: data is ragged: its lists differ in length or depth") from None
    wanted = NUMPY_DTYPES[spec.datatype]
    if found.dtype.kind not in _KINDS.get(spec.datatype, "iu"):
        raise WrongTensor(f"input {spec.name!r}: expected {spec.datatype} values, {_what_else(found)}")
    return _cast(found, wanted, spec)


def _cast(found: Array, wanted: np.dtype[Any], spec: TensorSpec) -> Array:
    if found.dtype == wanted:
        return found
    if wanted.kind in "iu":
        limits = np.iinfo(wanted)
        if found.min() < limits.min or found.max() > limits.max:
            raise WrongTensor(
                f"input {spec.name!r}: {spec.datatype} holds {limits.min} to {limits.max}, "
                f"received {found.min()} to {found.max()}"
            )
        return found.astype(wanted)
    with np.errstate(over="ignore"):
        cast = found.astype(wanted)
    if not np.isfinite(cast).all():
        raise WrongTensor(f"input {spec.name!r}: a value is too large for {spec.datatype}")
    return cast


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


def _requested_outputs(entries: Any, signature: Signature) -> tuple[str, ...]:
    known = tuple(spec.name for spec in signature.outputs)
    if entries is None or entries == []:
        return known
    if not isinstance(entries, list):
        raise MalformedBody(f"outputs: expected a list, received {_kind(entries)}")
    return tuple(_requested_output(_object(entry, f"outputs[{i}]"), known) for i, entry in enumerate(entries))


def _requested_output(entry: dict[str, Any], known: Sequence[str]) -> str:
    name = entry.get("name")
    if not isinstance(name, str) or name not in known:
        raise WrongTensor(f"unknown output {name!r}; the model gives: {', '.join(known)}")
    _refuse_binary(entry, "binary_data")
    if "classification" in entry.get("parameters", {}):
        raise MalformedBody(f"output {name!r}: the classification extension is not supported")
    return name


def _encode_output(name: str, datatype: str, array: Array) -> dict[str, Any]:
    if datatype in NOT_IN_JSON:
        raise UnrepresentableOutput(f"output {name!r}: datatype {datatype} cannot be sent as JSON")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        row = int(np.argwhere(~np.isfinite(array))[0][0]) if array.ndim else 0
        raise UnrepresentableOutput(
            f"output {name!r}: row {row} holds NaN or Infinity, which JSON cannot carry; look at that row's inputs"
        )
    data = array.ravel().tolist() if array.dtype == object else np.ascontiguousarray(array).ravel()
    return {"name": name, "shape": list(array.shape), "datatype": datatype, "data": data}


def _kind(value: Any) -> str:
    """Say in JSON's words what a value is."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "nothing"}
    return "an empty list" if value == [] else names.get(type(value), "a number")

"""TensorFlow Serving's REST API, version 1: predict, classify and regress requests, and their answers.

Source: TensorFlow Serving, "RESTful API" (g3doc/api_rest.md), and util/json_tensor.cc where the page is silent or
differs: the answer to classify and regress stands under "results", not "result". Knows neither HTTP nor onnxruntime.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import math
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from model_store.manifest import ImageFormat, InputSpec, OutputKind, OutputSpec
from service.codec.binary import utf8
from service.codec.compression import hint
from service.codec.json_tensors import tensor_from_array, tensor_from_json
from service.codec.media import Described
from service.codec.numbers import MARKS, NotNumbers, cut_numbers, number_kind, read_numbers
from service.codec.pictures import picture
from service.errors import BadRequest, MalformedBody, ServiceError, UnrepresentableOutput, WrongTensor
from service.tensors import Array, Arrays, Signature, TensorSpec

SIGNATURE = "serving_default"

# Strings of outputs named so are bytes to TensorFlow Serving, and are written as {"b64": …}.
BYTES_SUFFIX = "_bytes"


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """A decoded predict request: arrays by input name; `by_rows` says that its answer is written in rows, too."""

    inputs: dict[str, Array]
    by_rows: bool


def decode_predict(body: bytes, signature: Signature, model: Described) -> PredictRequest:
    """Decode a predict request in row form ("instances") or column form ("inputs").

    A value alone, where a list is expected, is one row.

    Raises:
        MalformedBody: not such a request; the message names the field.
        WrongTensor: a value does not fit the model; the message names the input.
    """
    # What is refused here is refused below, in words that mean the whole body.
    with contextlib.suppress(NotNumbers, ServiceError):
        return _predict_of_numbers(body, signature)
    message = _message(body)
    by_rows = "instances" in message
    if by_rows == ("inputs" in message):
        received = "both" if by_rows else "neither"
        raise MalformedBody(f'expected either "instances" (rows) or "inputs" (columns), received {received}')
    columns = _from_rows(message["instances"], signature) if by_rows else _from_columns(message["inputs"], signature)
    images = _images(model)
    inputs = {spec.name: _tensor(columns[spec.name], spec, images.get(spec.name)) for spec in signature.inputs}
    signature.check(inputs)
    return PredictRequest(inputs, by_rows)


def _predict_of_numbers(body: bytes, signature: Signature) -> PredictRequest:
    """Read a long request for a model with one input, whose numbers were cut out; raise `NotNumbers` for another."""
    cut = cut_numbers(body)
    if cut is None or len(cut.lists) > 1 or len(signature.inputs) > 1:
        raise NotNumbers
    message = _message(cut.frame)
    by_rows = "instances" in message
    if by_rows == ("inputs" in message) or message["instances" if by_rows else "inputs"] != MARKS[0]:
        raise NotNumbers
    (spec,), (text,) = signature.inputs, cut.lists
    inputs = {spec.name: tensor_from_array(read_numbers(text, number_kind(spec.datatype)), spec)}
    signature.check(inputs)
    return PredictRequest(inputs, by_rows)


def decode_examples(body: bytes, signature: Signature, model: Described) -> dict[str, Array]:
    """Decode the examples of a classify or regress request: one row each.

    An example holds an input under its own name, as a value or a list of its values in row-major order; or, where
    the manifest names an input's columns, a feature for each column. A feature of "context" belongs to every
    example that does not have its own. Features that the model does not take are ignored, as TensorFlow's parsing
    of examples does.

    Raises:
        MalformedBody: not such a request; the message names the field.
        WrongTensor: a feature is missing or does not fit; the message names it.
    """
    message = _message(body)
    context = _object(message.get("context", {}), "context")
    examples = message.get("examples")
    if not isinstance(examples, list) or not examples:
        raise MalformedBody(f"examples: expected a list of one or more objects, received {reprlib.repr(examples)}")
    merged = [context | _object(example, f"examples[{number}]") for number, example in enumerate(examples)]
    meanings = {meaning.name: meaning for meaning in model.inputs}
    inputs = {
        spec.name: _in_rows(_tensor(_features(merged, meaning), spec, meaning.image), spec)
        for spec, meaning in ((spec, meanings[spec.name]) for spec in signature.inputs)
    }
    signature.check(inputs)
    return inputs


def _message(body: bytes) -> dict[str, Any]:
    return _with_known_signature(_object(_parse(body), "the body"))


def _with_known_signature(message: dict[str, Any]) -> dict[str, Any]:
    name = message.get("signature_name", SIGNATURE)
    # TensorFlow Serving, too, takes an empty name for the default.
    if name not in ("", SIGNATURE):
        raise MalformedBody(f"signature_name: there is only {SIGNATURE!r}, received {reprlib.repr(name)}")
    return message


def _parse(body: bytes) -> Any:
    """Parse JSON in which, as TensorFlow Serving has it, numbers may be NaN, Infinity and -Infinity.

    orjson is several times as fast as the standard library, but keeps to RFC 8259, which has no such tokens: only a
    body that it refuses, and that holds one of them, is parsed again.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if b"NaN" not in body and b"Infinity" not in body:
            raise MalformedBody(f"the body is not JSON: {error}{hint(body)}") from None
    try:
        message = json.loads(body.decode("utf-8"), parse_float=_not_too_large)
        # What the standard library lets through besides: half surrogate pairs and numbers of any length.
        orjson.dumps(message)
    except (ValueError, TypeError, RecursionError) as error:
        raise MalformedBody(f"the body is not JSON: {error}") from None
    return message


def _not_too_large(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"the number {text[:20]} is too large")
    return number


def _object(value: Any, field: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MalformedBody(f"{field}: expected a JSON object, received {reprlib.repr(value)}")
    return value


def _from_rows(instances: Any, signature: Signature) -> dict[str, Any]:
    """Turn rows into columns: input name → list of its values, one a row."""
    rows = instances if isinstance(instances, list) else [instances]
    if not rows:
        raise MalformedBody("instances: expected one or more rows, received an empty list")
    names = [spec.name for spec in signature.inputs]
    named = _is_named(rows[0])
    for number, row in enumerate(rows):
        if _is_named(row) != named:
            raise MalformedBody(
                f"instances[{number}]: some rows are objects of inputs and some are not: send all alike"
            )
        if named and row.keys() != set(names):
            raise WrongTensor(f"instances[{number}]: the model takes {', '.join(names)}; received {', '.join(row)}")
    if named:
        return {name: [row[name] for row in rows] for name in names}
    return {_only_input(names, "instances"): rows}


def _from_columns(inputs: Any, signature: Signature) -> dict[str, Any]:
    names = [spec.name for spec in signature.inputs]
    if not _is_named(inputs):
        return {_only_input(names, "inputs"): inputs}
    if inputs.keys() != set(names):
        raise WrongTensor(f"inputs: the model takes {', '.join(names)}; received {', '.join(inputs) or 'none'}")
    return dict(inputs)


def _only_input(names: Sequence[str], field: str) -> str:
    if len(names) > 1:
        raise MalformedBody(f"{field}: the model takes {', '.join(names)}: send objects with these names")
    return names[0]


def _is_named(value: Any) -> bool:
    """Tell an object of inputs from a value: {"b64": …} is a value."""
    return isinstance(value, dict) and not _is_b64(value)


def _is_b64(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str)


def _images(model: Described) -> dict[str, ImageFormat]:
    return {spec.name: spec.image for spec in model.inputs if spec.image is not None}


def _tensor(value: Any, spec: TensorSpec, image: ImageFormat | None) -> Array:
    """Make an input's array from (nested) lists; {"b64": …} in them is a text, or a whole picture.

    Raises:
        WrongTensor: the values are ragged, of another kind or range, or there are none.
    """
    values = value if isinstance(value, list) else [value]
    if spec.datatype == "BYTES":
        array = tensor_from_json(_texts(values, spec, itertools.count(), len(spec.shape)), spec)
    elif image is not None:
        array = _numbers([_pixels(row, number, spec, image) for number, row in enumerate(values)], spec)
    else:
        array = _numbers(values, spec)
    if array.size == 0:
        raise WrongTensor(f"input {spec.name!r}: expected one value or more, received shape {list(array.shape)}")
    return array.reshape(()) if array.size == 1 and spec.shape == () and values is not value else array


def _texts(values: Any, spec: TensorSpec, counted: Iterator[int], depth: int) -> Any:
    """Put texts in place of {"b64": …}, no deeper than the input's dimensions; errors name the string's number."""
    if isinstance(values, list) and depth > 0:
        return [_texts(value, spec, counted, depth - 1) for value in values]
    number = next(counted)
    return utf8(_decoded(values, spec, number), spec.name, number) if _is_b64(values) else values


def _pixels(row: Any, number: int, spec: TensorSpec, image: ImageFormat) -> Any:
    """Decode a row that is an encoded picture; leave one that is pixels."""
    if not _is_b64(row):
        return row
    try:
        return picture(_decoded(row, spec, number), image)
    except MalformedBody as error:
        raise WrongTensor(f"input {spec.name!r}: b64 value {number}: {error}") from None


def _decoded(value: dict[str, str], spec: TensorSpec, number: int) -> bytes:
    """Undo base64; like TensorFlow Serving without minding line breaks or missing padding."""
    text = "".join(value["b64"].split())
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError as error:
        raise WrongTensor(f"input {spec.name!r}: b64 value {number}: not base64: {error}") from None


def _numbers(values: list[Any], spec: TensorSpec) -> Array:
    try:
        return tensor_from_json(values, spec)
    except WrongTensor:
        if _holds_b64(values, len(spec.shape)):
            raise WrongTensor(
                f'input {spec.name!r}: {{"b64": …}} is a text or a whole picture, and not {spec.datatype} values'
            ) from None
        raise


def _holds_b64(value: Any, depth: int) -> bool:
    if isinstance(value, list) and depth > 0:
        return any(_holds_b64(entry, depth - 1) for entry in value)
    return _is_b64(value)


def _features(examples: Sequence[Mapping[str, Any]], meaning: InputSpec) -> list[Any]:
    """Collect one input's values, one entry an example."""
    return [_feature(example, number, meaning) for number, example in enumerate(examples)]


def _feature(example: Mapping[str, Any], number: int, meaning: InputSpec) -> Any:
    """Find an input's values in one example: under its own name, or else by its columns."""
    if meaning.name in example:
        return _value_of(example[meaning.name])
    columns = meaning.columns or (meaning.name,)
    missing = [name for name in columns if name not in example]
    if missing:
        other = f" (or all of them as {meaning.name!r})" if meaning.columns else ""
        raise WrongTensor(f"examples[{number}]: missing feature {', '.join(map(repr, missing))}{other}")
    return [_value_of(example[name]) for name in columns]


def _value_of(feature: Any) -> Any:
    """Take a list of one value for that value: every feature of TensorFlow's examples is a list."""
    return feature[0] if isinstance(feature, list) and len(feature) == 1 else feature


def _in_rows(array: Array, spec: TensorSpec) -> Array:
    """Give flat features the input's shape, row by row; leave what does not fit to the signature's check."""
    if array.ndim > 2 or spec.shape[1:].count(None) > 1:
        return array
    with contextlib.suppress(ValueError):
        return array.reshape(len(array), *(-1 if size is None else size for size in spec.shape[1:]))
    return array


def encode_predict(outputs: Arrays, signature: Signature, *, by_rows: bool) -> bytes:
    """Write the answer to a predict request: a single output bare, several by name.

    Raises:
        UnrepresentableOutput: rows are asked for, but an output does not have one entry a row.
    """
    written = {spec.name: _for_json(outputs[spec.name], spec) for spec in signature.outputs}
    if not by_rows:
        return _dumps({"outputs": _bare(written)}, outputs.values())
    rows = _rows_of_all(outputs)
    if len(written) == 1:
        return _dumps({"predictions": _bare(written)}, outputs.values())
    predictions = [{name: values[row] for name, values in written.items()} for row in range(rows)]
    return _dumps({"predictions": predictions}, outputs.values())


def _bare(written: dict[str, Any]) -> Any:
    return next(iter(written.values())) if len(written) == 1 else written


def _for_json(array: Array, spec: TensorSpec) -> Any:
    """Turn an output into what `_dumps` can write, and what has rows to take from."""
    if spec.datatype == "BYTES":
        as_bytes = spec.name.endswith(BYTES_SUFFIX)
        texts = np.frompyfunc(_b64, 1, 1)(array) if as_bytes else array
        return texts.tolist() if isinstance(texts, np.ndarray) else texts
    # Without dimensions NumPy gives a scalar, in order or not: orjson writes arrays that lie in order only.
    return np.asarray(array, order="C") if array.ndim else array[()]


def _b64(text: Any) -> dict[str, str]:
    return {"b64": base64.b64encode(str(text).encode()).decode()}


def _rows_of_all(outputs: Arrays) -> int:
    shapes = {name: list(array.shape) for name, array in outputs.items()}
    if any(not shape for shape in shapes.values()) or len({shape[0] for shape in shapes.values()}) > 1:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise UnrepresentableOutput(f'the outputs have no rows in common: {listed}; ask in column form ("inputs")')
    return int(next(iter(shapes.values()))[0])


def is_version(text: str) -> bool:
    """Tell whether this can be a version: a whole number that 64 bits hold."""
    return text.isascii() and text.isdigit() and len(text) < 20 and int(text) < 2**63


def output_of_kind(model: Described, kind: OutputKind) -> OutputSpec:
    """Find the output that answers classify ("probabilities") or regress ("value").

    Raises:
        BadRequest: the model has none.
    """
    found = next((spec for spec in model.outputs if spec.kind == kind), None)
    if found is None:
        given = ", ".join(f"{spec.name} ({spec.kind})" for spec in model.outputs)
        raise BadRequest(f"this takes a model with an output of kind {kind!r}; the model gives: {given}; use :predict")
    return found


def encode_classes(scores: Array, labels: Sequence[str] | None) -> bytes:
    """Write, for each row of probabilities [rows, classes], label and score of every class, in the model's order.

    A class without a label is named by its number.
    """
    rows = scores.reshape(len(scores), -1)
    named = list(labels or ())
    named += [str(number) for number in range(len(named), rows.shape[1])]
    results = [[[label, score] for label, score in zip(named, row, strict=False)] for row in rows]
    return _dumps({"results": results}, [scores])


def encode_values(values: Array, name: str) -> bytes:
    """Write one value a row.

    Raises:
        UnrepresentableOutput: the output has several values a row.
    """
    if values.size != len(values):
        raise UnrepresentableOutput(f"output {name!r} of shape {list(values.shape)} is not one value a row")
    return _dumps({"results": np.asarray(values, order="C").reshape(-1)}, [values])


def _dumps(answer: dict[str, Any], arrays: Iterable[Array]) -> bytes:
    """Write JSON in which, as TensorFlow Serving has it, numbers may be NaN, Infinity and -Infinity.

    orjson writes arrays many times as fast as the standard library, but null for such numbers: the caller could not
    tell them apart.
    """
    if all(array.dtype.kind != "f" or np.isfinite(array).all() for array in arrays):
        return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    return json.dumps(answer, default=_plain, ensure_ascii=False, separators=(",", ":")).encode()


def _plain(value: Any) -> Any:
    """Turn NumPy's values into Python's; floats by way of their shortest text, which widening would lengthen."""
    values = np.asarray(value)
    return (values.astype("U").astype(np.float64) if values.dtype.kind == "f" else values).tolist()

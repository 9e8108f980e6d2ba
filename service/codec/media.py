"""What people send by hand: pictures, CSV, lines of text, simple JSON; and an answer that reads well.

Turns such a body into the tensors that a model's manifest describes. Pictures are decoded here, never by an operator
in the graph: turned upright, converted to the model's channels, and resized to its height and width.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import orjson
from PIL import Image, ImageOps, UnidentifiedImageError

from model_store.manifest import ImageFormat, InputSpec, OutputSpec
from service.codec.json_tensors import parse, tensor_from_json
from service.errors import MalformedBody, UnrepresentableOutput, UnsupportedMedia, WrongTensor
from service.tensors import Array, Arrays, TensorSpec

PICTURE_FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 64 * 2**20

# Sent by curl and others that were not told what they send: the model's input decides.
_UNTOLD = frozenset({"", "application/octet-stream", "application/x-www-form-urlencoded"})


class Described(Protocol):
    """What must be known of a model: a manifest says it, or the ONNX file itself."""

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        """What goes in."""

    @property
    def outputs(self) -> tuple[OutputSpec, ...]:
        """What comes out."""

    @property
    def digest(self) -> str:
        """The sha256 of the model's file, in hexadecimal."""


def decode(body: bytes, content_type: str, model: Described) -> dict[str, Array]:
    """Make a model's input tensors from a body, by its content type.

    `image/*` is one picture, `text/csv` rows of numbers (with or without a header), `text/plain` one text a line,
    `application/json` `{"inputs": rows}` or `{"inputs": {name: rows}}`. Without a telling content type the kind of
    the model's input decides.

    Raises:
        UnsupportedMedia: the content type is none of these, or does not fit the model's input.
        MalformedBody, WrongTensor: the body cannot be read; the message says where.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/json" or (kind in _UNTOLD and body.lstrip()[:1] == b"{"):
        return _from_json(body, model)
    if len(model.inputs) > 1:
        raise UnsupportedMedia(f"this model has {len(model.inputs)} inputs: send JSON, {{'inputs': {{name: rows}}}}")
    spec = model.inputs[0]
    if kind in _UNTOLD:
        kind = {"image": "image/*", "text": "text/plain"}.get(spec.kind, "text/csv")
    if kind.startswith("image/") and spec.image is not None:
        return {spec.name: picture(body, spec.image)[None].astype(spec.dtype, copy=False)}
    if kind == "text/plain" and spec.kind == "text":
        return {spec.name: lines(body)}
    if kind == "text/csv" and spec.kind in ("features", "vector"):
        return {spec.name: table(body, spec)}
    raise UnsupportedMedia(
        f"content type {content_type!r} does not fit input {spec.name!r} of kind {spec.kind!r}; it takes {_takes(spec)}"
    )


def may_be_a_picture(content_type: str, model: Described) -> bool:
    """Tell whether a body may be a picture, which may be larger than a text."""
    kind = content_type.partition(";")[0].strip().lower()
    return any(spec.kind == "image" for spec in model.inputs) and (kind in _UNTOLD or kind.startswith("image/"))


def _takes(spec: InputSpec) -> str:
    own = {"image": "image/png, image/jpeg, image/webp or ", "text": "text/plain or ", "tensor": ""}
    return own.get(spec.kind, "text/csv or ") + "application/json"


def picture(body: bytes, wanted: ImageFormat) -> Array:
    """Decode one PNG, JPEG or WebP picture to uint8 [height, width, channels] of the model's size.

    Raises:
        MalformedBody: it is not such a picture, is damaged, or has too many pixels.
    """
    if not body:
        raise MalformedBody("the body is empty: send a picture, with curl as --data-binary @FILE")
    try:
        with Image.open(io.BytesIO(body), formats=PICTURE_FORMATS) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise MalformedBody(
                    f"the picture has {opened.width} x {opened.height} pixels; at most {MAX_PIXELS} are read"
                )
            upright = ImageOps.exif_transpose(opened)
            converted = upright.convert("L" if wanted.channels == 1 else "RGB")
    except UnidentifiedImageError:
        raise MalformedBody(f"the body is not a picture in one of the formats {', '.join(PICTURE_FORMATS)}") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise MalformedBody(f"the picture cannot be decoded: {error}") from None
    if converted.size != (wanted.width, wanted.height):
        converted = converted.resize((wanted.width, wanted.height), Image.Resampling.BILINEAR, reducing_gap=3.0)
    return np.asarray(converted, np.uint8).reshape(wanted.height, wanted.width, wanted.channels)


def lines(body: bytes) -> Array:
    """Read one text a line from UTF-8; an array of `str`."""
    if not body:
        raise MalformedBody("the body is empty: send one text a line")
    texts = _utf8(body).split("\n")
    if len(texts) > 1 and texts[-1] == "":
        texts.pop()
    array = np.empty(len(texts), object)
    array[:] = [text.removesuffix("\r") for text in texts]
    return array


def table(body: bytes, spec: InputSpec) -> Array:
    """Read rows of numbers from CSV: by column name if there is a header, else by position.

    Raises:
        MalformedBody: no rows, a missing column, or a value that is not a finite number; names row and column.
    """
    rows = [row for row in csv.reader(io.StringIO(_utf8(body))) if row]
    columns = list(spec.columns or ())
    if rows and columns and not _is_number(rows[0][0]):
        header = [name.strip() for name in rows.pop(0)]
        missing = [name for name in columns if name not in header]
        if missing:
            raise MalformedBody(_lacking(missing, header, one_line=not rows))
        positions = [header.index(name) for name in columns]
    else:
        positions = list(range(len(columns) or (spec.shape[-1] or len(rows[0]) if rows else 0)))
    if not rows:
        raise MalformedBody("the CSV has no rows of data")
    return np.array([_numbers(row, number, positions, columns) for number, row in enumerate(rows, 1)], spec.dtype)


def _lacking(missing: Sequence[str], header: Sequence[str], *, one_line: bool) -> str:
    found = ", ".join(header[:40]) + (", …" if len(header) > 40 else "")
    hint = ""
    if one_line and len(header) > 1:
        hint = "; it is one line: curl keeps line ends with --data-binary, not with -d"
    elif len(header) == 1 and ";" in header[0]:
        hint = "; columns are separated by commas, not semicolons"
    return f"the CSV header lacks the columns {', '.join(missing)}; it has {found}{hint}"


def _numbers(row: Sequence[str], number: int, positions: Sequence[int], columns: Sequence[str]) -> list[float]:
    if len(row) <= max(positions):
        raise MalformedBody(f"row {number} of the CSV has {len(row)} values, expected {max(positions) + 1}")
    values = []
    for index, position in enumerate(positions):
        if not _is_number(row[position]):
            name = columns[index] if columns else str(position + 1)
            raise MalformedBody(f"row {number}, column {name!r}: {row[position]!r} is not a finite number")
        values.append(float(row[position]))
    return values


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _utf8(body: bytes) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MalformedBody(f"the body is not UTF-8: {error.reason} at byte {error.start}") from None


def _from_json(body: bytes, model: Described) -> dict[str, Array]:
    message = parse(body)
    if not isinstance(message, dict) or "inputs" not in message:
        raise MalformedBody('expected a JSON object with "inputs": rows, or {name: rows}')
    inputs = message["inputs"]
    if not isinstance(inputs, dict):
        if len(model.inputs) > 1:
            raise MalformedBody(f"inputs: this model has {len(model.inputs)} inputs, send an object of name: rows")
        inputs = {model.inputs[0].name: inputs}
    specs = {spec.name: spec for spec in model.inputs}
    for name in inputs:
        if name not in specs:
            raise WrongTensor(f"unknown input {name!r}; the model takes: {', '.join(specs)}")
    return {name: _rows(value, specs[name]) for name, value in inputs.items()}


def _rows(value: Any, spec: InputSpec) -> Array:
    """Read rows from JSON; a single row may come without the list around it."""
    array = tensor_from_json(value if isinstance(value, list) else [value], TensorSpec.promised(spec))
    if array.ndim == len(spec.shape) - 1:
        array = array[None]
    if spec.image is not None and spec.image.channels == 1 and array.shape[-1] != 1:
        array = array[..., None] if array.ndim == 3 else array
    return array


def encode(outputs: Arrays, model: Described, *, model_name: str, model_version: int) -> bytes:
    """Write the answer for people: one object a row, probabilities sorted and labelled.

    Raises:
        UnrepresentableOutput: an output holds NaN or Infinity.
    """
    for name, array in outputs.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise UnrepresentableOutput(f"output {name!r} holds NaN or Infinity, which JSON cannot carry")
    rows = len(next(iter(outputs.values())))
    answer = {
        "model": model_name,
        "version": model_version,
        "digest": model.digest,
        "predictions": [_prediction(outputs, model, row) for row in range(rows)],
    }
    return orjson.dumps(answer, option=orjson.OPT_APPEND_NEWLINE)


def _prediction(outputs: Arrays, model: Described, row: int) -> dict[str, Any]:
    prediction: dict[str, Any] = {}
    for spec in model.outputs:
        values = np.asarray(outputs[spec.name][row])
        if spec.kind == "probabilities" and values.ndim == 1 and spec.labels is not None:
            prediction |= _classes(values, spec)
        elif values.size == 1:
            prediction[spec.name] = values.ravel().tolist()[0]
        else:
            prediction[spec.name] = values.tolist()
    return prediction


def _classes(probabilities: Array, spec: OutputSpec) -> dict[str, Any]:
    assert spec.labels is not None
    order = np.argsort(-probabilities, kind="stable")
    classes = [{"label": spec.labels[index], "probability": float(probabilities[index])} for index in order]
    return {"label": classes[0]["label"], "probability": classes[0]["probability"], spec.name: classes}

"""What people send by hand: pictures, CSV, lines of text, forms, simple JSON; and an answer that reads well.

Turns such a body into the tensors that a model's manifest describes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal, Protocol

import numpy as np
import orjson

from model_store.manifest import InputSpec, OutputSpec
from service.codec import detections, forms
from service.codec.columns import columns_of_csv, columns_of_fields, columns_of_json, is_table
from service.codec.forms import Part
from service.codec.json_tensors import parse, tensor_from_json
from service.codec.pictures import MAX_PIXELS_TOGETHER, picture, pixels, upright_size
from service.codec.rows import lines, row_of_fields, table, texts, utf8
from service.errors import BodyTooLarge, MalformedBody, UnrepresentableOutput, UnsupportedMedia, WrongTensor
from service.tensors import Array, Arrays, Signature, TensorSpec

# Sent by curl and others that were not told what they send: the model's input decides.
_UNTOLD = frozenset({"", "application/octet-stream", forms.URLENCODED})

Kind = Literal["json", "picture", "text", "csv"]
_OF_INPUT: dict[str, Kind] = {"image": "picture", "text": "text"}
_OF_TYPE: dict[str, Kind] = {"application/json": "json", "text/csv": "csv"}
_OF_SUFFIX: dict[str, Kind] = {".json": "json", ".csv": "csv"}


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


@dataclass(frozen=True, slots=True)
class Asked:
    """A model's input tensors, and of each of their rows the file that it came from (none: nothing is known).

    `sizes` are those of the pictures as they were sent, where the model answers with boxes in them.
    """

    inputs: dict[str, Array]
    files: tuple[str | None, ...] = ()
    sizes: tuple[detections.Size | None, ...] = ()


def decode(body: bytes, content_type: str, model: Described, *, max_text_bytes: int) -> Asked:
    """Make a model's input tensors from a body, by its content type.

    `image/*` is one picture, `text/csv` rows of numbers (with or without a header) or of a table's columns (with
    one), other `text/*` one text a line, `application/json` `{"inputs": rows}` or `{"inputs": {name: rows}}`, and
    `multipart/form-data` any number of these, which become one batch. Without a telling content type the kind of the
    model's input decides.

    Raises:
        UnsupportedMedia: the content type is none of these, or does not fit the model's input.
        MalformedBody, WrongTensor: the body cannot be read; the message says where.
        BodyTooLarge: what is not a picture has more than `max_text_bytes`.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == forms.MULTIPART:
        if not any(spec.kind == "image" for spec in model.inputs):
            _check_size(len(body), max_text_bytes)
        return _from_parts(forms.multipart(body, content_type), model, max_text_bytes)
    kind = _kind_of_body(body, media_type, content_type, model)
    if kind != "picture":
        _check_size(len(body), max_text_bytes)
    if media_type == forms.URLENCODED and kind == "csv":
        fields = forms.urlencoded(body)
        if _columns(model).intersection(name for name, _ in fields):
            return Asked(_row_of_fields(fields, model))
    return Asked(_read(kind, body, model), sizes=_sizes([(body, 1)], model) if kind == "picture" else ())


def _sizes(bodies: Sequence[tuple[bytes, int]], model: Described) -> tuple[detections.Size | None, ...]:
    """Tell of each row how large the picture was that it came from; nothing where no answer depends on it."""
    if not detections.has_boxes(model.outputs):
        return ()
    return tuple(size for body, rows in bodies for size in (upright_size(body),) * rows)


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise BodyTooLarge(limit)


def _kind_of_body(body: bytes, media_type: str, content_type: str, model: Described) -> Kind:
    if media_type in _UNTOLD:
        kind: Kind | None = "json" if body.lstrip()[:1] == b"{" else _kind_of_input(model)
    else:
        kind = _kind_of_type(media_type)
    return _fitting(kind, f"content type {content_type!r}", model)


def _kind_of_part(part: Part, model: Described) -> Kind:
    """Tell what a part is: by its content type, else by its file's name, else by what the model takes.

    Text is what many clients call every field and many a file, so that it tells nothing.
    """
    told = _kind_of_type(part.content_type)
    if told == "text":
        told = None
    kind = told or _OF_SUFFIX.get(PurePath(part.filename or "").suffix.lower()) or _kind_of_input(model)
    if kind != "text" and not told and part.body.lstrip()[:1] == b"{":
        kind = "json"
    with _naming(part):
        return _fitting(kind, f"content type {part.content_type!r}", model)


def _kind_of_type(media_type: str) -> Kind | None:
    if media_type.startswith("image/"):
        return "picture"
    return _OF_TYPE.get(media_type) or ("text" if media_type.startswith("text/") else None)


def _kind_of_input(model: Described) -> Kind:
    return _OF_INPUT.get(model.inputs[0].kind, "csv")


def _fitting(kind: Kind | None, what: str, model: Described) -> Kind:
    """Return this kind if the model takes it."""
    if kind == "json":
        return kind
    if is_table(model.inputs):
        if kind == "csv":
            return kind
        raise UnsupportedMedia(f"{what} does not fit the columns of a table; it takes text/csv or application/json")
    if len(model.inputs) > 1:
        raise UnsupportedMedia(f"this model has {len(model.inputs)} inputs: send JSON, {{'inputs': {{name: rows}}}}")
    (spec,) = model.inputs
    taken = {"image": "picture", "text": "text", "features": "csv", "vector": "csv"}.get(spec.kind)
    if kind is None or kind != taken:
        raise UnsupportedMedia(
            f"{what} does not fit input {spec.name!r} of kind {spec.kind!r}; it takes {_takes(spec)}"
        )
    return kind


def _takes(spec: InputSpec) -> str:
    own = {"image": "image/png, image/jpeg, image/webp or ", "text": "text/plain or ", "tensor": ""}
    return own.get(spec.kind, "text/csv or ") + "application/json"


def _read(kind: Kind, body: bytes, model: Described) -> dict[str, Array]:
    if kind == "json":
        return _from_json(body, model)
    if is_table(model.inputs):
        return columns_of_csv(body, model.inputs)
    (spec,) = model.inputs
    if kind == "text":
        return {spec.name: lines(body, spec)}
    if kind == "csv":
        return {spec.name: table(body, spec)}
    assert spec.image is not None
    return {spec.name: picture(body, spec.image)[None].astype(spec.dtype, copy=False)}


def _from_parts(parts: Sequence[Part], model: Described, max_text_bytes: int) -> Asked:
    """Read a form's parts, and put their rows together into one batch; fields named as columns are a row."""
    columns = _columns(model)
    fields = [part for part in parts if part.filename is None and part.field in columns]
    others = [part for part in parts if part.filename is not None or not fields]
    if len(model.inputs) > 1 and len(others) > 1 and not is_table(model.inputs):
        raise UnsupportedMedia(f"this model has {len(model.inputs)} inputs: send one part, of JSON")
    kinds = [_kind_of_part(part, model) for part in others]
    pictures = [part for part, kind in zip(others, kinds, strict=True) if kind == "picture"]
    _check_size(sum(len(part.body) for part in parts) - sum(len(part.body) for part in pictures), max_text_bytes)
    seen = sum(pixels(part.body) for part in pictures)
    if seen > MAX_PIXELS_TOGETHER:
        raise MalformedBody(f"the pictures have {seen} pixels together; at most {MAX_PIXELS_TOGETHER} are read")
    found = [(part, _read_part(part, kind, model)) for part, kind in zip(others, kinds, strict=True)]
    if fields:
        found.append((fields[0], _row_of_fields([(part.field, _text(part)) for part in fields], model)))
    return _one_batch(found, model)


def _columns(model: Described) -> set[str]:
    if is_table(model.inputs):
        return {spec.name for spec in model.inputs}
    return set(model.inputs[0].columns or ()) if len(model.inputs) == 1 else set()


def _row_of_fields(fields: Sequence[tuple[str, str]], model: Described) -> dict[str, Array]:
    if is_table(model.inputs):
        return columns_of_fields(fields, model.inputs)
    (spec,) = model.inputs
    return {spec.name: row_of_fields(fields, spec)}


def _read_part(part: Part, kind: Kind, model: Described) -> dict[str, Array]:
    if kind == "text" and part.filename is None:
        # A form's field is one text, however many lines it has; browsers write their ends as CRLF.
        return {model.inputs[0].name: texts([_text(part).replace("\r\n", "\n")], model.inputs[0])}
    with _naming(part):
        return _read(kind, part.body, model)


def _text(part: Part) -> str:
    with _naming(part):
        return utf8(part.body)


@contextmanager
def _naming(part: Part) -> Iterator[None]:
    """Name the part in the errors that it leads to."""
    try:
        yield
    except (MalformedBody, UnsupportedMedia, WrongTensor) as error:
        raise type(error)(f"{part}: {error}") from None


def _one_batch(found: Sequence[tuple[Part, dict[str, Array]]], model: Described) -> Asked:
    """Put the rows of all parts one under another, and note of each row which file it came from."""
    if len(found) == 1:
        part, inputs = found[0]
        rows = max((len(array) if array.ndim else 1 for array in inputs.values()), default=0)
        return Asked(inputs, (part.filename,) * rows, _sizes([(part.body, rows)], model))
    together = {spec.name: _one_under_another(found, spec) for spec in model.inputs}
    counts = [len(inputs[model.inputs[0].name]) for _, inputs in found]
    files = tuple(part.filename for (part, _), rows in zip(found, counts, strict=True) for _ in range(rows))
    sizes = _sizes([(part.body, rows) for (part, _), rows in zip(found, counts, strict=True)], model)
    return Asked(together, files, sizes)


def _one_under_another(found: Sequence[tuple[Part, dict[str, Array]]], spec: InputSpec) -> Array:
    first = found[0][1].get(spec.name)
    for part, inputs in found:
        array = inputs.get(spec.name)
        if first is None or array is None or array.ndim == 0 or array.shape[1:] != first.shape[1:]:
            received = "none" if array is None else list(array.shape)
            raise WrongTensor(f"{part}: its rows do not fit under those of {found[0][0]}: received shape {received}")
    return np.concatenate([inputs[spec.name] for _, inputs in found])


def _from_json(body: bytes, model: Described) -> dict[str, Array]:
    message = parse(body)
    if not isinstance(message, dict) or "inputs" not in message:
        is_v1 = isinstance(message, dict) and "instances" in message
        hint = '; "instances" are asked about at /v1/models/MODEL:predict' if is_v1 else ""
        raise MalformedBody(f'expected a JSON object with "inputs": rows, or {{name: rows}}{hint}')
    inputs = message["inputs"]
    if is_table(model.inputs):
        return columns_of_json(inputs, model.inputs)
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
    """Read rows from JSON: a single row may come without the list around it, a grey picture without its channel.

    What fits in no such way stays as it was sent, so that the error tells the shape that was sent.
    """
    array = tensor_from_json(value if isinstance(value, list) else [value], TensorSpec.promised(spec))
    if spec.shape == ():
        return array if isinstance(value, list) else array.reshape(())
    of_any_number = TensorSpec(spec.name, "", (None, *spec.shape[1:]))
    is_grey = spec.image is not None and spec.image.channels == 1
    ways = [array, array[None], *([array[..., None], array[None, ..., None]] if is_grey else [])]
    return next((way for way in ways if of_any_number.accepts(way.shape)), array)


def runs(inputs: Arrays, signature: Signature) -> list[Arrays]:
    """Cut a request into single rows for a model that takes exactly one at a time; leave any other as it is."""
    counts = {array.shape[:1] for array in inputs.values()}
    if any(spec.shape[:1] != (1,) for spec in signature.inputs) or len(counts) != 1 or not min(counts):
        return [inputs]
    ((rows,),) = counts
    return [{name: array[row : row + 1] for name, array in inputs.items()} for row in range(rows)]


def encode(
    answers: Sequence[Arrays],
    model: Described,
    *,
    batched: bool,
    files: Sequence[str | None] = (),
    sizes: Sequence[detections.Size | None] = (),
    model_name: str,
    model_version: int,
) -> bytes:
    """Write the answer for people: one object a row, probabilities sorted and labelled, with its file's name.

    What a detector found is a list; its boxes count the pixels of the picture as it was sent.

    Args:
        answers: a model's outputs, of one run or of several.
        model: what is known of the model.
        batched: whether each run's outputs have one entry a row; otherwise a run is one prediction.
        files: where each row came from, as far as that is known.
        sizes: width and height of the picture that each row came from, as far as that is known.
        model_name: the model's name.
        model_version: the version that computed it.

    Raises:
        UnrepresentableOutput: an output holds NaN or Infinity.
    """
    for name, array in ((name, array) for outputs in answers for name, array in outputs.items()):
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise UnrepresentableOutput(f"output {name!r} holds NaN or Infinity, which JSON cannot carry")
    rows = [values for outputs in answers for values in _by_row(outputs, batched=batched)]
    known = sizes if len(sizes) == len(rows) else [None] * len(rows)
    predictions = [_prediction(values, model, size) for values, size in zip(rows, known, strict=True)]
    if len(files) == len(predictions):
        named = zip(files, predictions, strict=True)
        predictions = [{"file": file} | prediction if file else prediction for file, prediction in named]
    answer = {
        "model": model_name,
        "version": model_version,
        "digest": f"sha256:{model.digest}",
        "predictions": predictions,
    }
    return orjson.dumps(answer, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY)


def _by_row(outputs: Arrays, *, batched: bool) -> list[dict[str, Array]]:
    """Give each prediction's values; an output of a single row stands without the list around it."""
    arrays = {name: np.asarray(array) for name, array in outputs.items()}
    if not batched:
        return [{name: array[0] if array.shape[:1] == (1,) else array for name, array in arrays.items()}]
    rows = len(next(iter(arrays.values())))
    return [{name: np.asarray(array[row]) for name, array in arrays.items()} for row in range(rows)]


def _prediction(outputs: Arrays, model: Described, sent: detections.Size | None) -> dict[str, Any]:
    prediction: dict[str, Any] = {}
    found, scale = detections.find(model.outputs), detections.scale_to(sent, model.inputs)
    if found is not None:
        prediction["detections"] = found.listed(outputs, scale)
    for spec in model.outputs:
        if found is not None and spec.name in found.names:
            continue
        values = np.asarray(outputs[spec.name])
        if spec.kind == "probabilities" and spec.labels is not None and values.shape == (len(spec.labels),):
            prediction |= _classes(values, spec)
        elif spec.kind == "boxes" and values.shape[-1:] == (4,):
            prediction[spec.name] = detections.scaled(values, scale)
        elif values.size == 1:
            prediction[spec.name] = values.ravel()[0]
        else:
            # As numbers of NumPy's types, which orjson writes with as many digits as they have.
            prediction[spec.name] = values.tolist() if values.dtype == object else np.ascontiguousarray(values)
    return prediction


def _classes(probabilities: Array, spec: OutputSpec) -> dict[str, Any]:
    assert spec.labels is not None
    order = np.argsort(-probabilities, kind="stable")
    classes = [{"label": spec.labels[index], "probability": probabilities[index]} for index in order]
    return {"label": classes[0]["label"], "probability": classes[0]["probability"], spec.name: classes}

"""Requests that work as they are printed: a value for every kind of input, and lines for a shell."""

from __future__ import annotations

import csv
import io
import json
import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from model_store.manifest import InputSpec
from service.codec.oip import NOT_IN_JSON
from service.openapi.served import Served, only_input, table_of
from service.tensors import TensorSpec

# A digit, white on black, as PNG in base64: pictures are resized to what a model takes.
PICTURE = (
    "iVBORw0KGgoAAAANSUhEUgAAAA4AAAAOCAAAAAA6I3INAAAAJUlEQVR42mNgIAb8/8/AwMDAwATlQUUh3P+MKFwYD6aYBlz8AACL"
    "3QQRNXAJLwAAAABJRU5ErkJggg=="
)
SENTENCE = "a sentence to judge"
# More values than these are made by the shell instead of being printed, or left out.
PRINTED_VALUES = 64
DESCRIBED_VALUES = 4096


@dataclass(frozen=True, slots=True)
class Command:
    """A line for the shell, and what it shows."""

    title: str
    line: str


def inference_request(model: Served) -> dict[str, Any] | None:
    """Write an inference request of one row; None if JSON cannot carry what the model takes, or if it is too long."""
    if not _may_be_json(model) or _values(model) > DESCRIBED_VALUES:
        return None
    values = _example_values(model)
    return {"inputs": [_tensor(spec) | {"data": [values[spec.name]] * _size(spec)} for spec in model.signature.inputs]}


def simple(model: Served) -> dict[str, Any] | None:
    """Write the friendly route's JSON: nested rows, by input if there are several; None as above."""
    if not _may_be_json(model) or _values(model) > DESCRIBED_VALUES:
        return None
    if table_of(model):
        return {"inputs": [_example_values(model)]}
    rows = {spec.name: _nested(_value(spec), [size or 1 for size in spec.shape]) for spec in model.signature.inputs}
    return {"inputs": rows if len(rows) > 1 else next(iter(rows.values()))}


def csv_rows(spec: InputSpec) -> str:
    """Write a row of numbers, below its columns' names where they are known."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    if spec.columns:
        writer.writerow(spec.columns)
    writer.writerow([0.5 if spec.dtype.startswith("float") else 0] * (spec.shape[-1] or 1))
    return file.getvalue()


def csv_table(columns: Sequence[InputSpec]) -> str:
    """Write a row of a table below its columns' names."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([[spec.name for spec in columns], map(_cell, columns)])
    return file.getvalue()


def v1_predict(model: Served) -> dict[str, Any] | None:
    """Write a predict request of TensorFlow Serving's interface; None as above."""
    spec = only_input(model)
    if spec is not None and spec.kind == "image":
        return {"instances": [{"b64": PICTURE}]}
    if table_of(model):
        return {"instances": [_example_values(model)]}
    return simple(model)


def commands(model: Served, root: str, path: str) -> list[Command]:
    """Write lines for a shell that ask a model, the simplest first; none if it takes nothing that a line can write.

    Args:
        model: the model.
        root: the service's address, which ends with a slash.
        path: the model's name, or that and `/versions/V`.
    """
    inference = _inference_words(model)
    v1 = v1_predict(model)
    is_short = _values(model) <= PRINTED_VALUES or (v1 is not None and "instances" in v1)
    by_hand = _by_hand(model, f"{root}v2/models/{path}/predict")
    found = [by_hand] if by_hand else []
    if inference:
        address = shlex.quote(f"{root}v2/models/{path}/infer")
        found.append(Command("The protocol's request, with one row", f"curl -d {inference} {address}"))
    if v1 and is_short:
        line = shlex.join(["curl", "-d", json.dumps(v1), f"{root}v1/models/{path}:predict"])
        found.append(Command("TensorFlow Serving's request", line))
    return found


def short_command(model: Served, root: str, path: str) -> Command | None:
    """Write the simplest line that asks a model, as `commands` does, but with a picture of the reader's own."""
    spec = only_input(model)
    if spec is not None and spec.kind == "image":
        words = ["curl", "--data-binary", "@picture.png", f"{root}v2/models/{path}/predict"]
        return Command("A picture", shlex.join(words))
    return next(iter(commands(model, root, path)), None)


def _by_hand(model: Served, address: str) -> Command | None:
    if columns := table_of(model):
        arguments = ["-H", "Content-Type: text/csv", "--data-binary", csv_table(columns)]
        title = "Rows of a table, in any order of its columns; of your own: --data-binary @FILE"
        return Command(title, shlex.join(["curl", *arguments, address]))
    spec = only_input(model)
    kind = spec.kind if spec else "tensor"
    if spec and kind == "image":
        asking = shlex.join(["curl", "--data-binary", "@-", address])
        return Command("A picture; of your own: --data-binary @FILE", f"echo {PICTURE} | base64 -d | {asking}")
    if spec and kind == "text":
        return Command("A text", shlex.join(["curl", "-H", "Content-Type: text/plain", "-d", SENTENCE, address]))
    if spec and kind in ("features", "vector"):
        arguments = ["-H", "Content-Type: text/csv", "--data-binary", csv_rows(spec)]
        return Command("Rows of numbers; of your own: --data-binary @FILE", shlex.join(["curl", *arguments, address]))
    body = simple(model) if _values(model) <= PRINTED_VALUES else None
    if body is None:
        return None
    arguments = ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
    return Command("Simple JSON", shlex.join(["curl", *arguments, address]))


def _inference_words(model: Served) -> str | None:
    """Write an inference request as an argument for a shell, which makes long lists of values itself."""
    if not _may_be_json(model):
        return None
    values = _example_values(model)
    text, made = '{"inputs": [', []
    for number, spec in enumerate(model.signature.inputs):
        text += (", " if number else "") + json.dumps(_tensor(spec))[:-1] + ', "data": '
        if _size(spec) <= PRINTED_VALUES:
            text += json.dumps([values[spec.name]] * _size(spec)) + "}"
        else:
            program = shlex.quote(f"import json; print(json.dumps([{values[spec.name]!r}] * {_size(spec)}))")
            made.append(f'{shlex.quote(text)}"$(python3 -c {program})"')
            text = "}"
    return "".join(made) + shlex.quote(text + "]}")


def _may_be_json(model: Served) -> bool:
    return not any(spec.datatype in NOT_IN_JSON for spec in model.signature.inputs)


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "shape": [size or 1 for size in spec.shape], "datatype": spec.datatype}


def _size(spec: TensorSpec) -> int:
    return math.prod(size or 1 for size in spec.shape)


def _values(model: Served) -> int:
    return sum(_size(spec) for spec in model.signature.inputs)


def _example_values(model: Served) -> dict[str, str | bool | float]:
    """Give each input a value; a column of categories one that the model knows."""
    values = {spec.name: _value(spec) for spec in model.signature.inputs}
    return values | {spec.name: _cell(spec) for spec in table_of(model)}


def _cell(spec: InputSpec) -> str | bool | float:
    if spec.dtype == "string":
        return spec.categories[0] if spec.categories else "other"
    return _value(TensorSpec.promised(spec))


def _value(spec: TensorSpec) -> str | bool | float:
    if spec.datatype == "BYTES":
        return SENTENCE
    if spec.datatype == "BOOL":
        return False
    return 0.5 if spec.datatype.startswith("FP") else 0


def _nested(value: Any, shape: Sequence[int]) -> Any:
    return [_nested(value, shape[1:]) for _ in range(shape[0])] if shape else value

"""Asks a service about real held-out inputs (the golden rows of each model) and prints answers beside the truth."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
from background_service import Service

from model_store import Golden, Manifest, StoredVersion
from model_store.manifest import OutputSpec

SHADES = " .:-=+*#%@"
DATATYPES = {"uint8": "UINT8", "float32": "FP32", "int32": "INT32", "int64": "INT64", "string": "BYTES"}


def show(service: Service, stored: StoredVersion, *, row: int = 0) -> None:
    """Send one golden row of a model over HTTP, and print input, answer and truth."""
    manifest, golden = stored.manifest, stored.golden()
    spec = manifest.inputs[0]
    value = golden.inputs[spec.name][row : row + 1]
    request = {
        "name": spec.name,
        "shape": value.shape,
        "datatype": DATATYPES[spec.dtype],
        "data": value.ravel().tolist(),
    }
    path = f"/v2/models/{stored.model}/versions/{stored.version}/infer"
    response = service.ask(path, {"inputs": [request]})
    output = response["outputs"][0]
    answer = np.array(output["data"]).reshape(output["shape"])[0]
    print(f"\n── {stored.model}, version {response['model_version']}: {_made_of(manifest)}")
    print(_side_by_side(*_pictures(spec.kind, value[0], answer)) or _input_text(manifest, value[0]))
    print(_judgement(manifest.outputs[0], answer, golden, row))


def _made_of(manifest: Manifest) -> str:
    name, value = next(iter(manifest.metrics.items()))
    return (
        f"{manifest.recipe} trained on {manifest.dataset.name}, {name.replace('_', ' ')} {value:.4g} on held-out data"
    )


def _pictures(kind: str, value: Any, answer: Any) -> list[tuple[str, list[str]]]:
    if kind != "image":
        return []
    shown = [("sent", _shaded(value / 255))]
    if answer.ndim == 3:
        shown.append(("reconstructed", _shaded(answer)))
    return shown


def _shaded(picture: Any) -> list[str]:
    """Draw a picture of values from 0 to 1 in characters, two for each pixel."""
    grey = picture.mean(axis=-1)
    step = max(1, grey.shape[0] // 14)
    grey = grey[::step, ::step]
    levels = np.clip(grey * len(SHADES), 0, len(SHADES) - 1).astype(int)
    return ["".join(SHADES[level] * 2 for level in row) for row in levels]


def _side_by_side(*columns: tuple[str, list[str]]) -> str:
    if not columns:
        return ""
    width = max(len(line) for _, lines in columns for line in lines) + 4
    rows = list(zip(*(lines for _, lines in columns), strict=True))
    drawn = [index for index, row in enumerate(rows) if "".join(row).strip()] or [0]
    shown = [tuple(title for title, _ in columns), *rows[drawn[0] : drawn[-1] + 1]]
    return "\n".join("   " + "".join(cell.ljust(width) for cell in row).rstrip() for row in shown)


def _input_text(manifest: Manifest, value: Any) -> str:
    spec = manifest.inputs[0]
    if spec.kind == "text":
        sent = f"“{value}”"
    elif spec.columns:
        sent = ", ".join(f"{name} {number:.4g}" for name, number in zip(spec.columns, value, strict=True))
    else:
        sent = f"{value.size} numbers"
    return textwrap.fill(sent, 100, initial_indent="   sent: ", subsequent_indent="         ")


def _judgement(spec: OutputSpec, answer: Any, golden: Golden, row: int) -> str:
    truth = None if golden.truth is None else golden.truth[row]
    if spec.kind == "probabilities" and spec.labels:
        best = int(answer.argmax())
        verdict = "" if truth is None else f", the truth is {spec.labels[int(truth)]!r}"
        return f"   answer: {spec.labels[best]!r} with {answer[best]:.1%}{verdict}"
    if spec.kind == "value":
        return f"   answer: {float(answer[0]):.4g}" + ("" if truth is None else f", the truth is {float(truth):.4g}")
    if spec.kind == "reconstruction":
        original = golden.inputs[next(iter(golden.inputs))][row] / 255
        return f"   mean squared error of this reconstruction: {float(np.mean((answer - original) ** 2)):.4f}"
    return f"   answer: {np.array2string(answer, precision=3, threshold=8)}"

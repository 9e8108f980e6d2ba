"""Looks at an ONNX file as ONNX's own checker does, and at its signature. Knows neither Keras nor onnxruntime.

`ovenbird store verify` finds `check` through an entry point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx

from model_store import StoredVersion
from model_store.manifest import InputSpec, OutputSpec

STANDARD_DOMAINS = {"", "ai.onnx", "ai.onnx.ml"}


def check(stored: StoredVersion) -> list[str]:
    """Return a line for each thing that is wrong with a published model's file."""
    try:
        model = onnx.load(stored.onnx_path)
    except Exception as error:  # protobuf's errors differ between its implementations
        return [f"not an ONNX file: {_one_line(error)}"]
    if stored.is_bare:
        return problems(model)
    manifest = stored.manifest
    return problems(model) or [
        *signature_problems("input", model.graph.input, manifest.inputs),
        *signature_problems("output", model.graph.output, manifest.outputs),
    ]


def problems(model: Any) -> list[str]:
    """Run ONNX's checker on a model, with inference of shapes wherever that is safe."""
    try:
        onnx.checker.check_model(model, full_check=_can_infer_shapes(model))
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        return [_one_line(error)]
    return []


def signature_problems(what: str, values: Sequence[Any], specs: Sequence[InputSpec | OutputSpec]) -> list[str]:
    """Compare the graph's inputs or outputs with what the manifest says of them."""
    received = {value.name: _signature(value) for value in values}
    expected = {spec.name: (spec.dtype, spec.shape) for spec in specs}
    if received == expected:
        return []
    return [f"{what}s are {_listed(received)}, the manifest says {_listed(expected)}"]


def _can_infer_shapes(model: Any) -> bool:
    """Tell whether every foreign operator's outputs are declared: else the checker may crash the process."""
    declared = {value.name for value in [*model.graph.value_info, *model.graph.output]}
    foreign = (node for node in model.graph.node if node.domain not in STANDARD_DOMAINS)
    return all(name in declared for node in foreign for name in node.output if name)


def _signature(value: Any) -> tuple[str, tuple[int | None, ...]]:
    tensor = value.type.tensor_type
    dtype = "string" if tensor.elem_type == onnx.TensorProto.STRING else _dtype(tensor.elem_type)
    return dtype, tuple(size.dim_value or None for size in tensor.shape.dim)


def _dtype(element: int) -> str:
    return str(onnx.helper.tensor_dtype_to_np_dtype(element).name)


def _listed(signature: Mapping[str, tuple[str, tuple[int | None, ...]]]) -> str:
    return ", ".join(f"{name} {dtype}{list(shape)}" for name, (dtype, shape) in signature.items()) or "none"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]

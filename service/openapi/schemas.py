"""JSON Schemas (2020-12) of what is sent and answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from model_store.manifest import InputSpec
from service.codec.oip import NOT_IN_JSON
from service.tensors import NUMPY_DTYPES, Signature, TensorSpec

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
YES_OR_NO: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
SIZES: Schema = {"type": "array", "items": {"type": "integer", "minimum": 0}}
NAMES: Schema = {"type": "array", "items": TEXT}


def record(required: Sequence[str] = (), **properties: Schema) -> Schema:
    """Describe an object; further properties are allowed, as the service ignores them."""
    return {"type": "object", "properties": properties} | ({"required": list(required)} if required else {})


def listed(items: Schema, **bounds: int) -> Schema:
    """Describe a list."""
    return {"type": "array", "items": items, **bounds}


def reference(name: str) -> Schema:
    """Refer to one of `COMPONENTS`."""
    return {"$ref": f"#/components/schemas/{name}"}


_TENSOR = record(
    ("name", "datatype", "shape"),
    name=TEXT,
    datatype={"enum": sorted(NUMPY_DTYPES)},
    shape={"type": "array", "items": {"type": "integer", "minimum": -1}, "description": "-1: of any size"},
)

# Triton's schedule policy and binary tensor data extensions.
_REQUEST_PARAMETERS = record(
    priority=COUNT | {"description": "1 is the highest, 0 the default"},
    timeout=COUNT | {"description": "in microseconds; never longer than the service allows"},
    binary_data_output=YES_OR_NO,
) | {"type": ["object", "null"]}
_OUTPUT_PARAMETERS = record(
    classification=COUNT | {"description": "only so many best entries, as value:index:label"}, binary_data=YES_OR_NO
) | {"type": ["object", "null"]}

_PREDICTION: Schema = {
    "type": "object",
    "properties": {
        "file": TEXT | {"description": "the file that was sent, where its name was told"},
        # Of any type: a model may have outputs of these names.
        "label": {"description": "of a classifier, the name of the most probable class"},
        "probability": {"description": "of a classifier, that of the most probable class"},
        "detections": {
            "description": "of a detector, what it found, the surest first: label, score, and box as left, top, right, "
            "bottom in pixels of the picture as it was sent (of JSON: in pixels of the model's input)"
        },
    },
    "description": "each output under its name; probabilities sorted, with labels where they are known",
}

COMPONENTS: dict[str, Schema] = {
    "Error": record(("error",), error=TEXT | {"description": "what came, what was expected and where"}),
    "ServerMetadata": record(("name", "version", "extensions"), name=TEXT, version=TEXT, extensions=NAMES),
    "Live": record(("live",), live=YES_OR_NO),
    "Ready": record(("ready",), ready=YES_OR_NO, reason=TEXT),
    "ModelReady": record(("name", "ready"), name=TEXT, ready=YES_OR_NO, error=TEXT),
    "Tensor": _TENSOR,
    "ModelMetadata": record(
        ("name", "versions", "platform", "inputs", "outputs", "properties"),
        name=TEXT,
        versions=NAMES,
        platform=TEXT,
        inputs=listed(reference("Tensor")),
        outputs=listed(reference("Tensor")),
        properties={"type": "object", "additionalProperties": TEXT},
    ),
    "Configuration": record(
        ("name", "platform", "max_batch_size", "input", "output", "version_policy", "parameters"),
        name=TEXT,
        platform=TEXT,
        backend=TEXT,
        max_batch_size=COUNT | {"description": "0: rows do not run together"},
        version_policy={"type": "object"},
        input=listed(reference("ConfiguredTensor")),
        output=listed(reference("ConfiguredTensor")),
        parameters={"type": "object", "additionalProperties": record(("string_value",), string_value=TEXT)},
    ),
    "ConfiguredTensor": record(
        ("name", "data_type", "dims"), name=TEXT, data_type=TEXT, dims=listed({"type": "integer", "minimum": -1})
    ),
    "Statistics": record(
        ("model_stats",),
        model_stats=listed(
            record(
                ("name", "version", "inference_count", "execution_count", "inference_stats", "batch_stats"),
                name=TEXT,
                version=TEXT,
                last_inference=COUNT | {"description": "milliseconds since 1970"},
                inference_count=COUNT | {"description": "rows computed"},
                execution_count=COUNT | {"description": "batches run"},
                inference_stats={"type": "object", "additionalProperties": reference("Duration")},
                batch_stats=listed(
                    record(
                        ("batch_size",),
                        batch_size=COUNT,
                        compute_input=reference("Duration"),
                        compute_infer=reference("Duration"),
                        compute_output=reference("Duration"),
                    )
                ),
                expected_compute=listed(record(("batch_size", "ns"), batch_size=COUNT, ns=COUNT))
                | {"description": "run time of a batch, as measured when the version was loaded"},
            )
        ),
    ),
    "Duration": record(("count", "ns"), count=COUNT, ns=COUNT),
    "LogSettings": {
        "type": "object",
        "properties": {
            "log_file": {"const": ""},
            "log_info": YES_OR_NO,
            "log_warning": YES_OR_NO,
            "log_error": YES_OR_NO,
            "log_verbose_level": {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
            "log_format": {"const": "default"},
        },
        "additionalProperties": False,
    },
    "InferenceRequest": record(
        ("inputs",),
        inputs=listed(
            record(("name", "shape", "datatype", "data"), name=TEXT, shape=SIZES, datatype=TEXT, data={}), minItems=1
        ),
        outputs={"type": ["array", "null"], "items": record(("name",), name=TEXT, parameters=_OUTPUT_PARAMETERS)},
        id={"type": ["string", "null"]},
        parameters=_REQUEST_PARAMETERS,
    ),
    "InferenceResponse": record(
        ("model_name", "outputs"),
        model_name=TEXT,
        model_version=TEXT,
        id=TEXT,
        outputs=listed(
            record(
                ("name", "datatype", "shape"),
                name=TEXT,
                datatype={"enum": sorted(NUMPY_DTYPES)},
                shape=SIZES,
                data={"type": "array", "items": {"type": ["number", "string", "boolean"]}},
                parameters=record(binary_data_size=COUNT),
            )
        ),
    ),
    "Simple": record(("inputs",), inputs={"description": "rows, or an object of input names and rows"}),
    "Predictions": record(
        ("model", "version", "digest", "predictions"),
        model=TEXT,
        version={"type": "integer"},
        digest=TEXT | {"description": "the sha256 of the ONNX file, after sha256:"},
        predictions=listed(_PREDICTION),
    ),
    "Index": listed(
        record(
            ("name", "version", "state", "reason"),
            name=TEXT,
            version=TEXT,
            state={"enum": ["LOADING", "READY", "UNLOADING", "UNAVAILABLE"]},
            reason=TEXT,
        )
    ),
    "V1Predict": {
        "type": "object",
        "properties": {"signature_name": {"enum": ["", "serving_default"]}},
        "oneOf": [
            {"required": ["instances"], "not": {"required": ["inputs"]}},
            {"required": ["inputs"], "not": {"required": ["instances"]}},
        ],
    },
    "V1Examples": record(
        ("examples",),
        signature_name={"enum": ["", "serving_default"]},
        context={"type": "object"},
        examples=listed({"type": "object"}, minItems=1),
    ),
    # Numbers that are no numbers are written as TensorFlow Serving does: NaN, Infinity, -Infinity.
    "V1Predictions": {
        "type": "object",
        "oneOf": [{"required": ["predictions"]}, {"required": ["outputs"]}],
        "properties": {"predictions": {}, "outputs": {}},
    },
    "V1Results": record(("results",), results={"type": "array"}),
    "V1Models": record(("models",), models=NAMES),
    "V1Status": record(
        ("name", "ready", "model_version_status"),
        name=TEXT,
        ready=YES_OR_NO,
        model_version_status=listed(
            record(
                ("version", "state", "status"),
                version=TEXT,
                state={"enum": ["LOADING", "AVAILABLE", "UNLOADING", "END", "UNKNOWN"]},
                status=record(("error_code", "error_message"), error_code=TEXT, error_message=TEXT),
            )
        ),
    ),
    "V1Metadata": record(
        ("model_spec", "metadata"),
        model_spec=record(("name", "signature_name", "version"), name=TEXT, signature_name=TEXT, version=TEXT),
        metadata={"type": "object"},
    ),
}


def inference_request(signature: Signature) -> Schema:
    """Describe an inference request to one model: exactly its inputs, and any of its outputs."""
    tensors = [input_tensor(spec) for spec in signature.inputs]
    outputs = [spec.name for spec in signature.outputs]
    return record(
        ("inputs",),
        inputs=listed(
            tensors[0] if len(tensors) == 1 else {"oneOf": tensors}, minItems=len(tensors), maxItems=len(tensors)
        ),
        outputs={
            "type": ["array", "null"],
            "items": record(("name",), name={"enum": outputs}, parameters=_OUTPUT_PARAMETERS),
        },
        id={"type": ["string", "null"]},
        parameters=_REQUEST_PARAMETERS,
    )


def input_tensor(spec: TensorSpec) -> Schema:
    """Describe one input as a request has it; its data nested or flat, in row-major order."""
    sizes: list[Schema] = [
        {"type": "integer", "minimum": 1} if size is None else {"const": size} for size in spec.shape
    ]
    shape: Schema = {"type": "array", "minItems": len(sizes), "maxItems": len(sizes)}
    return record(
        ("name", "shape", "datatype", "data"),
        name={"const": spec.name},
        shape=shape | ({"prefixItems": sizes} if sizes else {}),
        datatype={"const": spec.datatype},
        data=tensor_data(spec),
    )


def table(columns: Sequence[InputSpec]) -> Schema:
    """Describe rows of a table in simple JSON: by row, or by column; what is null or left out is missing."""
    cells = {spec.name: cell(spec) for spec in columns}
    row = {"type": "object", "properties": cells, "additionalProperties": False}
    by_column = {"properties": {name: listed(one, minItems=1) for name, one in cells.items()}, "minProperties": 1}
    lists = {"type": "object", "additionalProperties": False, "description": "lists of one length"} | by_column
    return record(("inputs",), inputs={"anyOf": [listed(row, minItems=1), lists, row]})


def cell(spec: InputSpec) -> Schema:
    """Describe one cell of a column."""
    if spec.dtype == "string":
        return {"type": ["string", "number", "boolean", "null"]} | _categories(spec)
    return {"type": ["number", "null"]}


def field(spec: InputSpec) -> Schema:
    """Describe a form's field for a column: empty where it is missing."""
    if spec.dtype == "string":
        return TEXT | _categories(spec)
    return {"anyOf": [{"type": "number"}, {"const": ""}]}


def _categories(spec: InputSpec) -> Schema:
    return {"examples": list(spec.categories)} if spec.categories else {}


def tensor_data(spec: TensorSpec) -> Schema:
    """Describe a tensor's values: nested as its shape says, or flat, or one alone; null where one may be missing."""
    if spec.datatype in NOT_IN_JSON:
        return {"not": {}, "description": f"{spec.datatype} is sent as binary data only"}
    values = {"type": ["number", "null"]} if spec.may_be_missing else element(spec.datatype)
    nested = values
    for size in reversed(spec.shape):
        nested = listed(nested, minItems=size or 1, **({"maxItems": size} if size else {}))
    shapes = [values, listed(values, minItems=1)] + ([nested] if len(spec.shape) > 1 else [])
    return {"anyOf": shapes}


def element(datatype: str) -> Schema:
    """Describe one value of a datatype."""
    dtype = NUMPY_DTYPES[datatype]
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return {"type": "integer", "minimum": int(limits.min), "maximum": int(limits.max)}
    return {"type": {"b": "boolean", "f": "number"}.get(dtype.kind, "string")}

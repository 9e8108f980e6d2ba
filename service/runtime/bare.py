"""Models that come without a manifest (Triton's and TensorFlow Serving's layouts): what the ONNX file itself says.

Nothing vouches for such a model: no digest, no golden rows. Its signature is read from the file, and whether its rows
may run together is tried, since a file may promise a batch axis that it does not have.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from model_store.manifest import DType, ImageFormat, InputSpec, OutputSpec
from service.errors import ServiceError
from service.runtime.session import Session
from service.tensors import DATATYPES, NUMPY_DTYPES, Arrays, Signature, TensorSpec

_DTYPES: dict[str, DType] = {datatype: dtype for dtype, datatype in DATATYPES.items()}  # type: ignore[misc]


@dataclass(frozen=True)
class BareDescription:
    """What a manifest would say of inputs and outputs, as far as the file tells.

    `digest` is the file's sha256; with weights in other files, that of all of them, one behind the other.
    """

    inputs: tuple[InputSpec, ...]
    outputs: tuple[OutputSpec, ...]
    digest: str


def weights_beside(path: Path, model: bytes) -> dict[str, bytes]:
    """Read the files beside a model's that it keeps weights in (ONNX's external data), by name.

    PyTorch's exporter writes such a file, model.onnx.data. They are those whose names the model mentions.
    """
    others = (other for other in sorted(path.parent.iterdir()) if other != path and other.is_file())
    return {other.name: other.read_bytes() for other in others if other.name.encode() in model}


def describe(signature: Signature, model: bytes, weights: Mapping[str, bytes]) -> BareDescription:
    """Describe a model from its file, and the files of its weights."""
    return BareDescription(
        tuple(_input(spec) for spec in signature.inputs),
        tuple(
            OutputSpec(name=spec.name, dtype=_DTYPES[spec.datatype], shape=spec.shape, kind="tensor")
            for spec in signature.outputs
        ),
        hashlib.sha256(b"".join((model, *weights.values()))).hexdigest(),
    )


def _input(spec: TensorSpec) -> InputSpec:
    dtype = _DTYPES[spec.datatype]
    plain = InputSpec(name=spec.name, dtype=dtype, shape=spec.shape, kind="tensor")
    if dtype == "string" and spec.shape and all(size == 1 for size in spec.shape[1:]):
        return plain.model_copy(update={"kind": "text"})
    if dtype.startswith("float") and len(spec.shape) == 2:
        return plain.model_copy(update={"kind": "features"})
    match spec.shape:
        case (_, int(height), int(width), (1 | 3) as channels) if dtype == "uint8":
            image = ImageFormat(height=height, width=width, channels=channels)
            return plain.model_copy(update={"kind": "image", "image": image})
    return plain


def tried(session: Session) -> Signature:
    """Read a session's signature; it is batched only if so many rows out as in was seen to hold."""
    signature = session.signature
    if signature.batched and not all(_gives_a_row_for_a_row(session, rows) for rows in (2, 3)):
        return replace(signature, rows_are_independent=False)
    return signature


def _gives_a_row_for_a_row(session: Session, rows: int) -> bool:
    try:
        outputs = session.run(example(session.signature, rows))
    except ServiceError:
        return False
    return all(array.ndim > 0 and array.shape[0] == rows for array in outputs.values())


def example(signature: Signature, rows: int) -> Arrays:
    """Make inputs of zeros and empty strings: so many rows, 1 for every other open dimension."""
    shapes = {
        spec.name: tuple(size or (rows if axis == 0 else 1) for axis, size in enumerate(spec.shape))
        for spec in signature.inputs
    }
    return {
        spec.name: np.full(shapes[spec.name], "" if spec.datatype == "BYTES" else 0, NUMPY_DTYPES[spec.datatype])
        for spec in signature.inputs
    }

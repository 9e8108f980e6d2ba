"""Tensors as the service sees them: named arrays, and what a model expects of them.

The names of datatypes are those of the Open Inference Protocol V2 ("Tensor Data Types"). Knows neither HTTP nor
onnxruntime.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from model_store.manifest import InputSpec, OutputSpec
from service.errors import WrongTensor

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]

DATATYPES: dict[str, str] = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    "string": "BYTES",
}
"""dtype of the manifest → datatype of the Open Inference Protocol."""

WITH_NAN = ("float32", "float64")
"""dtypes of the manifest whose numbers may be missing in a table."""

NUMPY_DTYPES: dict[str, np.dtype[Any]] = {
    datatype: np.dtype(object if dtype == "string" else dtype) for dtype, datatype in DATATYPES.items()
}
"""datatype → NumPy dtype; strings are arrays of objects."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """What a model says of one tensor; None in `shape` is a dimension of any size.

    Of numbers that `may_be_missing`, a table's, null is taken in JSON: NaN in the array.
    """

    name: str
    datatype: str
    shape: tuple[int | None, ...]
    may_be_missing: bool = False

    @classmethod
    def promised(cls, spec: InputSpec | OutputSpec) -> Self:
        """Read what a manifest promises of one tensor."""
        return cls(spec.name, DATATYPES[spec.dtype], spec.shape, spec.kind == "column" and spec.dtype in WITH_NAN)

    @property
    def wire_shape(self) -> list[int]:
        """The shape as the protocol writes it: -1 for a dimension of any size."""
        return [-1 if size is None else size for size in self.shape]

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Tell whether an array of this shape may go in."""
        return len(shape) == len(self.shape) and all(
            wanted is None or wanted == size for wanted, size in zip(self.shape, shape, strict=True)
        )


@dataclass(frozen=True)
class Signature:
    """A model's inputs and outputs, in the order of its graph.

    `rows_are_independent` is False for a model whose rows may not run together, whatever its shapes promise.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    rows_are_independent: bool = True

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        # Signatures are keys of caches on the hot path.
        return hash((self.inputs, self.outputs, self.rows_are_independent))

    @cached_property
    def batched(self) -> bool:
        """Whether rows of several requests may run together: every tensor's first dimension is the batch."""
        return self.rows_are_independent and all(
            spec.shape and spec.shape[0] is None for spec in (*self.inputs, *self.outputs)
        )

    @property
    def fixed_but_batch(self) -> bool:
        """Whether run time depends on the rows alone: no other dimension is open, and no text is of any length."""
        return all(
            spec.datatype != "BYTES" and all(size is not None for size in spec.shape[1:]) for spec in self.inputs
        )

    @cached_property
    def output_datatypes(self) -> dict[str, str]:
        """Output name → its datatype."""
        return {spec.name: spec.datatype for spec in self.outputs}

    def check(self, inputs: Arrays) -> None:
        """Raise `WrongTensor` unless these are exactly the model's inputs, in fitting shapes."""
        wanted = {spec.name: spec for spec in self.inputs}
        for name in inputs:
            if name not in wanted:
                raise WrongTensor(f"unknown input {name!r}; the model takes: {', '.join(wanted)}")
        for name, spec in wanted.items():
            if name not in inputs:
                raise WrongTensor(f"input {name!r} is missing; the model takes: {', '.join(wanted)}")
            if not spec.accepts(inputs[name].shape):
                raise WrongTensor(
                    f"input {name!r}: expected shape {spec.wire_shape}, received {list(inputs[name].shape)}"
                )
        if self.batched and len({array.shape[0] for array in inputs.values()}) > 1:
            sizes = ", ".join(f"{name} {array.shape[0]}" for name, array in inputs.items())
            raise WrongTensor(f"the inputs differ in their number of rows: {sizes}")


def rows_of(inputs: Arrays) -> int:
    """Count the rows of a batched request."""
    return int(next(iter(inputs.values())).shape[0])


def bytes_of(inputs: Arrays) -> int:
    """Count the bytes of the arrays; strings by their characters."""
    return sum([sum(map(len, array.ravel())) if array.dtype.hasobject else array.nbytes for array in inputs.values()])


def pieces(rows: int, most: int) -> list[slice]:
    """Cut so many rows into slices of at most `most`."""
    return [slice(start, min(start + most, rows)) for start in range(0, rows, most)]

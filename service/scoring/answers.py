"""A model's outputs → columns of a table, one entry a row, as people and their tools read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from model_store.manifest import InputSpec, OutputSpec
from service.codec import detections
from service.codec.detections import Size
from service.scoring.errors import InvalidColumns
from service.tensors import Array, Arrays

DETECTIONS = pa.list_(pa.struct([("label", pa.string()), ("score", pa.float32()), ("box", pa.list_(pa.float32()))]))


@dataclass(frozen=True)
class Answers:
    """How a model's outputs become columns.

    Probabilities with labels become `label` and `probability` (for each of several such outputs with its name before
    them), and with `all_probabilities` the vector besides; class numbers with labels become labels; boxes, scores and
    classes of a detector become a list `detections`. Any other output is a column of its name.
    """

    inputs: tuple[InputSpec, ...]
    outputs: tuple[OutputSpec, ...]
    all_probabilities: bool = False
    prefix: str = ""

    @property
    def names(self) -> list[str]:
        """The columns, in their order."""
        found = detections.find(self.outputs)
        names = ["detections"] if found else []
        for spec in self.outputs:
            if found is None or spec.name not in found.names:
                names += self._names_of(spec)
        return [self.prefix + name for name in names]

    def _names_of(self, spec: OutputSpec) -> list[str]:
        if not _is_classification(spec):
            return [spec.name]
        several = sum(map(_is_classification, self.outputs)) > 1
        lead = f"{spec.name}_" if several else ""
        return [f"{lead}label", f"{lead}probability", *([spec.name] if self.all_probabilities else [])]

    def check(self, kept: Sequence[str]) -> None:
        """Raise `InvalidColumns` if two columns of the output would have one name."""
        names = [*kept, *self.names]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InvalidColumns(
                f"the column {twice[0]!r} is both kept and an answer: --prefix predicted_ renames the answers, "
                "or --keep names the columns to keep without it"
            )

    def columns(self, outputs: Arrays, sizes: Sequence[Size | None] = ()) -> dict[str, pa.Array]:
        """Make the columns of a batch's outputs; `sizes` of the pictures as they were stretch the boxes."""
        found = detections.find(self.outputs)
        scales = self._scales(len(next(iter(outputs.values()))), sizes) if detections.has_boxes(self.outputs) else []
        arrays: list[pa.Array] = [_detections(found, outputs, scales)] if found else []
        for spec in self.outputs:
            if found is None or spec.name not in found.names:
                arrays += self._arrays_of(spec, np.asarray(outputs[spec.name]), scales)
        return dict(zip(self.names, arrays, strict=True))

    def _scales(self, rows: int, sizes: Sequence[Size | None]) -> list[Array]:
        return [detections.scale_to(size, self.inputs) for size in (sizes or [None] * rows)]

    def _arrays_of(self, spec: OutputSpec, values: Array, scales: Sequence[Array]) -> list[pa.Array]:
        if _is_classification(spec):
            best = values.argmax(axis=1)
            labels = pa.array(spec.labels, pa.string()).take(pa.array(best))
            chosen = [labels, pa.array(values[np.arange(len(values)), best])]
            return [*chosen, column_of(values)] if self.all_probabilities else chosen
        if spec.kind == "label" and spec.labels is not None and values.size == len(values):
            return [_labels(values.ravel(), spec.labels)]
        if spec.kind == "boxes" and values.shape[-1:] == (4,):
            values = np.stack([detections.scaled(boxes, scale) for boxes, scale in zip(values, scales, strict=True)])
        # An open dimension may be 1 in this batch and 2 in the next.
        is_open = None in spec.shape[1:]
        return [_lists(values) if is_open else column_of(values)]


def _is_classification(spec: OutputSpec) -> bool:
    return spec.kind == "probabilities" and spec.labels is not None and len(spec.shape) == 2


def _labels(numbers: Array, labels: Sequence[str]) -> pa.Array:
    names = [labels[number] if 0 <= number < len(labels) else str(number) for number in numbers.tolist()]
    return pa.array(names, pa.string())


def _detections(found: detections.Detections, outputs: Arrays, scales: Sequence[Array]) -> pa.Array:
    rows = []
    for row, scale in enumerate(scales):
        listed = found.listed({name: outputs[name][row] for name in found.names}, scale)
        rows.append([entry | {"label": str(entry["label"])} for entry in listed])
    return pa.array(rows, DETECTIONS)


def column_of(values: Array) -> pa.Array:
    """Make a column of an output [rows, …]: its values, or lists of them where a row has several."""
    return _plain(values.ravel()) if values.size == len(values) else _lists(values)


def _lists(values: Array) -> pa.Array:
    column = _plain(values.ravel())
    for axis in range(values.ndim - 1, 0, -1):
        count = int(np.prod(values.shape[:axis]))
        offsets = np.arange(count + 1, dtype=np.int32) * values.shape[axis]
        column = pa.ListArray.from_arrays(pa.array(offsets), column)
    return column


def _plain(values: Array) -> pa.Array:
    return pa.array(values, pa.string()) if values.dtype == object else pa.array(values)

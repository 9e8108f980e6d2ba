"""The front of every model of a table: named columns to one matrix, inside the ONNX graph, in plain onnxruntime.

A number: the training rows' median where it is missing, then mean 0 and deviation 1; where the training rows lacked
some, a column of 0 and 1 says so. A category: one column of 0 and 1 for each that is known, one for all others
(rare or never seen), one for missing. Training gets its matrix by running this front. Knows no Keras and no file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

from model_store.cells import MISSING, spellings
from model_store.manifest import InputSpec
from training.datasets.dataset import Array
from training.exporting.export import canonical
from training.exporting.onnx_session import Session

OPSET = 18
IR_VERSION = 9
NOTHING, OTHER, FIRST_KNOWN = 0, 1, 2
ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class NumberColumn:
    """A column of numbers, and what its training rows were like; `is_marked`: some of them were missing."""

    name: str
    median: float
    mean: float
    deviation: float
    is_marked: bool

    @classmethod
    def of(cls, name: str, values: npt.NDArray[np.float32]) -> NumberColumn:
        """Measure training rows: float32 [n], NaN where one is missing."""
        missing = np.isnan(values)
        median = float(np.median(values[~missing])) if not missing.all() else 0.0
        filled = np.where(missing, np.float32(median), values).astype(np.float64)
        deviation = float(np.float32(filled.std()))
        return cls(name, median, float(filled.mean()), deviation or 1.0, bool(missing.any()))

    @property
    def spec(self) -> InputSpec:
        """Describe the column as an input of the graph."""
        return InputSpec(name=self.name, dtype="float32", shape=(None,), kind="column")


@dataclass(frozen=True)
class CategoryColumn:
    """A column of categories: those that are known, the most frequent first.

    `ids` are those that training rows had. An id that none of them had gets no column of the matrix: its weights
    would be what chance began with.
    """

    name: str
    known: tuple[str, ...]
    ids: tuple[int, ...]

    @classmethod
    def of(cls, name: str, values: Array, *, rare_rows: int, most: int) -> CategoryColumn:
        """Choose from training rows, object [n] of `str`, what is frequent enough to be known."""
        counts = Counter(values.tolist())
        nothing = counts.pop("", 0)
        ranked = sorted(counts, key=lambda category: (-counts[category], category))
        known = tuple(category for category in ranked if counts[category] >= rare_rows)[:most]
        seen = [*([NOTHING] if nothing else []), *([OTHER] if len(known) < len(counts) else [])]
        return cls(name, known, (*seen, *range(FIRST_KNOWN, FIRST_KNOWN + len(known))))

    @property
    def spec(self) -> InputSpec:
        """Describe the column as an input of the graph."""
        return InputSpec(name=self.name, dtype="string", shape=(None,), kind="column", categories=self.known)

    @property
    def numbering(self) -> dict[str, int]:
        """Text → id, with the spellings that mean the same."""
        numbers = dict.fromkeys(MISSING, NOTHING)
        for number, category in enumerate(self.known, FIRST_KNOWN):
            for spelling in spellings(category):
                numbers.setdefault(spelling, number)
        # What is known as it is spelled is itself.
        return numbers | {category: number for number, category in enumerate(self.known, FIRST_KNOWN)}


@dataclass(frozen=True)
class TableFront:
    """Columns [batch], each by its name → float32 [batch, width]: numbers, their marks, then each category's ids."""

    columns: tuple[NumberColumn | CategoryColumn, ...]

    @classmethod
    def for_table(cls, table: Array, *, rare_rows: int, most_categories: int) -> TableFront:
        """Measure training rows: structured [n], a field of float32 or of `str` for each column."""
        columns: Any = table
        return cls(
            tuple(
                CategoryColumn.of(name, columns[name], rare_rows=rare_rows, most=most_categories)
                if columns[name].dtype.hasobject
                else NumberColumn.of(name, columns[name])
                for name in table.dtype.names or ()
            )
        )

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        """Describe the columns as a client sends them."""
        return tuple(column.spec for column in self.columns)

    @property
    def width(self) -> int:
        """How many columns the matrix has."""
        numbers, categories = self._numbers, self._categories
        marks = sum(column.is_marked for _, column in numbers)
        return len(numbers) + marks + sum(len(column.ids) for _, column in categories)

    def encode(self, table: Array) -> npt.NDArray[np.float32]:
        """Run the front: structured [n] → float32 [n, width]."""
        parts = [self._session.run_one(table[start : start + ROWS_AT_ONCE]) for start in _starts(len(table))]
        return np.concatenate(parts).astype(np.float32, copy=False)

    @cached_property
    def _session(self) -> Session:
        names = [column.name for column in self.columns]
        return Session(canonical(self.to_onnx(), inputs=names, outputs=[unused_name("matrix", names)]))

    @property
    def _numbers(self) -> list[tuple[str, NumberColumn]]:
        return [(name, column) for name, column in self._named() if isinstance(column, NumberColumn)]

    @property
    def _categories(self) -> list[tuple[str, CategoryColumn]]:
        return [(name, column) for name, column in self._named() if isinstance(column, CategoryColumn)]

    def _named(self) -> Iterator[tuple[str, NumberColumn | CategoryColumn]]:
        """Give each column the name that it has within the graph: its own may be any text."""
        return ((f"column_{index}", column) for index, column in enumerate(self.columns))

    def to_onnx(self) -> Any:
        """Write the front as an ONNX model; its inputs are the columns in their order, by names of their own."""
        graph = _Nodes()
        parts = [*(_number_parts(graph, self._numbers) if self._numbers else ())]
        parts += [_category_part(graph, name, column) for name, column in self._categories if column.ids]
        graph.add("Concat", parts, "matrix", axis=1)
        types = {NumberColumn: TensorProto.FLOAT, CategoryColumn: TensorProto.STRING}
        inputs = [helper.make_tensor_value_info(name, types[type(column)], ["batch"]) for name, column in self._named()]
        output = helper.make_tensor_value_info("matrix", TensorProto.FLOAT, ["batch", self.width])
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", 2)]
        written = helper.make_graph(graph.nodes, "front", inputs, [output], graph.constants)
        return helper.make_model(written, opset_imports=opsets, ir_version=IR_VERSION)


class _Nodes:
    """The nodes and constants of a graph while it is written."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def constant(self, name: str, values: Sequence[float], dtype: type[np.generic]) -> str:
        self.constants.append(numpy_helper.from_array(np.array(values, dtype=dtype), name))
        return name

    def upright(self, name: str) -> str:
        """Make a column [batch, 1] of [batch]."""
        axis = f"{name}_axis"
        self.constant(axis, [1], np.int64)
        return self.add("Unsqueeze", [name, axis], f"{name}_upright")


def _number_parts(graph: _Nodes, columns: Sequence[tuple[str, NumberColumn]]) -> Iterator[str]:
    """Write all columns of numbers together: standardised, then the marks of what is missing."""
    measured = [column for _, column in columns]
    graph.add("Concat", [graph.upright(name) for name, _ in columns], "numbers", axis=1)
    medians = graph.constant("medians", [column.median for column in measured], np.float32)
    means = graph.constant("means", [column.mean for column in measured], np.float32)
    deviations = graph.constant("deviations", [column.deviation for column in measured], np.float32)
    graph.add("IsNaN", ["numbers"], "is_missing")
    graph.add("Where", ["is_missing", medians, "numbers"], "filled")
    # Shifted first: a mean far larger than the deviation would cancel badly the other way.
    graph.add("Sub", ["filled", means], "shifted")
    yield graph.add("Div", ["shifted", deviations], "standardised")
    marked = [index for index, column in enumerate(measured) if column.is_marked]
    if marked:
        graph.add("Gather", ["is_missing", graph.constant("marked", marked, np.int64)], "marks_chosen", axis=1)
        yield graph.add("Cast", ["marks_chosen"], "marks", to=TensorProto.FLOAT)


def _category_part(graph: _Nodes, name: str, column: CategoryColumn) -> str:
    """Write one column of categories: its id compared with each id that training rows had."""
    numbering = column.numbering
    graph.add(
        "LabelEncoder", [name], f"{name}_id", domain="ai.onnx.ml",
        keys_strings=list(numbering), values_int64s=list(numbering.values()), default_int64=OTHER,
    )  # fmt: skip
    ids = graph.constant(f"{name}_ids", column.ids, np.int64)
    graph.add("Equal", [graph.upright(f"{name}_id"), ids], f"{name}_is")
    return graph.add("Cast", [f"{name}_is"], f"{name}_one_hot", to=TensorProto.FLOAT)


def _starts(rows: int) -> range:
    return range(0, max(rows, 1), ROWS_AT_ONCE)


def unused_name(wanted: str, columns: Collection[str]) -> str:
    """Name an output: as `wanted`, unless a column is called so."""
    while wanted in columns:
        wanted = f"predicted_{wanted}"
    return wanted


def as_table(inputs: Array, names: Sequence[str]) -> Array:
    """Give raw inputs a field for each column; those of a table have them already."""
    if inputs.dtype.names is not None:
        return inputs
    table = np.empty(len(inputs), dtype=[(name, np.float32) for name in names])
    for name, values in zip(names, inputs.T, strict=True):
        table[name] = values
    return cast(Array, table)

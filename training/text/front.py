"""The front of every text model: strings to ids, inside the ONNX graph, in plain onnxruntime.

lower case → tokens → numbers → exactly `length` of them. Id 0 is padding, 1 an unknown token, from 2 on the
vocabulary. Training gets its ids by running this front, so a client's text cannot be cut differently. Knows no
Keras.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from training.datasets.dataset import Array
from training.exporting.onnx_session import Session

OPSET = 20
IR_VERSION = 9
PADDING, UNKNOWN, FIRST_TOKEN = 0, 1, 2
ROWS_AT_ONCE = 1024

# For RE2. Words of any script, with apostrophes inside; a punctuation mark is a token of its own.
TOKENS = {
    "words": r"[\pL\pM\pN]+(?:'[\pL\pM\pN]+)*|[^\pL\pM\pN\s]",
    "characters": r"(?s:.)",
}


@dataclass(frozen=True)
class TextFront:
    """Strings [batch] → int32 ids [batch, length]; `keep` says which end of a long text is read."""

    tokens: str
    vocabulary: tuple[str, ...]
    length: int
    keep: str = "start"

    @classmethod
    def for_texts(cls, texts: Array, *, tokens: str, vocabulary: int, length: int, keep: str = "start") -> TextFront:
        """Choose the vocabulary: the most frequent tokens of some texts, those of one frequency by their spelling."""
        counts: Counter[str] = Counter()
        tokenizer = Session(text_model(tokenizer_nodes(tokens), {"tokens": TensorProto.STRING}, "count"))
        for part in in_parts(texts):
            counts.update(token for token in tokenizer.run_one(part).ravel().tolist() if token)
        ranked = sorted(counts, key=lambda token: (-counts[token], token))
        return cls(tokens, tuple(ranked[:vocabulary]), length, keep)

    @property
    def size(self) -> int:
        """How many different ids there are."""
        return FIRST_TOKEN + len(self.vocabulary)

    @property
    def names(self) -> tuple[str, ...]:
        """The known tokens in writing, in the order of their ids."""
        return self.vocabulary

    def encode(self, texts: Array) -> npt.NDArray[np.int32]:
        """Run the front: object [n] of `str` → int32 [n, length]."""
        return np.concatenate([self._session.run_one(part) for part in in_parts(texts)]).astype(np.int32, copy=False)

    @cached_property
    def _session(self) -> Session:
        return Session(self.to_onnx())

    def to_onnx(self) -> Any:
        """Write the front as an ONNX model."""
        nodes = [*tokenizer_nodes(self.tokens), self._numbering()]
        if self.keep == "end":
            nodes += [*last_nodes("numbers", "last_numbers", self.length), *padding_nodes("last_numbers")]
        else:
            nodes += padding_nodes("numbers")
        return text_model(nodes, {"ids": TensorProto.INT32}, self.length, padding_constants(self.length))

    def _numbering(self) -> Any:
        return helper.make_node(
            "LabelEncoder",
            ["tokens"],
            ["numbers"],
            domain="ai.onnx.ml",
            keys_strings=["", *self.vocabulary],
            values_int64s=[PADDING, *range(FIRST_TOKEN, self.size)],
            default_int64=UNKNOWN,
        )


def tokenizer_nodes(tokens: str) -> list[Any]:
    """Write the nodes from `text` [batch] to `tokens` [batch, most tokens of a text], padded with empty strings."""
    return [
        lower_node(),
        helper.make_node("Reshape", ["lowered", "front_column"], ["column"]),
        tokenizer_node("column", "tokenized", TOKENS[tokens]),
        helper.make_node("Squeeze", ["tokenized", "front_one"], ["tokens"]),
    ]


def lower_node() -> Any:
    """Write the node from `text` to `lowered`."""
    # The default locale is missing on slim systems; C.UTF-8 is everywhere and lowers more than ASCII.
    return helper.make_node(
        "StringNormalizer", ["text"], ["lowered"], case_change_action="LOWER", is_case_sensitive=1, locale="C.UTF-8"
    )


def tokenizer_node(source: str, tokens: str, expression: str) -> Any:
    """Write the node from strings [batch, 1] to all that matches an expression, [batch, 1, most matches of a text]."""
    return helper.make_node(
        "Tokenizer",
        [source],
        [tokens],
        domain="com.microsoft",
        mark=0,
        mincharnum=1,
        pad_value="",
        tokenexp=expression,
    )


def last_nodes(numbers: str, kept: str, length: int) -> list[Any]:
    """Write the nodes that keep the last `length` numbers of each row, and move them to its beginning."""
    steps, firsts = f"{kept}_steps", f"{kept}_firsts"
    return [
        _constant_node(f"{kept}_none", 0),
        _constant_node(f"{kept}_one", 1),
        _constant_node(f"{kept}_axis", [1]),
        _constant_node(f"{kept}_length", length),
        helper.make_node("Sign", [numbers], [f"{kept}_are_tokens"]),
        helper.make_node("ReduceSum", [f"{kept}_are_tokens", f"{kept}_axis"], [f"{kept}_counts"], keepdims=1),
        helper.make_node("Sub", [f"{kept}_counts", f"{kept}_length"], [f"{kept}_surplus"]),
        helper.make_node("Max", [f"{kept}_surplus", f"{kept}_none"], [firsts]),
        helper.make_node("Shape", [numbers], [f"{kept}_shape"], start=1),
        helper.make_node("Squeeze", [f"{kept}_shape"], [f"{kept}_columns"]),
        helper.make_node("Min", [f"{kept}_columns", f"{kept}_length"], [f"{kept}_count"]),
        helper.make_node("Range", [f"{kept}_none", f"{kept}_count", f"{kept}_one"], [steps]),
        helper.make_node("Add", [firsts, steps], [f"{kept}_places"]),
        helper.make_node("GatherElements", [numbers, f"{kept}_places"], [kept], axis=1),
    ]


def padding_nodes(numbers: str) -> list[Any]:
    """Write the nodes from numbers [batch, any count] to `ids` [batch, length], filled up or cut on the right."""
    return [
        helper.make_node("Pad", [numbers, "front_pads", "front_padding"], ["padded"]),
        helper.make_node("Slice", ["padded", "front_start", "front_end", "front_axis"], ["cut"]),
        helper.make_node("Cast", ["cut"], ["ids"], to=TensorProto.INT32),
    ]


def padding_constants(length: int) -> list[Any]:
    """Give the constants of `padding_nodes`."""
    return [
        constant("front_pads", [0, 0, 0, length]),
        constant("front_padding", PADDING),
        constant("front_start", [0]),
        constant("front_end", [length]),
        constant("front_axis", [1]),
    ]


def _constant_node(name: str, value: int | list[int]) -> Any:
    return helper.make_node("Constant", [], [name], value=constant("", value))


def text_model(
    nodes: list[Any], outputs: dict[str, int], columns: int | str, constants: list[Any] | None = None
) -> Any:
    """Make a model from `text` [batch] to outputs [batch, columns]: name → ONNX data type."""
    tokenized = [node.output[0] for node in nodes if node.op_type == "Tokenizer"]
    graph = helper.make_graph(
        nodes,
        "front",
        [helper.make_tensor_value_info("text", TensorProto.STRING, ["batch"])],
        [helper.make_tensor_value_info(name, dtype, ["batch", columns]) for name, dtype in outputs.items()],
        [constant("front_column", [-1, 1]), constant("front_one", [1]), *(constants or [])],
        # onnx's checker crashes where the type of a foreign operator's output is not declared.
        value_info=[
            helper.make_tensor_value_info(name, TensorProto.STRING, ["batch", 1, "count"]) for name in tokenized
        ],
    )
    opsets = [("", OPSET), ("ai.onnx.ml", 2), ("com.microsoft", 1)]
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid(*opset) for opset in opsets], ir_version=IR_VERSION
    )


def constant(name: str, value: int | list[int]) -> onnx.TensorProto:
    """Make a constant of whole numbers."""
    return numpy_helper.from_array(np.array(value, dtype=np.int64), name)


def in_parts(texts: Array, rows: int = ROWS_AT_ONCE) -> Iterator[Array]:
    """Take few rows at once: a batch is padded to its longest text, which would fill the memory."""
    for start in range(0, len(texts), rows):
        yield texts[start : start + rows]

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
from training.onnx_session import Session

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
    """Strings [batch] → int32 ids [batch, length]."""

    tokens: str
    vocabulary: tuple[str, ...]
    length: int

    @classmethod
    def for_texts(cls, texts: Array, *, tokens: str, vocabulary: int, length: int) -> TextFront:
        """Choose the vocabulary: the most frequent tokens of some texts, those of one frequency by their spelling."""
        counts: Counter[str] = Counter()
        tokenizer = Session(_model(tokenizer_nodes(tokens), "tokens", TensorProto.STRING, ["batch", "count"]))
        for part in _in_parts(texts):
            counts.update(token for token in tokenizer.run_one(part).ravel().tolist() if token)
        ranked = sorted(counts, key=lambda token: (-counts[token], token))
        return cls(tokens, tuple(ranked[:vocabulary]), length)

    @property
    def size(self) -> int:
        """How many different ids there are."""
        return FIRST_TOKEN + len(self.vocabulary)

    def encode(self, texts: Array) -> npt.NDArray[np.int32]:
        """Run the front: object [n] of `str` → int32 [n, length]."""
        return np.concatenate([self._session.run_one(part) for part in _in_parts(texts)]).astype(np.int32, copy=False)

    @cached_property
    def _session(self) -> Session:
        return Session(self.to_onnx())

    def to_onnx(self) -> Any:
        """Write the front as an ONNX model."""
        nodes = [*tokenizer_nodes(self.tokens), self._numbering(), *_padding_nodes()]
        constants = [
            _constant("front_pads", [0, 0, 0, self.length]),
            _constant("front_padding", PADDING),
            _constant("front_start", [0]),
            _constant("front_end", [self.length]),
            _constant("front_axis", [1]),
        ]
        return _model(nodes, "ids", TensorProto.INT32, ["batch", self.length], constants)

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
        # The default locale is missing on slim systems; C.UTF-8 is everywhere and lowers more than ASCII.
        helper.make_node(
            "StringNormalizer",
            ["text"],
            ["lowered"],
            case_change_action="LOWER",
            is_case_sensitive=1,
            locale="C.UTF-8",
        ),
        helper.make_node("Reshape", ["lowered", "front_column"], ["column"]),
        helper.make_node(
            "Tokenizer",
            ["column"],
            ["tokenized"],
            domain="com.microsoft",
            mark=0,
            mincharnum=1,
            pad_value="",
            tokenexp=TOKENS[tokens],
        ),
        helper.make_node("Squeeze", ["tokenized", "front_one"], ["tokens"]),
    ]


def _padding_nodes() -> list[Any]:
    return [
        helper.make_node("Pad", ["numbers", "front_pads", "front_padding"], ["padded"]),
        helper.make_node("Slice", ["padded", "front_start", "front_end", "front_axis"], ["cut"]),
        helper.make_node("Cast", ["cut"], ["ids"], to=TensorProto.INT32),
    ]


def _model(
    nodes: list[Any], output: str, dtype: int, shape: list[int | str], constants: list[Any] | None = None
) -> Any:
    graph = helper.make_graph(
        nodes,
        "front",
        [helper.make_tensor_value_info("text", TensorProto.STRING, ["batch"])],
        [helper.make_tensor_value_info(output, dtype, shape)],
        [_constant("front_column", [-1, 1]), _constant("front_one", [1]), *(constants or [])],
        # onnx's checker crashes where the type of a foreign operator's output is not declared.
        value_info=[helper.make_tensor_value_info("tokenized", TensorProto.STRING, ["batch", 1, "count"])],
    )
    opsets = [("", OPSET), ("ai.onnx.ml", 2), ("com.microsoft", 1)]
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid(*opset) for opset in opsets], ir_version=IR_VERSION
    )


def _constant(name: str, value: int | list[int]) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(value, dtype=np.int64), name)


def _in_parts(texts: Array) -> Iterator[Array]:
    """Take few rows at once: a batch is padded to its longest text, which would fill the memory."""
    for start in range(0, len(texts), ROWS_AT_ONCE):
        yield texts[start : start + ROWS_AT_ONCE]

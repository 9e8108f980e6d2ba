"""The networks that are measured, with random weights: cost does not depend on their values (extra `train`)."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, compose, helper, numpy_helper, save_model

from training.text.front import IR_VERSION, OPSET, PADDING, TextFront

WIDTH, CLASSES = 784, 10
TOKENS, VOCABULARY, EMBEDDED, UNITS = 200, 10_000, 32, 64

Node = Any
Tensor = Any


def path_of(network: str, folder: Path) -> Path:
    """Write a network, unless it is there: a store with the one model `dense` or `text`, without a manifest."""
    name = "text" if network == "lstm" else "dense"
    path = folder / network / name / "1" / "model.onnx"
    if not path.exists():
        path.parent.mkdir(parents=True)
        save_model(NETWORKS[network](), path)
        # As if it had lain there for a while: a service waits until a file without a manifest has stood still.
        os.utime(path, (time.time() - 60,) * 2)
    return path


def texts(count: int, words: int = TOKENS) -> list[str]:
    """Make texts of as many words as the network reads."""
    chance = np.random.default_rng(3)
    return [" ".join(chance.choice(_vocabulary(), words)) for _ in range(count)]


def dense(*widths: int) -> Any:
    """Dense layers with ReLU and a softmax at the end: x FP32 [N, widths[0]] → y FP32 [N, widths[-1]]."""
    nodes: list[Node] = []
    weights: list[Tensor] = []
    source = "x"
    for index, (fan_in, fan_out) in enumerate(itertools.pairwise(widths)):
        last = index == len(widths) - 2
        layer, constants = _layer(str(index), source, "y" if last else f"y{index}", fan_in, fan_out, softmax=last)
        nodes, weights, source = nodes + layer, weights + constants, f"y{index}"
    return _model("dense", nodes, ("x", TensorProto.FLOAT, widths[0]), ("y", TensorProto.FLOAT, widths[-1]), weights)


def lstm() -> Any:
    """Raw texts, as training publishes them: words → ids → embedding → LSTM(64) → softmax over two classes."""
    shapes = {
        "table": (VOCABULARY + 2, EMBEDDED),
        "kernel": (1, 4 * UNITS, EMBEDDED),
        "recurrent": (1, 4 * UNITS, UNITS),
        "bias": (1, 8 * UNITS),
    }
    weights = [_random(name, *shape) for name, shape in shapes.items()]
    weights += [
        numpy_helper.from_array(np.array(PADDING, np.int32), "padding"),
        numpy_helper.from_array(np.array([1]), "axis"),
        numpy_helper.from_array(np.array([0]), "first"),
    ]
    answer, constants = _layer("", "state", "probabilities", UNITS, 2, softmax=True)
    nodes = [
        helper.make_node("Equal", ["ids", "padding"], ["is_padding"]),
        helper.make_node("Not", ["is_padding"], ["is_token"]),
        helper.make_node("Cast", ["is_token"], ["ones"], to=TensorProto.INT32),
        helper.make_node("ReduceSum", ["ones", "axis"], ["lengths"], keepdims=0),
        helper.make_node("Gather", ["table", "ids"], ["embedded"]),
        helper.make_node("Transpose", ["embedded"], ["by_time"], perm=[1, 0, 2]),
        helper.make_node("LSTM", ["by_time", "kernel", "recurrent", "bias", "lengths"], ["", "last"],
                         hidden_size=UNITS),
        helper.make_node("Squeeze", ["last", "first"], ["state"]),
        *answer,
    ]  # fmt: skip
    network = _model("lstm", nodes, ("ids", TensorProto.INT32, TOKENS), ("probabilities", TensorProto.FLOAT, 2),
                     weights + constants)  # fmt: skip
    front = TextFront("words", tuple(_vocabulary()), TOKENS).to_onnx()
    for domain in ("ai.onnx.ml", "com.microsoft"):
        network.opset_import.append(next(opset for opset in front.opset_import if opset.domain == domain))
    return compose.merge_models(front, network, [("ids", "ids")])


NETWORKS: dict[str, Callable[[], Any]] = {
    "784-128-10": lambda: dense(WIDTH, 128, CLASSES),
    "784-1024-1024-10": lambda: dense(WIDTH, 1024, 1024, CLASSES),
    "lstm": lstm,
}


def _vocabulary() -> list[str]:
    return [f"word{number}" for number in range(VOCABULARY)]


def _layer(
    suffix: str, source: str, target: str, fan_in: int, fan_out: int, *, softmax: bool
) -> tuple[list[Node], list[Tensor]]:
    nodes = [
        helper.make_node("Gemm", [source, f"kernel{suffix}_dense", f"bias{suffix}_dense"], [f"sum{suffix}"]),
        helper.make_node("Softmax" if softmax else "Relu", [f"sum{suffix}"], [target]),
    ]
    return nodes, [_random(f"kernel{suffix}_dense", fan_in, fan_out), _random(f"bias{suffix}_dense", fan_out)]


def _random(name: str, *shape: int) -> Tensor:
    # As small as trained weights are: denormal or infinite numbers would cost more.
    values = np.random.default_rng(0).standard_normal(shape) / shape[0] ** 0.5
    return numpy_helper.from_array(values.astype(np.float32), name)


def _model(
    name: str, nodes: list[Node], taken: tuple[str, int, int], given: tuple[str, int, int], weights: list[Tensor]
) -> Any:
    sides = [helper.make_tensor_value_info(side, kind, ["batch", width]) for side, kind, width in (taken, given)]
    graph = helper.make_graph(nodes, name, sides[:1], sides[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)

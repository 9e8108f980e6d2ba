"""Writes the network in NumPy as ONNX, node by node, with the scaling of its inputs before it.

Source of the operators: the ONNX specification, opset 18.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from training.datasets.dataset import Array
from training.network import Answers
from training.scratch.network import DenseNetwork, Numbers

OPSET = 18
IR_VERSION = 8
OPERATORS = {"sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "Relu"}


@dataclass(frozen=True)
class Scaling:
    """Raw inputs → rows of numbers around zero: (float32 - offset) / scale, flattened."""

    offset: Numbers
    scale: Numbers

    def __call__(self, inputs: Array) -> Numbers:
        """Scale raw inputs [n, …] to float32 [n, features]."""
        return (inputs.reshape(len(inputs), -1).astype(np.float32) - self.offset) / self.scale


@dataclass(frozen=True)
class NumpyComputation:
    """The graph of `network` behind `scaling`, for `training.network.Graph`. `shape` and `dtype` are a raw row's."""

    network: DenseNetwork
    scaling: Scaling
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def answer(self, inputs: Array) -> Answers:
        """Answer raw inputs in one batch."""
        return {"probabilities": self.network.predict(self.scaling(inputs))}

    def predict(self, inputs: Array) -> Answers:
        """Answer raw inputs in one batch: it fits into the memory."""
        return self.answer(inputs)

    def weights(self) -> list[Array]:
        """Give weights and biases, layer by layer."""
        return [array for layer in self.network.layers for array in (layer.weights, layer.biases)]

    def to_onnx(self) -> Any:
        """Write the graph: scaling, then a Gemm and an activation for each layer."""
        nodes, initializers = _scaling_nodes(self.scaling, prod(self.shape))
        last = len(self.network.layers)
        for number, layer in enumerate(self.network.layers, start=1):
            initializers += [
                numpy_helper.from_array(np.ascontiguousarray(layer.weights), f"W{number}"),
                numpy_helper.from_array(np.ascontiguousarray(layer.biases), f"b{number}"),
            ]
            inputs = [f"x{number}", f"W{number}", f"b{number}"]
            nodes.append(helper.make_node("Gemm", inputs, [f"sums{number}"]))
            operator = "Softmax" if number == last else OPERATORS[self.network.activation]
            axis = {"axis": 1} if number == last else {}
            nodes.append(helper.make_node(operator, [f"sums{number}"], [f"x{number + 1}"], **axis))
        return self._model(nodes, initializers, f"x{last + 1}")

    def _model(self, nodes: list[Any], initializers: list[Any], result: str) -> Any:
        element = helper.np_dtype_to_tensor_dtype(self.dtype)
        classes = len(self.network.layers[-1].biases)
        graph = helper.make_graph(
            nodes,
            "scratch",
            [helper.make_tensor_value_info("raw", element, ["batch", *self.shape])],
            [helper.make_tensor_value_info(result, TensorProto.FLOAT, ["batch", classes])],
            initializers,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def _scaling_nodes(scaling: Scaling, features: int) -> tuple[list[Any], list[Any]]:
    nodes = [
        helper.make_node("Cast", ["raw"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["numbers", "row_shape"], ["rows"]),
        helper.make_node("Sub", ["rows", "offset"], ["shifted"]),
        helper.make_node("Div", ["shifted", "scale"], ["x1"]),
    ]
    initializers = [
        numpy_helper.from_array(np.array([-1, features], dtype=np.int64), "row_shape"),
        numpy_helper.from_array(scaling.offset, "offset"),
        numpy_helper.from_array(scaling.scale, "scale"),
    ]
    return nodes, initializers

"""Recurrent layers as the ONNX operators RNN, LSTM and GRU, made from Keras's fitted weights.

tf2onnx turns a masked recurrent layer into a loop that runs ten times slower. ONNX's operators take the length of
every row instead of a mask; since the front pads on the right, that is the same, in both directions. A row without
tokens gives zeros in both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

from training.text.front import IR_VERSION, OPSET, PADDING

if TYPE_CHECKING:
    import keras

Floats = npt.NDArray[np.float32]

# ONNX's name of a Keras layer, and the order of its gates: Keras's i f c o for ONNX's i o f c; both have z r h.
OPERATORS = {"SimpleRNN": ("RNN", (0,)), "LSTM": ("LSTM", (0, 3, 1, 2)), "GRU": ("GRU", (0, 1, 2))}


@dataclass(frozen=True)
class OnnxRecurrent:
    """int32 ids [batch, length] → the last layer's last state, float32 [batch, units x directions].

    `layers` are SimpleRNN, LSTM or GRU, or one of these in Bidirectional; each reads what the one before it gives
    at every token.
    """

    embedding: keras.layers.Layer
    layers: tuple[keras.layers.Layer, ...]

    def to_onnx(self) -> Any:
        """Write embedding and layers as an ONNX model, with the weights they have now."""
        tensors = {
            "table": np.asarray(self.embedding.get_weights()[0], dtype=np.float32),
            "recurrent_padding": np.array(PADDING, dtype=np.int32),
            "recurrent_axis": np.array([1], dtype=np.int64),
        }
        nodes = [
            helper.make_node("Equal", ["ids", "recurrent_padding"], ["is_padding"]),
            helper.make_node("Not", ["is_padding"], ["is_token"]),
            helper.make_node("Cast", ["is_token"], ["ones"], to=TensorProto.INT32),
            helper.make_node("ReduceSum", ["ones", "recurrent_axis"], ["lengths"], keepdims=0),
            helper.make_node("Gather", ["table", "ids"], ["embedded"]),
            helper.make_node("Transpose", ["embedded"], ["by_time_0"], perm=[1, 0, 2]),
        ]
        for number, layer in enumerate(self.layers):
            more_nodes, more_tensors = _layer(number, layer)
            nodes += more_nodes
            tensors |= more_tensors
        nodes.append(helper.make_node("Identity", [f"last_{len(self.layers) - 1}"], ["state"]))
        graph = helper.make_graph(
            nodes,
            "recurrent",
            [helper.make_tensor_value_info("ids", TensorProto.INT32, ["batch", "length"])],
            [helper.make_tensor_value_info("state", TensorProto.FLOAT, ["batch", _width(self.layers[-1])])],
            [numpy_helper.from_array(array, name) for name, array in tensors.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def _layer(number: int, layer: Any) -> tuple[list[Any], dict[str, Any]]:
    """Write the nodes from `by_time_N` to `by_time_N+1` [length, batch, width] and `last_N` [batch, width]."""
    directions, width = _directions(layer), _width(layer)
    operator, gates = OPERATORS[type(directions[0]).__name__]
    weights = zip(*(_weights(direction, gates) for direction in directions), strict=True)
    names = [f"{name}_{number}" for name in ("kernel", "recurrent", "bias")]
    tensors: dict[str, Any] = {name: np.concatenate(parts) for name, parts in zip(names, weights, strict=True)}
    every, last = f"every_state_{number}", f"last_state_{number}"
    node = helper.make_node(
        operator, [f"by_time_{number}", *names, "lengths"], [every, last], **_attributes(operator, directions)
    )
    sideways = [
        helper.make_node("Transpose", [every], [f"{every}_turned"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", [f"{every}_turned", f"{every}_shape"], [f"by_time_{number + 1}"]),
        helper.make_node("Transpose", [last], [f"{last}_turned"], perm=[1, 0, 2]),
        helper.make_node("Reshape", [f"{last}_turned", f"{last}_shape"], [f"last_{number}"]),
    ]
    for state, shape in ((every, [0, 0, width]), (last, [0, width])):
        tensors[f"{state}_shape"] = np.array(shape, dtype=np.int64)
    return [node, *sideways], tensors


def _attributes(operator: str, directions: list[Any]) -> dict[str, Any]:
    attributes: dict[str, Any] = {"hidden_size": int(directions[0].units)}
    if len(directions) == 2:
        attributes["direction"] = "bidirectional"
    if operator == "GRU":
        attributes["linear_before_reset"] = 1
    return attributes


def _directions(layer: Any) -> list[Any]:
    return [layer.forward_layer, layer.backward_layer] if hasattr(layer, "backward_layer") else [layer]


def _width(layer: Any) -> int:
    directions = _directions(layer)
    return len(directions) * int(directions[0].units)


def _weights(layer: Any, gates: tuple[int, ...]) -> tuple[Floats, Floats, Floats]:
    """Give kernel, recurrent kernel and both biases with ONNX's order of gates and its axis of directions."""
    kernel, recurrent, bias = (np.asarray(array, dtype=np.float32) for array in layer.get_weights())
    # ONNX adds two biases per gate; Keras has one, but for the GRU.
    biases = bias if bias.ndim == 2 else np.stack([bias, np.zeros_like(bias)])

    def ordered(array: Floats) -> Floats:
        parts = np.split(array, len(gates), axis=-1)
        return np.concatenate([parts[gate] for gate in gates], axis=-1)

    return ordered(kernel).T[np.newaxis], ordered(recurrent).T[np.newaxis], ordered(biases).reshape(1, -1)

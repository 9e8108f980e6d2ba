"""LSTM and GRU as the ONNX operators of those names, made from Keras's fitted weights.

tf2onnx turns a masked recurrent layer into a loop that runs ten times slower. ONNX's operators take the length of
every row instead of a mask; since the front pads on the right, that is the same. A row without tokens gives zeros
in both.
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

# The order of the gates: Keras's i f c o for ONNX's i o f c; both have z r h.
LSTM_GATES = (0, 3, 1, 2)
GRU_GATES = (0, 1, 2)


@dataclass(frozen=True)
class OnnxRecurrent:
    """int32 ids [batch, length] → the layer's last state, float32 [batch, units]."""

    embedding: keras.layers.Layer
    layer: keras.layers.Layer

    def to_onnx(self) -> Any:
        """Write embedding and layer as an ONNX model, with the weights they have now."""
        operator, attributes, weights = self._recurrence()
        tensors = {
            "table": np.asarray(self.embedding.get_weights()[0], dtype=np.float32),
            "recurrent_padding": np.array(PADDING, dtype=np.int32),
            "recurrent_axis": np.array([1], dtype=np.int64),
            "recurrent_first": np.array([0], dtype=np.int64),
            **weights,
        }
        last = ["", "last"]
        nodes = [
            helper.make_node("Equal", ["ids", "recurrent_padding"], ["is_padding"]),
            helper.make_node("Not", ["is_padding"], ["is_token"]),
            helper.make_node("Cast", ["is_token"], ["ones"], to=TensorProto.INT32),
            helper.make_node("ReduceSum", ["ones", "recurrent_axis"], ["lengths"], keepdims=0),
            helper.make_node("Gather", ["table", "ids"], ["embedded"]),
            helper.make_node("Transpose", ["embedded"], ["by_time"], perm=[1, 0, 2]),
            helper.make_node(operator, ["by_time", "kernel", "recurrent", "bias", "lengths"], last, **attributes),
            helper.make_node("Squeeze", ["last", "recurrent_first"], ["state"]),
        ]
        graph = helper.make_graph(
            nodes,
            "recurrent",
            [helper.make_tensor_value_info("ids", TensorProto.INT32, ["batch", "length"])],
            [helper.make_tensor_value_info("state", TensorProto.FLOAT, ["batch", self.layer.units])],
            [numpy_helper.from_array(array, name) for name, array in tensors.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)

    def _recurrence(self) -> tuple[str, dict[str, int], dict[str, Floats]]:
        """Return ONNX's operator, its attributes, and its weights from Keras's kernel, recurrent kernel and bias."""
        kernel, recurrent, bias = (np.asarray(array, dtype=np.float32) for array in self.layer.get_weights())
        attributes = {"hidden_size": int(self.layer.units)}
        if type(self.layer).__name__ == "LSTM":
            # Keras has one bias per gate, ONNX two that are added.
            both = np.stack([bias, np.zeros_like(bias)])
            return "LSTM", attributes, _weights(kernel, recurrent, both, LSTM_GATES)
        return "GRU", attributes | {"linear_before_reset": 1}, _weights(kernel, recurrent, bias, GRU_GATES)


def _weights(kernel: Floats, recurrent: Floats, bias: Floats, gates: tuple[int, ...]) -> dict[str, Floats]:
    """Reorder the gates and add ONNX's axis of directions; `bias` is [2, units x gates]."""

    def ordered(array: Floats) -> Floats:
        parts = np.split(array, len(gates), axis=-1)
        return np.concatenate([parts[gate] for gate in gates], axis=-1)

    return {
        "kernel": ordered(kernel).T[np.newaxis],
        "recurrent": ordered(recurrent).T[np.newaxis],
        "bias": ordered(bias).reshape(1, -1),
    }

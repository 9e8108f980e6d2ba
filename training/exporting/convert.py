"""Keras → ONNX through tf2onnx, and ONNX pieces joined into one graph.

tf2onnx fails silently: it writes operators that do not exist and turns constants into inputs. So nothing it gives
is taken on trust. Knows neither data sets nor stores, and writes no file.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import onnx
from onnx import compose, helper, numpy_helper, version_converter

from training.errors import UnconvertedLayers

if TYPE_CHECKING:
    import keras

# The newest that tf2onnx writes; what is joined with a text front is lifted to the front's.
OPSET = 18


def convert(model: keras.Model) -> Any:
    """Convert a Keras model with one input and any outputs through tf2onnx: x0 → y0, y1, … in their order.

    Raises:
        UnconvertedLayers: tf2onnx left operators that ONNX does not have.
    """
    import tensorflow as tf
    import tf2onnx

    # The checks below say what tf2onnx would log, in one line.
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    (tensor,) = model.inputs
    signature = [tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype, name="x0")]

    def call(x0: Any) -> dict[str, Any]:
        return {name: tf.identity(tensor, name=name) for name, tensor in named(model(x0, training=False)).items()}

    function = tf.function(call, input_signature=signature, autograph=False)
    converted, _ = tf2onnx.convert.from_function(function, signature, opset=OPSET)
    _constants_become_initializers(converted, function.get_concrete_function())
    unknown = sorted(
        {node.op_type for node in converted.graph.node if not node.domain and not onnx.defs.has(node.op_type)}
    )
    if unknown:
        raise UnconvertedLayers(f"tf2onnx cannot convert the operators {', '.join(unknown)}: choose other layers")
    _in_order(converted, [f"y{index}" for index in range(len(model.outputs))])
    return converted


def named(answers: Any) -> dict[str, Any]:
    """Call a Keras model's outputs y0, y1, … in their order."""
    listed = answers if isinstance(answers, (list, tuple)) else [answers]
    return {f"y{index}": answer for index, answer in enumerate(listed)}


def _in_order(model: Any, names: list[str]) -> None:
    """Sort the outputs: tf2onnx sorts them by name, so that y10 comes before y2."""
    outputs = {value.name.partition(":")[0]: value for value in model.graph.output}
    kept = [type(value).FromString(value.SerializeToString()) for value in (outputs[name] for name in names)]
    del model.graph.output[:]
    model.graph.output.extend(kept)


def _constants_become_initializers(model: Any, function: Any) -> None:
    """Put captured constants back into the graph, where tf2onnx made inputs of them."""
    import tensorflow as tf

    captured = {inner.name: outer for outer, inner in function.graph.captures if outer.dtype != tf.resource}
    for value in [value for value in model.graph.input if value.name not in ("x0", "x0:0")]:
        if value.name not in captured:
            raise UnconvertedLayers(f"tf2onnx made an input of the constant {value.name}: choose other layers")
        model.graph.initializer.append(numpy_helper.from_array(captured[value.name].numpy(), value.name))
        model.graph.input.remove(value)


def join(first: Any, second: Any) -> Any:
    """Feed the first output of one model to the first input of another, at the first one's opset."""
    opset = next(entry.version for entry in first.opset_import if not entry.domain)
    lifted = version_converter.convert_version(second, opset)
    lifted.ir_version = first.ir_version
    prefixed = compose.add_prefix(lifted, prefix="next_")
    joined = compose.merge_models(first, prefixed, io_map=[(first.graph.output[0].name, prefixed.graph.input[0].name)])
    # merge_models lists a domain once for each model it came from.
    opsets = {entry.domain: entry.version for entry in joined.opset_import}
    del joined.opset_import[:]
    joined.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in sorted(opsets.items()))
    return joined

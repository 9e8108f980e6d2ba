"""Keras → one ONNX file: convert, join with what is written by hand, give canonical names, check, save.

tf2onnx fails silently: it writes operators that do not exist and turns constants into inputs. So nothing it gives
is taken on trust. Knows neither data sets nor stores.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
from onnx import compose, helper, numpy_helper, version_converter

from training.errors import InvalidGraph, UnconvertedLayers
from training.network import Graph
from training.onnx_check import STANDARD_DOMAINS, problems, signature_problems
from training.onnx_session import Session

if TYPE_CHECKING:
    import keras

# The newest that tf2onnx writes; what is joined with a text front is lifted to the front's.
OPSET = 18


def export(graph: Graph, path: Path, *, properties: Mapping[str, str]) -> None:
    """Write one graph to a file that onnxruntime loads; `properties` and a digest of the weights go into it.

    Raises:
        UnconvertedLayers: tf2onnx left operators that ONNX does not have.
        InvalidGraph: the ONNX checker or onnxruntime refuses the file, or its signature is not what was meant.
    """
    pieces = [*(piece.to_onnx() for piece in graph.before), convert(graph.converted)]
    model = canonical(reduce(join, pieces), input_name=graph.input.name, output_name=graph.output.name)
    helper.set_model_props(model, {**properties, "weights_sha256": weights_digest(graph.model)})
    found = problems(model) or [
        *signature_problems("input", model.graph.input, [graph.input]),
        *signature_problems("output", model.graph.output, [graph.output]),
    ]
    if found:
        raise InvalidGraph(f"the exported graph is wrong: {'; '.join(found)}")
    onnx.save(model, path)
    Session(path)


def convert(model: keras.Model) -> Any:
    """Convert a Keras model with one input and one output through tf2onnx; raises `UnconvertedLayers`."""
    import tensorflow as tf
    import tf2onnx

    # The checks below say what tf2onnx would log, in one line.
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    (tensor,) = model.inputs
    signature = [tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype, name="x0")]

    def call(x0: Any) -> dict[str, Any]:
        return {"y0": tf.identity(model(x0, training=False), name="y0")}

    function = tf.function(call, input_signature=signature, autograph=False)
    converted, _ = tf2onnx.convert.from_function(function, signature, opset=OPSET)
    _constants_become_initializers(converted, function.get_concrete_function())
    unknown = sorted(
        {node.op_type for node in converted.graph.node if not node.domain and not onnx.defs.has(node.op_type)}
    )
    if unknown:
        raise UnconvertedLayers(f"tf2onnx cannot convert the operators {', '.join(unknown)}: choose other layers")
    return converted


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
    """Feed the output of one model to the input of another, at the first one's opset."""
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


def canonical(model: Any, *, input_name: str, output_name: str) -> Any:
    """Give stable names, so that equal weights give equal files wherever tf2onnx keeps the order of its nodes."""
    (given,), (answer,) = model.graph.input, model.graph.output
    names = {given.name: input_name, answer.name: output_name}
    _rename(model.graph, names)
    for value in (given, answer):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    model.graph.name, model.doc_string, model.producer_name = "main", "", "ovenbird"
    return model


def _rename(graph: Any, names: dict[str, str]) -> None:
    """Name all tensors and nodes by their order in the graph, and sort the initializers."""

    def new(name: str) -> str:
        return names.setdefault(name, f"t{len(names)}") if name else ""

    # Foreign operators keep their declared types: the checker needs them. The rest can be inferred.
    foreign = {name for node in graph.node if node.domain not in STANDARD_DOMAINS for name in node.output}
    kept = [value for value in graph.value_info if value.name in foreign]
    for value in [*graph.input, *graph.output, *kept]:
        value.name = new(value.name)
    for index, node in enumerate(graph.node):
        node.name, node.doc_string = f"{node.op_type}_{index}", ""
        node.input[:] = [new(name) for name in node.input]
        node.output[:] = [new(name) for name in node.output]
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                _rename(attribute.g, names)
    for tensor in graph.initializer:
        tensor.name = new(tensor.name)
    _replace(graph.value_info, kept)
    _replace(graph.initializer, sorted(graph.initializer, key=lambda tensor: str(tensor.name)))
    graph.doc_string = ""


def _replace(field: Any, messages: list[Any]) -> None:
    copies = [type(message).FromString(message.SerializeToString()) for message in messages]
    del field[:]
    field.extend(copies)


def weights_digest(model: keras.Model) -> str:
    """Hash the weights of a Keras model in their order; hexadecimal."""
    total = hashlib.sha256()
    for weight in model.get_weights():
        total.update(weight.tobytes())
    return total.hexdigest()

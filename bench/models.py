"""The networks that are measured, with random weights: cost does not depend on their values."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save_model


def dense(widths: list[int], path: Path) -> Path:
    """Write dense layers with ReLU and a softmax at the end: x FP32 [N, widths[0]] → y FP32 [N, widths[-1]]."""
    random = np.random.default_rng(0)
    nodes, weights, source = [], [], "x"
    for index, (fan_in, fan_out) in enumerate(itertools.pairwise(widths)):
        kernel = (random.standard_normal((fan_in, fan_out)) / fan_in**0.5).astype(np.float32)
        weights += [
            numpy_helper.from_array(kernel, f"kernel{index}"),
            numpy_helper.from_array(np.zeros(fan_out, np.float32), f"bias{index}"),
        ]
        last = index == len(widths) - 2
        target = "y" if last else f"activated{index}"
        nodes.append(helper.make_node("Gemm", [source, f"kernel{index}", f"bias{index}"], [f"sum{index}"]))
        nodes.append(helper.make_node("Softmax" if last else "Relu", [f"sum{index}"], [target]))
        source = target
    graph = helper.make_graph(
        nodes,
        "dense",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", widths[0]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", widths[-1]])],
        weights,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def store(folder: Path) -> Path:
    """Make a store of ONNX files without a manifest: `small` 784-128-10, `large` 784-1024-1024-10."""
    dense([784, 128, 10], folder / "small" / "1" / "model.onnx")
    dense([784, 1024, 1024, 10], folder / "large" / "1" / "model.onnx")
    return folder

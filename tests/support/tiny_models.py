"""Small real ONNX models, published into real stores: what the tests serve."""

from __future__ import annotations

import os
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from model_store import Draft, Golden, Manifest, Store, StoredVersion
from model_store.manifest import digest_files

FLOAT = TensorProto.FLOAT


def _model(nodes: list[Any], inputs: list[Any], outputs: list[Any], initializers: tuple[Any, ...] = ()) -> bytes:
    graph = helper.make_graph(nodes, "main", inputs, outputs, list(initializers))
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 2)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def affine(factor: float = 2.0, width: int | None = 3, *, slow: int = 0) -> bytes:
    """y = factor * x, row by row; `slow` adds so many matrix products of 512 x 512 to every run."""
    nodes = [helper.make_node("Mul", ["x", "factor"], ["y" if not slow else "scaled"])]
    constants = [numpy_helper.from_array(np.float32(factor), "factor")]
    if slow:
        constants.append(numpy_helper.from_array(np.zeros((512, 512), np.float32), "weights0"))
        for index in range(slow):
            # The product depends on the input (times zero), so that it cannot be folded away.
            source = "weights0" if index == 0 else f"weights{index}"
            nodes.append(helper.make_node("MatMul", [source, "weights0"], [f"weights{index + 1}"]))
        nodes += [
            helper.make_node("ReduceSum", ["scaled"], ["sum"], keepdims=0),
            helper.make_node("Mul", ["sum", "none"], ["zero"]),
            helper.make_node("Add", ["weights0", "zero"], ["start"]),
            helper.make_node("ReduceSum", [f"weights{slow}"], ["nothing"], keepdims=0),
            helper.make_node("Add", ["scaled", "nothing"], ["y"]),
        ]
        nodes[1] = helper.make_node("MatMul", ["start", "weights0"], ["weights1"])
        nodes = [nodes[0], *nodes[slow + 1 : slow + 4], *nodes[1 : slow + 1], *nodes[slow + 4 :]]
        constants.append(numpy_helper.from_array(np.float32(0), "none"))
    return _model(
        nodes,
        [helper.make_tensor_value_info("x", FLOAT, ["batch", width or "width"])],
        [helper.make_tensor_value_info("y", FLOAT, ["batch", width or "width"])],
        tuple(constants),
    )


def echo_text() -> bytes:
    """Texts in lower case: string[batch] → string[batch]."""
    node = helper.make_node("StringNormalizer", ["text"], ["lower"], case_change_action="LOWER", is_case_sensitive=1,
                            locale="C.UTF-8")  # fmt: skip
    return _model(
        [node],
        [helper.make_tensor_value_info("text", TensorProto.STRING, ["batch"])],
        [helper.make_tensor_value_info("lower", TensorProto.STRING, ["batch"])],
    )


def named() -> bytes:
    """What scikit-learn's converter makes of a classifier: label is the largest column's number, probabilities = x."""
    return _model(
        [
            helper.make_node("ArgMax", ["x"], ["label"], axis=1, keepdims=0),
            helper.make_node("Identity", ["x"], ["probabilities"]),
        ],
        [helper.make_tensor_value_info("x", FLOAT, ["batch", 3])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, ["batch"]),
            helper.make_tensor_value_info("probabilities", FLOAT, ["batch", 3]),
        ],
    )


def lookup(size: int = 5) -> bytes:
    """Row of a table by its number; a number outside the table fails the whole batch in onnxruntime."""
    table = numpy_helper.from_array(np.arange(size, dtype=np.float32) * 10, "table")
    return _model(
        [helper.make_node("Gather", ["table", "id"], ["y"])],
        [helper.make_tensor_value_info("id", TensorProto.INT64, ["batch", 1])],
        [helper.make_tensor_value_info("y", FLOAT, ["batch", 1])],
        (table,),
    )


def brightness(height: int = 4, width: int = 6, channels: int = 1, *, rows: int | str = "batch") -> bytes:
    """Probabilities dark, bright from a uint8 picture: its mean over 255."""
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["mean"], keepdims=0),
        helper.make_node("Div", ["mean", "white"], ["bright"]),
        helper.make_node("Sub", ["one", "bright"], ["dark"]),
        helper.make_node("Concat", ["dark_column", "bright_column"], ["probabilities"], axis=1),
    ]
    nodes[4:4] = [helper.make_node("Unsqueeze", [name, "last"], [f"{name}_column"]) for name in ("dark", "bright")]
    return _model(
        nodes,
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [rows, height, width, channels])],
        [helper.make_tensor_value_info("probabilities", FLOAT, [rows, 2])],
        (
            numpy_helper.from_array(np.array([1, 2, 3]), "axes"),
            numpy_helper.from_array(np.array([1]), "last"),
            numpy_helper.from_array(np.float32(255), "white"),
            numpy_helper.from_array(np.float32(1), "one"),
        ),
    )


def identity(datatype: int = FLOAT, *, rank: int = 2) -> bytes:
    """y = x for any ONNX datatype, every dimension open."""
    shape = ["batch", *(f"size{axis}" for axis in range(1, rank))]
    return _model(
        [helper.make_node("Identity", ["x"], ["y"])],
        [helper.make_tensor_value_info("x", datatype, shape)],
        [helper.make_tensor_value_info("y", datatype, shape)],
    )


def put(store: Path, name: str, model: bytes, *, version: int = 1, settled: bool = True) -> Path:
    """Copy a file into a store by hand; `settled`: as if it had lain there for a while."""
    folder = store / name / str(version)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.onnx"
    path.write_bytes(model)
    if settled:
        os.utime(path, (time.time() - 60,) * 2)
    return path


def negative(shape: list[Any]) -> bytes:
    """y = -x, of any declared shape."""
    sides = [helper.make_tensor_value_info(name, FLOAT, shape) for name in "xy"]
    return _model([helper.make_node("Neg", ["x"], ["y"])], sides[:1], sides[1:])


def added_to_four_rows() -> bytes:
    """y is x with four rows of zeros added to it: of one row, or of four, four rows; it fails on any other number."""
    return _model(
        [helper.make_node("Add", ["x", "zeros"], ["y"])],
        [helper.make_tensor_value_info("x", FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("y", FLOAT, ["m", 3])],
        (numpy_helper.from_array(np.zeros((4, 3), np.float32), "zeros"),),
    )


def turned() -> bytes:
    """y is x with rows and columns exchanged: a batch axis that is none."""
    return _model(
        [helper.make_node("Transpose", ["x"], ["y"], perm=[1, 0])],
        [helper.make_tensor_value_info("x", FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("y", FLOAT, ["m", "k"])],
    )


FLOATS = {"name": "x", "dtype": "float32", "shape": [None, 3], "kind": "vector"}
FLOATS_OUT = {"name": "y", "dtype": "float32", "shape": [None, 3], "kind": "tensor"}


def draft(
    folder: Path,
    name: str,
    model: bytes,
    *,
    inputs: list[dict[str, Any]] | None = None,
    outputs: list[dict[str, Any]] | None = None,
    golden: Golden | None = None,
    **facts: Any,
) -> Draft:
    """Write a model's files into a folder, and describe them: by default `affine(2)`'s signature and golden rows."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(model)
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    (golden or Golden(inputs={"x": rows}, keras={"y": rows * 2}, onnx={"y": rows * 2})).write(folder / "golden.npz")
    manifest = Manifest.from_facts(
        **{
            "created": datetime.now(UTC),
            "recipe": "tiny",
            "parameters": {},
            "seed": 1,
            "dataset": {"name": "made-up", "sha256": "0" * 64, "license": "none", "sizes": {"train": 2}},
            "inputs": inputs or [FLOATS],
            "outputs": outputs or [FLOATS_OUT],
            "metrics": {"accuracy": 1.0},
            "parity": {"batch_sizes": [1, 7, 100], "max_abs_difference": {"y": 0.0}},
            "libraries": {"onnx": onnx.__version__},
            "files": digest_files(folder),
        }
        | facts
    )
    return Draft(name, folder, manifest)


def publish(store: Store | Path, name: str, model: bytes, **described: Any) -> StoredVersion:
    """Publish one tiny model; see `draft`."""
    opened = store if isinstance(store, Store) else Store(store)
    with tempfile.TemporaryDirectory() as scratch:
        return opened.publish(draft(Path(scratch), name, model, **described))[0]


def publish_affine(store: Store | Path, name: str = "double", factor: float = 2.0, *, slow: int = 0) -> StoredVersion:
    """Publish y = factor * x over three numbers."""
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    golden = Golden(inputs={"x": rows}, keras={"y": rows * factor}, onnx={"y": rows * factor})
    return publish(store, name, affine(factor, slow=slow), golden=golden)


def publish_table(store: Store | Path, name: str = "table") -> StoredVersion:
    """Publish y = 2 * x over the columns width, height and depth."""
    columns = ["width", "height", "depth"]
    return publish(store, name, affine(), inputs=[FLOATS | {"kind": "features", "columns": columns}])


AGE, JOB = "age (years)", "job title"
JOBS = ("clerk", "bäcker")


def people() -> bytes:
    """Cells as numbers, [batch, 2]: the age, -1 if it is missing, and the job's number: 0 missing, 1 any, 2, 3."""
    numbering = {"": 0} | {job: number for number, job in enumerate(JOBS, 2)}
    nodes = [
        helper.make_node("IsNaN", [AGE], ["unknown"]),
        helper.make_node("Where", ["unknown", "minus", AGE], ["age"]),
        helper.make_node("LabelEncoder", [JOB], ["number"], domain="ai.onnx.ml", keys_strings=list(numbering),
                         values_int64s=list(numbering.values()), default_int64=1),
        helper.make_node("Cast", ["number"], ["job"], to=FLOAT),
        *(helper.make_node("Unsqueeze", [name, "last"], [f"{name}_column"]) for name in ("age", "job")),
        helper.make_node("Concat", ["age_column", "job_column"], ["cells"], axis=1),
    ]  # fmt: skip
    return _model(
        nodes,
        [
            helper.make_tensor_value_info(AGE, FLOAT, ["batch"]),
            helper.make_tensor_value_info(JOB, TensorProto.STRING, ["batch"]),
        ],
        [helper.make_tensor_value_info("cells", FLOAT, ["batch", 2])],
        (numpy_helper.from_array(np.float32(-1), "minus"), numpy_helper.from_array(np.array([1]), "last")),
    )


def publish_people(store: Store | Path, name: str = "people") -> StoredVersion:
    """Publish the table of ages and jobs."""
    inputs = {AGE: np.array([39, np.nan], np.float32), JOB: np.array(["clerk", ""], object)}
    answers = {"cells": np.array([[39, 2], [-1, 0]], np.float32)}
    column = {"shape": [None], "kind": "column"}
    return publish(
        store,
        name,
        people(),
        inputs=[
            {"name": AGE, "dtype": "float32", **column},
            {"name": JOB, "dtype": "string", **column, "categories": JOBS},
        ],
        outputs=[{"name": "cells", "dtype": "float32", "shape": [None, 2], "kind": "tensor"}],
        golden=Golden(inputs=inputs, keras=answers, onnx=answers),
    )


def publish_text(store: Store | Path, name: str = "lower") -> StoredVersion:
    """Publish the model that lowers texts."""
    texts, lowered = np.array(["Ab", "ÉCLAIR"], object), np.array(["ab", "éclair"], object)
    return publish(
        store,
        name,
        echo_text(),
        inputs=[{"name": "text", "dtype": "string", "shape": [None], "kind": "text"}],
        outputs=[{"name": "lower", "dtype": "string", "shape": [None], "kind": "tensor"}],
        golden=Golden(inputs={"text": texts}, keras={"lower": lowered}, onnx={"lower": lowered}),
    )


def publish_lookup(store: Store | Path, name: str = "lookup") -> StoredVersion:
    """Publish the table look-up."""
    ids, values = np.array([[0], [3]]), np.array([[0.0], [30.0]], np.float32)
    return publish(
        store,
        name,
        lookup(),
        inputs=[{"name": "id", "dtype": "int64", "shape": [None, 1], "kind": "tensor"}],
        outputs=[{"name": "y", "dtype": "float32", "shape": [None, 1], "kind": "value"}],
        golden=Golden(inputs={"id": ids}, keras={"y": values}, onnx={"y": values}),
    )


def publish_brightness(store: Store | Path, name: str = "brightness", *, channels: int = 1) -> StoredVersion:
    """Publish the picture model with labels dark and bright."""
    pictures = np.stack([np.full((4, 6, channels), value, np.uint8) for value in (0, 255)])
    answers = np.array([[1, 0], [0, 1]], np.float32)
    return publish(
        store,
        name,
        brightness(channels=channels),
        inputs=[
            {
                "name": "image",
                "dtype": "uint8",
                "shape": [None, 4, 6, channels],
                "kind": "image",
                "image": {"height": 4, "width": 6, "channels": channels},
            }
        ],
        outputs=[
            {
                "name": "probabilities",
                "dtype": "float32",
                "shape": [None, 2],
                "kind": "probabilities",
                "labels": ["dark", "bright"],
            }
        ],
        golden=Golden(inputs={"image": pictures}, keras={"probabilities": answers}, onnx={"probabilities": answers}),
    )


def detector() -> bytes:
    """Finds one cat in every picture that is bright: boxes, scores, classes and how many of the two count."""
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=FLOAT),
        helper.make_node("ReduceMean", ["pixels", "all"], ["mean"], keepdims=1),
        helper.make_node("Reshape", ["mean", "column"], ["level"]),
        helper.make_node("Div", ["level", "white"], ["brightness"]),
        helper.make_node("Mul", ["brightness", "none"], ["zero"]),
        helper.make_node("Reshape", ["zero", "deep"], ["deep zero"]),
        helper.make_node("Add", ["deep zero", "found"], ["boxes"]),
        helper.make_node("Mul", ["brightness", "first"], ["scores"]),
        helper.make_node("Add", ["zero", "first"], ["ones"]),
        helper.make_node("Cast", ["ones"], ["classes"], to=TensorProto.INT64),
        helper.make_node("Greater", ["brightness", "half"], ["is bright"]),
        helper.make_node("Reshape", ["is bright", "flat"], ["flags"]),
        helper.make_node("Cast", ["flags"], ["count"], to=TensorProto.INT64),
    ]
    constants = {
        "all": np.array([1, 2, 3]), "column": np.array([-1, 1]), "deep": np.array([-1, 1, 1]), "flat": np.array([-1]),
        "white": np.float32(255), "none": np.float32(0), "half": np.float32(0.5),
        "first": np.array([[1, 0]], np.float32), "found": np.array([[[1, 0, 4.5, 2], [0, 0, 0, 0]]], np.float32),
    }  # fmt: skip
    shapes = {"boxes": (FLOAT, [2, 4]), "scores": (FLOAT, [2]), "classes": (TensorProto.INT64, [2])}
    return _model(
        nodes,
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 4, 6, 1])],
        [
            *(helper.make_tensor_value_info(name, kind, ["batch", *shape]) for name, (kind, shape) in shapes.items()),
            helper.make_tensor_value_info("count", TensorProto.INT64, ["batch"]),
        ],
        tuple(numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()),
    )


def publish_detector(store: Store | Path, name: str = "cats") -> StoredVersion:
    """Publish the model that finds cats in bright pictures."""
    pictures = np.stack([np.full((4, 6, 1), value, np.uint8) for value in (0, 255)])
    answers = {
        "boxes": np.tile(np.array([[1, 0, 4.5, 2], [0, 0, 0, 0]], np.float32), (2, 1, 1)),
        "scores": np.array([[0, 0], [1, 0]], np.float32),
        "classes": np.array([[1, 0], [1, 0]]),
        "count": np.array([0, 1]),
    }
    return publish(
        store,
        name,
        detector(),
        inputs=[
            {
                "name": "image",
                "dtype": "uint8",
                "shape": [None, 4, 6, 1],
                "kind": "image",
                "image": {"height": 4, "width": 6, "channels": 1},
            }
        ],
        outputs=[
            {"name": "boxes", "dtype": "float32", "shape": [None, 2, 4], "kind": "boxes"},
            {"name": "scores", "dtype": "float32", "shape": [None, 2], "kind": "score"},
            {"name": "classes", "dtype": "int64", "shape": [None, 2], "kind": "label", "labels": ["dog", "cat"]},
            {"name": "count", "dtype": "int64", "shape": [None], "kind": "tensor"},
        ],
        golden=Golden(inputs={"image": pictures}, keras=answers, onnx=answers),
    )

"""Makes the models of other frameworks that tests/service/test_foreign_models.py serves, and what they answer.

Run it where PyTorch and XGBoost are installed; the files are committed, so that the tests need neither:

    pip install torch onnxscript xgboost-cpu onnxmltools scikit-learn
    python tests/support/foreign/make.py

Every folder it makes holds a version as the framework's exporter leaves it (model.onnx, and model.onnx.data where
the exporter puts the weights beside it) and answers.npz: inputs, and what the framework itself computed from them.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxmltools
import torch
import xgboost
from onnxmltools.convert.common.data_types import FloatTensorType
from sklearn.datasets import load_iris
from torch import nn

HERE = Path(__file__).parent
OPSET = 18


def folder(name: str) -> Path:
    made = HERE / name
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    return made


class Classifier(nn.Module):
    """Four numbers in, three probabilities out."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 128), nn.ReLU(), nn.Linear(128, 3))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.layers(features), dim=1)


class Picture(nn.Module):
    """A picture of 8 x 8 in, two numbers out: their mean and their largest."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 4, 3, padding=1)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen = torch.relu(self.convolution(image))
        return seen.mean(dim=(1, 2, 3)), seen.amax(dim=(1, 2, 3))


def answer(name: str, inputs: dict[str, np.ndarray[Any, Any]], outputs: dict[str, np.ndarray[Any, Any]]) -> None:
    arrays = {f"input.{key}": value for key, value in inputs.items()}
    np.savez(HERE / name / "answers.npz", **arrays, **{f"output.{key}": value for key, value in outputs.items()})


def pytorch(name: str, *, external_data: bool) -> None:
    """The exporter of today (torch.export), with an open batch."""
    torch.manual_seed(1)
    model, rows = Classifier().eval(), torch.randn(7, 4)
    torch.onnx.export(
        model, (rows,), folder(name) / "model.onnx", dynamo=True, opset_version=OPSET, external_data=external_data,
        input_names=["features"], output_names=["probabilities"], dynamic_shapes=({0: torch.export.Dim("batch")},),
    )  # fmt: skip
    forget_traces(folder(name) / "model.onnx")
    answer(name, {"features": rows.numpy()}, {"probabilities": model(rows).detach().numpy()})


def forget_traces(path: Path) -> None:
    """Drop what the exporter notes of each node: stack traces, with the paths of the machine that it ran on."""
    model = onnx.load(path, load_external_data=False)
    for node in model.graph.node:
        del node.metadata_props[:]
    path.write_bytes(model.SerializeToString())


def pytorch_legacy(name: str, *, open_batch: bool) -> None:
    """The exporter of before (TorchScript), with two outputs; without dynamic axes the batch is fixed to 1."""
    torch.manual_seed(2)
    model, image = Picture().eval(), torch.randn(1, 1, 8, 8)
    torch.onnx.export(
        model, (image,), folder(name) / "model.onnx", dynamo=False, opset_version=OPSET,
        input_names=["image"], output_names=["mean", "largest"],
        dynamic_axes={key: {0: "batch"} for key in ("image", "mean", "largest")} if open_batch else None,
    )  # fmt: skip
    images = torch.randn(5, 1, 8, 8) if open_batch else image
    mean, largest = (output.detach().numpy() for output in model(images))
    answer(name, {"image": images.numpy()}, {"mean": mean, "largest": largest})


def boosted(name: str) -> None:
    """XGBoost by onnxmltools: a label and probabilities, without a ZipMap."""
    rows, labels = load_iris(return_X_y=True)
    rows = rows.astype(np.float32)
    model = xgboost.XGBClassifier(n_estimators=8, max_depth=3, random_state=0).fit(rows, labels)
    converted = onnxmltools.convert_xgboost(
        model, initial_types=[("features", FloatTensorType([None, 4]))], target_opset=15
    )
    (folder(name) / "model.onnx").write_bytes(converted.SerializeToString())
    answer(name, {"features": rows}, {"label": model.predict(rows), "probabilities": model.predict_proba(rows)})


if __name__ == "__main__":
    pytorch("pytorch", external_data=False)
    pytorch("pytorch-external-data", external_data=True)
    pytorch_legacy("pytorch-legacy", open_batch=True)
    pytorch_legacy("pytorch-legacy-batch-of-1", open_batch=False)
    boosted("xgboost")

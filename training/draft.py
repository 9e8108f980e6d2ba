"""Puts together what is published of one graph: golden rows and the manifest. Knows no Keras layer and no store."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model_store import Draft, Golden, Manifest
from model_store.manifest import GOLDEN_FILE, DatasetFacts, Group, Parity, digest_files
from training.datasets import Dataset
from training.datasets.dataset import tensors
from training.exporting.onnx_session import Session
from training.network import Graph

GOLDEN_ROWS = 10
# Rows without a margin are passed over.
GOLDEN_CANDIDATES = 100
LIBRARIES = ("keras", "tensorflow", "tf2onnx", "onnx", "onnxruntime", "numpy")


def write_golden(graph: Graph, file: Session, dataset: Dataset, folder: Path) -> None:
    """Write a few held-out rows, the first of each class among them, with what Keras and the file answer."""
    rows = dataset.test.take(golden_indices(dataset, graph))
    inputs = graph.sample(rows.inputs)
    Golden(
        inputs=tensors(inputs, [spec.name for spec in graph.inputs]),
        keras=graph.answer(inputs),
        onnx=file.run(inputs),
        truth=None if rows.targets.dtype.hasobject else rows.targets,
    ).write(folder / GOLDEN_FILE)


def golden_indices(dataset: Dataset, graph: Graph) -> npt.NDArray[np.int64]:
    """Choose test rows: the first of each class, filled up with the next ones or cut at ten; all with a margin."""
    firsts: list[int] = []
    if dataset.is_classified:
        firsts = np.unique(dataset.test.targets, return_index=True)[1].tolist()
    others = [index for index in range(len(dataset.test)) if index not in firsts]
    candidates = np.array([*sorted(firsts), *others][:GOLDEN_CANDIDATES], dtype=np.int64)
    sure = candidates[np.flatnonzero(graph.has_margin(graph.sample(dataset.test.inputs[candidates])))]
    return np.sort(sure[:GOLDEN_ROWS])


def draft(
    model: str,
    folder: Path,
    graph: Graph,
    dataset: Dataset,
    *,
    recipe: str,
    parameters: Mapping[str, Any],
    metrics: Mapping[str, float],
    parity: Parity,
    group: Group | None,
    created: datetime,
    extra: Mapping[str, Any],
) -> Draft:
    """Write the manifest's facts over what lies in the folder."""
    manifest = Manifest.from_facts(
        created=created,
        recipe=recipe,
        parameters=dict(parameters),
        seed=parameters["seed"],
        dataset=dataset_facts(dataset),
        inputs=graph.inputs,
        outputs=graph.outputs,
        metrics=dict(metrics),
        parity=parity,
        libraries=libraries(),
        files=digest_files(folder),
        group=group,
        extra=dict(extra),
    )
    return Draft(model, folder, manifest)


def dataset_facts(dataset: Dataset) -> DatasetFacts:
    """Say what is learned from, and under which licence."""
    return DatasetFacts(
        name=dataset.name,
        sha256=dataset.sha256,
        license=dataset.license,
        source=dataset.source,
        sizes=dataset.sizes,
    )


def libraries() -> dict[str, str]:
    """List the versions of what had a part in the file."""
    used = (name for name in LIBRARIES if name in sys.modules)
    installed = {name: version for name in used if (version := _version(name))}
    return {**installed, "python": platform.python_version()}


def _version(name: str) -> str | None:
    """TensorFlow and onnxruntime come as one of several distributions that install the same module."""
    for distribution in (name, f"{name}-cpu", f"{name}-gpu", f"{name}-openvino"):
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None

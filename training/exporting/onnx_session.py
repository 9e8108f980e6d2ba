"""Runs ONNX models on onnxruntime's CPU provider: the one place of training that knows onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime

from training.datasets.dataset import Array, tensors
from training.errors import InvalidGraph

ERRORS_ONLY = 3


class Session:
    """A model ready to run; raises `InvalidGraph` if onnxruntime refuses it."""

    def __init__(self, model: Path | Any) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = ERRORS_ONLY
        source = str(model) if isinstance(model, Path) else model.SerializeToString()
        try:
            self._session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no common class of their own
            raise InvalidGraph(f"onnxruntime refuses the exported graph: {' '.join(str(error).split())}") from None

    def run(self, inputs: Array) -> dict[str, Array]:
        """Answer one batch of raw inputs, which may be a table of columns: output name → array."""
        feed = tensors(inputs, [given.name for given in self._session.get_inputs()])
        names = [output.name for output in self._session.get_outputs()]
        return dict(zip(names, self._session.run(names, feed), strict=True))

    def run_one(self, inputs: Array) -> Array:
        """Answer one batch with the first output."""
        return next(iter(self.run(inputs).values()))

"""The same session for every contender: onnxruntime on the CPU, one thread for a run, no spinning."""

from __future__ import annotations

import os
from typing import Any

import onnxruntime


def open_session() -> Any:
    """Open the network that the variable MODEL names: x FP32 [N, width] → y FP32 [N, classes]."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])

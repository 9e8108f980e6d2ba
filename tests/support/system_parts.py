"""System parts that a machine may lack: a test that needs one is skipped by name, and fails with STRICT=1."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest


def require_program(*names: str) -> str:
    """Find one of these programs on the PATH."""
    for name in names:
        if found := shutil.which(name):
            return found
    return _absent(f"the program {names[0]} is absent: install it to run this test")


def require_cached_data(name: str) -> Path:
    """Find a file of Keras's cache of data sets."""
    path = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"), "datasets", name)
    if not path.exists():
        _absent(f"the data set {name} is absent from Keras's cache: set KERAS_HOME to a folder that has it")
    return path


def require_openvino() -> str:
    """Find `ovenbird` in the environment that `make test` makes for OpenVINO's build of onnxruntime."""
    environment = Path(os.environ.get("OPENVINO_VENV") or Path(__file__).parents[2] / ".venv-openvino")
    command = environment.absolute() / "bin" / "ovenbird"
    if not command.exists():
        _absent(f"no environment with OpenVINO at {environment}: `make test` makes one, or set OPENVINO_VENV")
    return str(command)


def _absent(message: str) -> str:
    if os.environ.get("STRICT") == "1":
        pytest.fail(message)
    pytest.skip(message)

"""System parts that a machine may lack: a test that needs one is skipped by name, and fails with STRICT=1."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def require_program(*names: str) -> str:
    """Find one of these programs on the PATH, or beside the Python that runs the tests."""
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)])
    for name in names:
        if found := shutil.which(name, path=places):
            return found
    return _absent(f"the program {names[0]} is absent: install it to run this test")


def require_cached_data(name: str) -> Path:
    """Find a file of Keras's cache of data sets."""
    path = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"), "datasets", name)
    if not path.exists():
        _absent(f"the data set {name} is absent from Keras's cache: set KERAS_HOME to a folder that has it")
    return path


def require_file(path: Path, message: str) -> Path:
    """Find a file that does not lie in the repository; `message` says what is absent."""
    if not path.exists():
        _absent(message)
    return path


def require_openvino() -> str:
    """Find `ovenbird` in the environment that `make test` makes for OpenVINO's build of onnxruntime."""
    environment = Path(os.environ.get("OPENVINO_VENV") or Path(__file__).parents[2] / ".venv-openvino")
    command = environment.absolute() / "bin" / "ovenbird"
    if not command.exists():
        _absent(f"no environment with OpenVINO at {environment}: `make test` makes one, or set OPENVINO_VENV")
    return str(command)


def clients_environment() -> Path:
    """The virtual environment of other servers' clients: beside the one that runs the tests."""
    return Path(f"{sys.prefix}-clients")


def require_client(package: str) -> Path:
    """Find the Python that can import a client of another server."""
    python = clients_environment() / "bin" / "python"
    if not python.exists() or subprocess.run([python, "-c", f"import {package}"], capture_output=True).returncode:
        _absent(f"the client {package} is absent from {clients_environment()}: `make test` installs it")
    return python


def require_ray() -> str:
    """Find `ovenbird` in the environment that `make test` makes for Ray, beside the one that runs the tests."""
    command = Path(f"{sys.prefix}-ray") / "bin" / "ovenbird"
    if not command.exists():
        _absent(f"no environment with Ray at {command.parents[1]}: `make test` makes one")
    return str(command)


def require_own_network() -> tuple[str, ...]:
    """Find the command that runs another in a network of its own, with the loopback alone."""
    mapped = () if os.geteuid() == 0 else ("--map-root-user",)
    command = ("unshare", "--net", *mapped, "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
    try:
        tried = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
        reason = tried.stderr.strip() if tried.returncode else ""
    except OSError as error:
        reason = str(error)
    if reason:
        _absent(f"a program cannot be given a network of its own: {reason}")
    return command


def require_perf_analyzer() -> tuple[Path, str]:
    """Find Triton's perf_analyzer, and the folder of libraries that it needs besides the system's."""
    environment = clients_environment()
    program = environment / "bin" / "perf_analyzer"
    folders = [str(path) for path in environment.glob("lib/python3*/site-packages/nvidia/cuda_runtime/lib")]
    libraries = ":".join([*folders, os.environ.get("LD_LIBRARY_PATH", "")]).rstrip(":")
    if not program.exists():
        _absent(f"perf_analyzer is absent from {environment}: `make test` installs it")
    tried = subprocess.run([program, "--version"], env=os.environ | {"LD_LIBRARY_PATH": libraries}, capture_output=True)
    if tried.returncode:
        _absent(f"perf_analyzer cannot start: {tried.stderr.decode().strip()} (Debian and Ubuntu: libb64-0d)")
    return program, libraries


def _absent(message: str) -> str:
    if os.environ.get("STRICT") == "1":
        pytest.fail(message)
    pytest.skip(message)

"""Start the tritonserver that pip's nvidia-pytriton carries, with its Python backend, in place of this process.

Usage: triton_server.py FOLDER: the folder is filled with a model repository and the backend.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import onnxruntime
from pytriton.utils.distribution import get_libs_path, get_root_module_path, get_stub_path

CONFIG = """
name: "dense"
backend: "python"
max_batch_size: 64
input {{ name: "x" data_type: TYPE_FP32 dims: {width} }}
output {{ name: "y" data_type: TYPE_FP32 dims: {classes} }}
dynamic_batching {{ }}
instance_group {{ kind: KIND_CPU count: 1 }}
"""


def main() -> None:
    folder, port = Path(sys.argv[1]), os.environ["PORT"]
    session = onnxruntime.InferenceSession(os.environ["MODEL"], providers=["CPUExecutionProvider"])
    (sides,) = zip(session.get_inputs(), session.get_outputs(), strict=True)
    model = folder / "models" / "dense"
    (model / "1").mkdir(parents=True)
    (model / "config.pbtxt").write_text(CONFIG.format(width=sides[0].shape[1], classes=sides[1].shape[1]))
    shutil.copy(Path(__file__).with_name("triton_model.py"), model / "1" / "model.py")
    server = get_root_module_path() / "tritonserver"
    shutil.copytree(server / "backends", folder / "backends")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = shutil.copy(get_stub_path(version), folder / "backends" / "python" / "triton_python_backend_stub")
    Path(stub).chmod(0o755)
    environment = os.environ | {"LD_LIBRARY_PATH": str(get_libs_path())}
    # The stub finds the packages of the Python that is first on the path.
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    command = [
        str(server / "bin" / "tritonserver"), f"--model-repository={folder / 'models'}",
        f"--backend-directory={folder / 'backends'}", "--http-address=127.0.0.1", f"--http-port={port}",
        "--allow-grpc=false", "--allow-metrics=false", "--log-verbose=0",
    ]  # fmt: skip
    os.execve(command[0], command, environment)


if __name__ == "__main__":
    main()

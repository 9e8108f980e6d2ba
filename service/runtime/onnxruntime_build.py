"""Imports onnxruntime: one build of it, with its telemetry off.

The builds for CPU, CUDA and OpenVINO install the same folder and overwrite each other, so exactly one may be there.
"""

from __future__ import annotations

import functools
import os
from typing import Any

from model_store.onnxruntime_builds import conflict, installed_builds
from service.errors import ProviderUnavailable

# Official builds from 1.29 on send telemetry unless told before the import; the name has changed, so both.
TELEMETRY_OFF = {"ORT_DISABLE_TELEMETRY": "1", "ORT_TELEMETRY_DISABLED": "1"}


def check_builds(builds: list[str]) -> None:
    """Raise `ProviderUnavailable`, saying what to install, unless there is exactly one build, with its files."""
    if not builds:
        raise ProviderUnavailable(
            "onnxruntime is not installed; install one of the extras cpu, gpu and openvino: pip install 'ovenbird[cpu]'"
        )
    if trouble := conflict(builds):
        raise ProviderUnavailable(trouble)


@functools.cache
def load() -> Any:
    """Import onnxruntime; once, since finding out which packages are installed takes milliseconds.

    Raises:
        ProviderUnavailable: no build is installed, several are, or the one there cannot be imported.
    """
    check_builds(installed_builds())
    os.environ.update(TELEMETRY_OFF)
    try:
        import onnxruntime
    except ImportError as error:
        raise ProviderUnavailable(f"onnxruntime cannot be imported: {error}") from None
    if not hasattr(onnxruntime, "InferenceSession"):
        raise ProviderUnavailable(
            f"onnxruntime at {onnxruntime.__path__[0]} is incomplete; uninstall every build of it, then install one"
        )
    # The CUDA build finds the libraries that come as Python packages only after this call.
    if hasattr(onnxruntime, "preload_dlls") and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        onnxruntime.preload_dlls()
    return onnxruntime

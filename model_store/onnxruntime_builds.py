"""Which builds of onnxruntime are installed: those for CPU, CUDA and OpenVINO overwrite each other, so take one.

Both sides ask before they import it. Reads what pip has noted; imports no onnxruntime.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Sequence

EXTRAS = {"onnxruntime": "cpu", "onnxruntime-gpu": "gpu", "onnxruntime-openvino": "openvino"}


def installed_builds() -> list[str]:
    """List the onnxruntime packages that are installed."""
    return [name for name in EXTRAS if _is_installed(name)]


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _has_its_files() -> bool:
    """Look for the package's first file: without it a folder that is left can be imported, and is empty."""
    found = importlib.util.find_spec("onnxruntime")
    return found is None or found.origin is not None


def conflict(builds: Sequence[str]) -> str | None:
    """Say in one line what to do about several builds, or one without its files; None where there is none, or one."""
    if len(builds) == 1 and not _has_its_files():
        return (
            f"{builds[0]} is installed, but its files are gone, perhaps with another build that was uninstalled; "
            f"install it anew: pip uninstall -y {builds[0]} && pip install 'ovenbird[{EXTRAS[builds[0]]}]'"
        )
    if len(builds) < 2:
        return None
    return (
        f"{' and '.join(builds)} are installed, and overwrite each other; uninstall them all, then install one: "
        f"pip uninstall -y {' '.join(builds)} && pip install 'ovenbird[{EXTRAS[builds[0]]}]'"
    )

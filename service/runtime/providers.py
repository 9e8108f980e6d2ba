"""Which execution provider a session gets: asked for by a setting, checked against what it really got.

onnxruntime falls back to the CPU in silence when CUDA cannot be loaded, so what counts is what a finished
session reports, never the list of available providers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from service.errors import ProviderUnavailable

CPU = "CPUExecutionProvider"
NAMES = {
    "cpu": CPU,
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}

# TF32 rounds to 10 bits of mantissa: a served answer would differ from Keras's. HEURISTIC: EXHAUSTIVE measures every
# new batch size anew, for seconds. The arena grows by what is asked for, since it is never given back.
OPTIONS: dict[str, dict[str, Any]] = {
    "CUDAExecutionProvider": {
        "use_tf32": "0",
        "cudnn_conv_algo_search": "HEURISTIC",
        "arena_extend_strategy": "kSameAsRequested",
    },
    "OpenVINOExecutionProvider": {"device_type": "CPU"},
}

Provider = tuple[str, dict[str, Any]]


def candidates(setting: str, available: Sequence[str]) -> list[list[Provider]]:
    """List the provider lists to try, best first, for a setting (`auto`, `cpu`, `cuda`, `tensorrt`, `openvino`).

    `auto` takes CUDA where it is available and really works, else the CPU. Every other choice is strict.

    Raises:
        ProviderUnavailable: this build of onnxruntime lacks the provider; the message says which extra brings it.
    """
    if setting == "auto":
        best = [NAMES["cuda"]] if NAMES["cuda"] in available else []
        return [_with_cpu(name) for name in best] + [_with_cpu(CPU)]
    wanted = NAMES[setting]
    if wanted not in available:
        extra = {"cpu": "cpu", "openvino": "openvino"}.get(setting, "gpu")
        raise ProviderUnavailable(
            f"provider {setting!r} is not in this build of onnxruntime (it has {', '.join(available)}); "
            f"install the extra {extra!r} instead, or set the provider to 'auto'"
        )
    return [_with_cpu(wanted)]


def _with_cpu(name: str) -> list[Provider]:
    chosen = [(name, dict(OPTIONS.get(name, {})))]
    return chosen if name == CPU else [*chosen, (CPU, {})]


def check_obtained(wanted: Sequence[Provider], obtained: Sequence[str]) -> str:
    """Return the provider that a session really runs on.

    Raises:
        ProviderUnavailable: it is not the one that was wanted.
    """
    if not obtained or obtained[0] != wanted[0][0]:
        raise ProviderUnavailable(
            f"{wanted[0][0]} was asked for, but the session got {', '.join(obtained) or 'none'}; "
            "the log of onnxruntime above says why (a missing driver or library), or set the provider to 'auto'"
        )
    return obtained[0]

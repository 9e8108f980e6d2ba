"""Which execution providers a session is made with, and which it really got.

onnxruntime falls back to the CPU in silence when a provider cannot be loaded (a missing driver or library, an option
that does not hold here), so what counts is what a finished session reports, never the list of available providers.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from model_store.providers import AUTO, short_name
from service.errors import InvalidSettings, ProviderUnavailable
from service.settings import Settings

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
OPENVINO = "OpenVINOExecutionProvider"

_EXTRAS = {CPU: "cpu", CUDA: "gpu", TENSORRT: "gpu", OPENVINO: "openvino"}
_MEANT = {"gpu": "cuda", "trt": "tensorrt"}

Provider = tuple[str, dict[str, str]]


@dataclass(frozen=True)
class Asked:
    """The providers that are asked for, by their short names, best first; `required`: the first of them or none."""

    names: tuple[str, ...] = (AUTO,)
    options: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    required: bool = False

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Read them from the settings."""
        return cls(settings.provider, settings.provider_options, settings.require_provider)


@dataclass(frozen=True)
class Build:
    """The providers that the installed build of onnxruntime has, and those that any build may have."""

    available: Sequence[str]
    known: Sequence[str]


@dataclass(frozen=True)
class Obtained:
    """What a session runs on: all of its providers, the one that takes most of the graph first.

    `wanted` are those that it was allowed to run on, best first; `reason` says why it is not on the first of them.
    """

    wanted: tuple[str, ...]
    providers: tuple[str, ...]
    reason: str = ""

    @property
    def first(self) -> str:
        """The provider that takes what it can of the graph before the others."""
        return self.providers[0]

    @property
    def fell_back(self) -> bool:
        """Whether it is not the one that was wanted most."""
        return self.first != self.wanted[0]


@dataclass(frozen=True)
class Cuda:
    """On which GPU a session runs, and whether its runs are captured as CUDA graphs."""

    device: int = 0
    graphs: bool = False


def cuda_of(asked: Asked, obtained: Obtained) -> Cuda | None:
    """Read what was asked of CUDA for a session that got it, if only behind another provider; None for any other."""
    if CUDA not in obtained.providers:
        return None
    options = asked.options.get(short_name(CUDA), {})
    # onnxruntime has refused the session by now if these are no number and no truth value.
    graphs = options.get("enable_cuda_graph", "0") in ("1", "true", "True")
    return Cuda(int(options.get("device_id", "0")), graphs)


def wanted(asked: Asked, build: Build) -> tuple[str, ...]:
    """Name in full the providers that a session may run on, best first.

    `auto` wants CUDA, then the CPU, where this build has CUDA; else the CPU.

    Raises:
        InvalidSettings: there are no such providers, in any build; names all of them.
    """
    names = {short_name(name): name for name in (*build.known, *build.available)}
    unknown = dict.fromkeys(name for name in (*asked.names, *asked.options) if name not in (AUTO, *names))
    if unknown:
        raise InvalidSettings([_no_such_provider(name, names, build) for name in unknown])
    automatic = (CUDA, CPU) if CUDA in build.available else (CPU,)
    in_full = automatic if asked.names == (AUTO,) else tuple(names[name] for name in asked.names)
    return in_full[:1] if asked.required else in_full


def _no_such_provider(name: str, names: Mapping[str, str], build: Build) -> str:
    near = _MEANT.get(name) or next(iter(difflib.get_close_matches(name, names, 1)), None)
    hint = f"; did you mean {near}?" if near else ""
    return (
        f"execution provider {name!r}: there is none of this name; this build of onnxruntime has {_short(build)}{hint}"
    )


def tries(wanted: Sequence[str], build: Build) -> list[list[str]]:
    """List the lists of providers to make a session with, one after the other until one works.

    Raises:
        ProviderUnavailable: this build of onnxruntime has none of them; the message says which extra brings it.
    """
    usable = [name for name in wanted if name in build.available]
    if not usable:
        extra = _EXTRAS.get(wanted[0])
        install = f"install the extra {extra!r} instead, or " if extra else ""
        raise ProviderUnavailable(
            f"{' and '.join(wanted)}: not in this build of onnxruntime, which has {_short(build)}; "
            f"{install}ask for a provider that it has"
        )
    return [_with_helpers(usable[first:], build) for first in range(len(usable))]


def _with_helpers(names: list[str], build: Build) -> list[str]:
    """Add what runs the nodes that the others cannot: CUDA behind TensorRT, which needs it anyway, and the CPU."""
    helped = list(names)
    if TENSORRT in helped and CUDA not in helped and CUDA in build.available:
        helped.insert(helped.index(TENSORRT) + 1, CUDA)
    return helped if CPU in helped else [*helped, CPU]


def with_options(names: Sequence[str], asked: Asked, *, threads: int) -> list[Provider]:
    """Give each provider its options: ours, changed by what was asked for."""
    ours = _our_options(threads)
    return [(name, {**ours.get(name, {}), **asked.options.get(short_name(name), {})}) for name in names]


def _our_options(threads: int) -> dict[str, dict[str, str]]:
    return {
        # TF32 rounds to 10 bits of mantissa: a served answer would differ from Keras's. HEURISTIC: EXHAUSTIVE measures
        # every new batch size anew, for seconds. The arena grows by what is asked for, since it is never given back.
        CUDA: {
            "use_tf32": "0",
            "cudnn_conv_algo_search": "HEURISTIC",
            "arena_extend_strategy": "kSameAsRequested",
        },
        # It has threads of its own, by default as many as the host has processors.
        OPENVINO: {"device_type": "CPU", "num_of_threads": str(threads)},
    }


def missing(wanted: Sequence[str], build: Build) -> list[str]:
    """Say of each wanted provider that this build lacks that it does."""
    return [
        f"{name}: not in this build of onnxruntime, which has {_short(build)}"
        for name in wanted
        if name not in build.available
    ]


def _short(build: Build) -> str:
    return ", ".join(short_name(name) for name in build.available)

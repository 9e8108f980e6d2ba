"""Puts a worker on its device: `check` before any worker exists, `take` in the worker after the fork.

A device must be taken before onnxruntime is imported: CUDA counts the GPUs once, and threads inherit the cores of the
one that starts them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from model_store import providers
from service.devices import Cores, Device, Gpu, written
from service.errors import InvalidSettings
from service.runtime.processors import processors_of_own
from service.settings import PREFIX, PROCESSORS, Settings

VISIBLE = "CUDA_VISIBLE_DEVICES"
ORDER = "CUDA_DEVICE_ORDER"

_ON_CUDA = frozenset({"cuda", "tensorrt"})


def check(settings: Settings, environ: Mapping[str, str] = os.environ) -> None:
    """Raise `InvalidSettings` if a device cannot be had by this process, or contradicts the other settings."""
    problems = [problem for device in settings.devices for problem in _problems(device, settings, environ)]
    if problems:
        raise InvalidSettings(list(dict.fromkeys(problems)))


def _problems(device: Device, settings: Settings, environ: Mapping[str, str]) -> Iterator[str]:
    asked = settings.provider[:1] if settings.require_provider else settings.provider
    if isinstance(device, Cores):
        return _problems_of_cores(device, asked)
    return _problems_of_a_gpu(device, asked, settings.provider_options, environ)


def _problems_of_cores(device: Cores, asked: tuple[str, ...]) -> Iterator[str]:
    if _ON_CUDA.issuperset(asked):
        yield f"devices={device}: a worker on cores has no GPU for provider {','.join(asked)}; name GPUs, such as 0,1"
    if not hasattr(os, "sched_getaffinity"):
        yield f"devices={device}: this system cannot bind a process to cores; leave devices out"
        return
    usable = os.sched_getaffinity(0)
    if lacking := device.numbers - usable:
        yield f"devices={device}: this process may not use {written(lacking)}; it may use the cores {written(usable)}"


def _problems_of_a_gpu(
    device: Gpu, asked: tuple[str, ...], options: Mapping[str, Mapping[str, str]], environ: Mapping[str, str]
) -> Iterator[str]:
    listed = _listed(environ)
    if listed is not None and device.number >= len(listed):
        yield (
            f"devices={device}: {VISIBLE}={environ[VISIBLE]!r} leaves {len(listed)}, counted from 0; "
            f"choose one of them, or unset it"
        )
    if asked != (providers.AUTO,) and _ON_CUDA.isdisjoint(asked):
        yield f"devices={device}: provider {','.join(asked)} runs on none of CUDA's GPUs; ask for cuda, or name cores"
    for provider in sorted(_ON_CUDA):
        number = options.get(provider, {}).get("device_id", "0")
        if number != "0":
            yield (
                f"devices={device}: a worker sees its GPU alone, as number 0; "
                f"take device_id={number} out of provider_options"
            )


def _listed(environ: Mapping[str, str]) -> list[str] | None:
    """List what the environment leaves of the GPUs; None where it leaves all of them."""
    if VISIBLE not in environ:
        return None
    return [entry.strip() for entry in environ[VISIBLE].split(",") if entry.strip()]


def take(device: Device, settings: Settings) -> str:
    """Bind this process, a new worker, to its device; return what there is to say of it, for the log.

    Raises:
        OSError: the process may use none of the cores any more.
    """
    if isinstance(device, Gpu):
        os.environ.update(visible(device, os.environ))
        return f"{device} ({VISIBLE}={os.environ[VISIBLE]})"
    os.sched_setaffinity(0, device.numbers)
    processors = processors_of_own(settings.workers)
    os.environ.update({VISIBLE: "", PROCESSORS: str(processors)})
    if settings.provider == (providers.AUTO,):
        # Else it would look for CUDA, and report that it fell back.
        os.environ[f"{PREFIX}PROVIDER"] = providers.CPU
    return f"{device} (processors: {processors})"


def visible(device: Gpu, environ: Mapping[str, str]) -> dict[str, str]:
    """Write the variables with which CUDA sees this GPU alone, as its number 0.

    The number counts within a `CUDA_VISIBLE_DEVICES` that is there already; else it is that of nvidia-smi, which counts
    by the bus, as CUDA by itself does not.
    """
    listed = _listed(environ)
    if listed is not None:
        return {VISIBLE: listed[device.number]}
    return {VISIBLE: str(device.number), ORDER: "PCI_BUS_ID"}

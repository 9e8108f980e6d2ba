"""Golden replay: the version's own inputs through the session just built, against what Keras answered.

An int8 file is held to its own published answers instead. So a wrong export, a corrupted file, or a driver that
computes something else never takes traffic.
"""

from __future__ import annotations

from itertools import pairwise

from model_store import Golden, Manifest, StoredVersion, StoreError
from model_store.golden import compare
from model_store.providers import CPU
from service.errors import ModelRefused, ProviderUnavailable, ServiceError
from service.runtime import onnxruntime_build
from service.runtime.bound import BoundSession
from service.runtime.providers import Asked
from service.runtime.session import Session
from service.runtime.warmup import repeat_rows
from service.tensors import TensorSpec


def replay(session: Session | BoundSession, manifest: Manifest, golden: Golden) -> None:
    """Raise `ModelRefused` unless the session repeats the golden outputs within the manifest's tolerance."""
    try:
        outputs = session.run(golden.inputs)
    except ServiceError as error:
        raise ModelRefused(f"golden replay failed: {error}") from None
    # An int8 file cannot repeat Keras: it must repeat itself.
    expected, author = (golden.onnx, "the int8 file") if manifest.is_quantized else (golden.keras, "Keras")
    problems = compare(expected, outputs, manifest.parity.tolerance)
    if problems:
        raise ModelRefused(f"golden replay disagrees with {author} on {session.obtained.first}: {'; '.join(problems)}")


def replay_padded(session: BoundSession, manifest: Manifest, golden: Golden) -> None:
    """Raise `ModelRefused` unless each size that batches are padded to repeats the golden outputs: each runs by itself.

    The batches are the smallest that are padded to a size, so that what is padded and cut is replayed as well.
    """
    for smaller, _ in pairwise((0, *session.sizes)):
        inputs, keras, onnx = (
            repeat_rows(arrays, smaller + 1) for arrays in (golden.inputs, golden.keras, golden.onnx)
        )
        replay(session, manifest, Golden(inputs=inputs, keras=keras, onnx=onnx))


def check_signature(session: Session, manifest: Manifest) -> None:
    """Raise `ModelRefused` unless the graph's inputs and outputs are those that the manifest promises."""
    for what, promised, found in (
        ("inputs", manifest.inputs, session.signature.inputs),
        ("outputs", manifest.outputs, session.signature.outputs),
    ):
        wanted = {TensorSpec.promised(spec) for spec in promised}
        if {(spec.name, spec.datatype, len(spec.shape)) for spec in wanted} != {
            (spec.name, spec.datatype, len(spec.shape)) for spec in found
        }:
            raise ModelRefused(
                f"the manifest's {what} ({_listed(wanted)}) are not those of the ONNX file ({_listed(found)})"
            )


def _listed(specs: set[TensorSpec] | tuple[TensorSpec, ...]) -> str:
    return ", ".join(sorted(f"{spec.name} {spec.datatype}{spec.wire_shape}" for spec in specs))


def check(stored: StoredVersion) -> list[str]:
    """Replay one stored version on the CPU, for `ovenbird store verify`; return what is wrong.

    Raises:
        ModuleNotFoundError: there is no onnxruntime to replay it on.
    """
    try:
        onnxruntime_build.load()
    except ProviderUnavailable as error:
        raise ModuleNotFoundError(str(error), name="onnxruntime") from None
    try:
        session = Session(stored.onnx_path.read_bytes(), Asked((CPU,)))
        if not stored.is_bare:
            check_signature(session, stored.manifest)
            replay(session, stored.manifest, stored.golden())
    except (ServiceError, StoreError, OSError) as error:
        return [str(error)]
    return []

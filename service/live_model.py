"""One version that serves: its session, its batcher, and what its manifest says."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

from model_store import Manifest, StoredVersion, StoreError
from service.errors import ModelRefused, ServiceError
from service.runtime import replay, warmup
from service.runtime.session import Session
from service.scheduler.batcher import Batcher, Limits
from service.settings import Settings
from service.telemetry.metrics import Metrics, VersionMetrics
from service.tensors import DATATYPES, Arrays, Signature, TensorSpec


@dataclass(frozen=True, eq=False)
class LiveModel:
    """A loaded, warmed and verified version. Immutable; a new version is another LiveModel."""

    name: str
    version: int
    manifest: Manifest
    signature: Signature
    provider: str
    cost: warmup.CostCurve
    batcher: Batcher
    metrics: VersionMetrics
    executor: ThreadPoolExecutor

    @cached_property
    def labels(self) -> dict[str, tuple[str, ...]]:
        """Output name → names of the entries of its last dimension, where the manifest has them."""
        return {spec.name: spec.labels for spec in self.manifest.outputs if spec.labels is not None}

    async def predict(self, inputs: Arrays, *, timeout: float, priority: int = 0) -> Arrays:
        """Compute all outputs for checked inputs, batched with other requests; see `Batcher.submit`."""
        return await self.batcher.submit(inputs, timeout=timeout, priority=priority)

    def close(self) -> None:
        """Let go of the thread; what it runs is finished first."""
        self.executor.shutdown(wait=False)


def load(stored: StoredVersion, settings: Settings, metrics: Metrics, *, threads: int) -> LiveModel:
    """Load a version, warm it, and let it prove itself against its golden file. Blocks; call it from a thread.

    Raises:
        ModelRefused: the version is corrupt, cannot be loaded, or disagrees with its golden file; says why.
    """
    try:
        stored.check_files()
        manifest, golden, model = stored.manifest, stored.golden(), stored.onnx_path.read_bytes()
    except (StoreError, OSError) as error:
        raise ModelRefused(str(error)) from None
    try:
        session = Session(model, provider=settings.provider, threads=threads)
    except ServiceError as error:
        raise ModelRefused(str(error)) from None
    replay.check_signature(session, manifest)
    replay.replay(session, manifest, golden)
    signature = promised_signature(manifest)
    cost = warmup.measure(session, golden.inputs, max_batch_size=settings.max_batch_size if signature.batched else 1)
    return _assemble(
        stored, manifest, signature, session, cost, settings, metrics.for_version(stored.model, stored.version)
    )


def _assemble(
    stored: StoredVersion,
    manifest: Manifest,
    signature: Signature,
    session: Session,
    cost: warmup.CostCurve,
    settings: Settings,
    metrics: VersionMetrics,
) -> LiveModel:
    executor = ThreadPoolExecutor(1, thread_name_prefix=str(stored))
    batcher = Batcher(
        session.run,
        limits=Limits(
            max_batch_size=settings.max_batch_size,
            max_queue_rows=settings.max_queue_rows,
            max_queue_bytes=settings.max_queue_bytes,
        ),
        executor=executor,
        observer=metrics,
        batched=signature.batched,
        # With an open dimension run time depends on more than the rows, so it is never predicted to be short.
        predict_seconds=cost.seconds if signature.fixed_but_batch else lambda rows: max(1e-3, cost.seconds(rows)),
    )
    return LiveModel(
        name=stored.model,
        version=stored.version,
        manifest=manifest,
        signature=signature,
        provider=session.provider,
        cost=cost,
        batcher=batcher,
        metrics=metrics,
        executor=executor,
    )


def promised_signature(manifest: Manifest) -> Signature:
    """Read the signature that a manifest promises."""
    return Signature(
        tuple(TensorSpec(spec.name, DATATYPES[spec.dtype], tuple(spec.shape)) for spec in manifest.inputs),
        tuple(TensorSpec(spec.name, DATATYPES[spec.dtype], tuple(spec.shape)) for spec in manifest.outputs),
    )

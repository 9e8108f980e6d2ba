"""One version that serves: its session, its batcher, and what its manifest says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property

from model_store import Manifest, Serving, StoredVersion, StoreError
from service.errors import BadRequest, InferenceFailed, ModelRefused, ServiceError
from service.runtime import bare, bound, replay, warmup
from service.runtime.bare import BareDescription
from service.runtime.bound import BoundSession
from service.runtime.providers import Asked, Obtained
from service.runtime.session import Session
from service.scheduler.batcher import INLINE_SECONDS, Batcher, Limits
from service.settings import Settings
from service.telemetry.logs import LOGGER
from service.telemetry.metrics import Metrics, VersionMetrics
from service.tensors import Arrays, Signature, TensorSpec

DEFAULT_SERVING = Serving()


@dataclass(frozen=True, eq=False)
class LiveModel:
    """A loaded, warmed and verified version. Immutable; a new version is another LiveModel."""

    name: str
    version: int
    description: Manifest | BareDescription
    signature: Signature
    obtained: Obtained
    cost: warmup.CostCurve
    batcher: Batcher
    metrics: VersionMetrics
    executor: ThreadPoolExecutor
    serving: Serving = DEFAULT_SERVING

    @property
    def group(self) -> tuple[str, ...]:
        """The models that were published together with this one, itself among them; none if it came alone."""
        return (
            self.description.group.members if isinstance(self.description, Manifest) and self.description.group else ()
        )

    @property
    def provider(self) -> str:
        """The execution provider that it really runs on."""
        return self.obtained.first

    @cached_property
    def labels(self) -> dict[str, tuple[str, ...]]:
        """Output name → names of the entries of its last dimension, where they are known."""
        return {spec.name: spec.labels for spec in self.description.outputs if spec.labels is not None}

    @cached_property
    def identity(self) -> tuple[tuple[str, str], ...]:
        """The headers by which an answer says what computed it."""
        return (
            ("Ovenbird-Model", self.name),
            ("Ovenbird-Version", str(self.version)),
            ("Ovenbird-Digest", f"sha256:{self.description.digest}"),
        )

    async def predict(self, inputs: Arrays, *, timeout: float, priority: int = 0) -> Arrays:
        """Compute all outputs for checked inputs, batched with other requests; see `Batcher.submit`."""
        return await self.batcher.submit(inputs, timeout=timeout, priority=priority)

    def close(self) -> None:
        """Let go of the thread; what it runs is finished first."""
        self.executor.shutdown(wait=False)


@dataclass(frozen=True)
class _Read:
    """A version read and built into a session: what is said of it, what runs its batches, and how long."""

    description: Manifest | BareDescription
    signature: Signature
    session: Session | BoundSession
    cost: warmup.CostCurve


def load(
    stored: StoredVersion, settings: Settings, metrics: Metrics, *, threads: int, serving: Serving = DEFAULT_SERVING
) -> LiveModel:
    """Load a version, warm it, and let it prove itself against its golden file. Blocks; call it from a thread.

    A version without a manifest has nothing to prove itself by: it serves if onnxruntime runs it. `threads` is how many
    one run takes where the settings leave it open.

    Raises:
        ModelRefused: the version is corrupt, cannot be loaded, or disagrees with its golden file; says why.
    """
    try:
        read = _read_bare if stored.is_bare else _read_published
        chosen = settings.for_model(serving)
        return _assemble(stored, read(stored, chosen, threads), chosen, metrics, serving)
    except (ServiceError, StoreError, OSError) as error:
        raise ModelRefused(str(error)) from None


def _read_published(stored: StoredVersion, settings: Settings, threads: int) -> _Read:
    stored.check_files()
    manifest, golden = stored.manifest, stored.golden()
    session = _session(stored, stored.onnx_path.read_bytes(), settings, threads)
    replay.check_signature(session, manifest)
    replay.replay(session, manifest, golden)
    signature = promised_signature(manifest)
    runner, cost = _warmed(stored, session, signature, golden.inputs, settings)
    if isinstance(runner, BoundSession):
        replay.replay_padded(runner, manifest, golden)
    return _Read(manifest, signature, runner, cost)


def _read_bare(stored: StoredVersion, settings: Settings, threads: int) -> _Read:
    # Read whole, so that a file that is overwritten later cannot change under the session.
    model = stored.onnx_path.read_bytes()
    weights = bare.weights_beside(stored.onnx_path, model)
    session = _session(stored, model, settings, threads, weights=weights)
    signature = bare.tried(session)
    runner: Session | BoundSession = session
    try:
        runner, cost = _warmed(stored, session, signature, bare.example(signature, 1), settings)
    except BadRequest:
        # It does not take zeros; its requests may be better.
        cost = warmup.CostCurve(())
    return _Read(bare.describe(signature, model, weights), signature, runner, cost)


def _session(
    stored: StoredVersion, model: bytes, settings: Settings, threads: int, *, weights: Mapping[str, bytes] | None = None
) -> Session:
    session = Session(model, Asked.of(settings), weights=weights, threads=settings.threads or threads)
    if session.obtained.fell_back:
        LOGGER.warning(
            "%s runs on %s, not on %s: %s",
            stored, session.obtained.first, session.obtained.wanted[0], session.obtained.reason,
        )  # fmt: skip
    return session


def _warmed(
    stored: StoredVersion, session: Session, signature: Signature, examples: Arrays, settings: Settings
) -> tuple[Session | BoundSession, warmup.CostCurve]:
    """Warm what runs the batches of a session: on a GPU buffers that it is bound to, if it can run from them."""
    runner = bound.runner_for(session, signature)
    if isinstance(runner, BoundSession):
        try:
            return runner, replace(_cost(runner, signature, examples, settings), padded=True)
        except InferenceFailed as error:
            LOGGER.warning("%s runs without bound buffers on %s: %s", stored, session.obtained.first, error)
    return session, _cost(session, signature, examples, settings)


def _cost(session: warmup.Runner, signature: Signature, examples: Arrays, settings: Settings) -> warmup.CostCurve:
    if signature.batched:
        return warmup.measure(session, examples, max_batch_size=settings.max_batch_size)
    return warmup.measure_alone(session, examples)


def _limits(read: _Read, settings: Settings) -> Limits:
    """Let as many rows run together as pay, unless the settings say how many, and no more than the objective allows."""
    most = settings.max_batch_size or read.cost.useful_rows()
    if not settings.max_batch_size and not read.signature.fixed_but_batch:
        # Run time was measured for the examples' lengths; those of the requests may be others.
        most = min(most, warmup.USUAL_ROWS)
    objective = settings.p99_ms / 1000 or math.inf
    return Limits(
        # A request that comes when a batch has just begun waits for that one, and then runs itself.
        max_batch_size=read.cost.rows_within(objective / 2, most=most),
        max_queue_rows=settings.max_queue_rows,
        max_queue_bytes=settings.max_queue_bytes,
        objective_seconds=objective,
    )


def _assemble(stored: StoredVersion, read: _Read, settings: Settings, metrics: Metrics, serving: Serving) -> LiveModel:
    limits = _limits(read, settings)
    series = metrics.for_version(stored.model, stored.version, max_batch_size=limits.max_batch_size)
    executor = ThreadPoolExecutor(1, thread_name_prefix=str(stored))
    if isinstance(read.session, BoundSession):
        read.session.settle(limits.max_batch_size)
    batcher = Batcher(
        read.session.run,
        limits=limits,
        executor=executor,
        observer=series,
        batched=read.signature.batched,
        predict_seconds=read.cost.seconds,
        # With an open dimension run time depends on more than the rows, so that no batch is known to be short.
        inline_seconds=INLINE_SECONDS if read.signature.fixed_but_batch else 0.0,
    )
    return LiveModel(
        name=stored.model,
        version=stored.version,
        description=read.description,
        signature=read.signature,
        obtained=read.session.obtained,
        cost=read.cost,
        batcher=batcher,
        metrics=series,
        executor=executor,
        serving=serving,
    )


def promised_signature(manifest: Manifest) -> Signature:
    """Read the signature that a manifest promises."""
    return Signature(
        tuple(TensorSpec.promised(spec) for spec in manifest.inputs),
        tuple(TensorSpec.promised(spec) for spec in manifest.outputs),
    )

"""One version that serves: its session, its batcher, and what its manifest says."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property

from model_store import Manifest, Serving, StoredVersion, StoreError
from model_store.manifest import REPORT_FILE
from service.errors import BadRequest, ModelRefused, ServiceError
from service.runtime import bare, bound, memory, parallelism, replay, warmup
from service.runtime.bare import BareDescription
from service.runtime.bound import BoundSession
from service.runtime.parallelism import Parallelism, Settled
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
    parallelism: Parallelism
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

    @property
    def has_report(self) -> bool:
        """Whether a page about it was published with it."""
        return isinstance(self.description, Manifest) and REPORT_FILE in self.description.files

    @cached_property
    def labels(self) -> dict[str, tuple[str, ...]]:
        """Output name → names of the entries of its last dimension, or of the classes that it holds, where known."""
        return {spec.name: spec.labels for spec in self.description.outputs if spec.labels is not None}

    @cached_property
    def entry_labels(self) -> dict[str, tuple[str, ...]]:
        """Of `labels` those that name the entries of the last dimension."""
        return {
            spec.name: spec.labels
            for spec in self.description.outputs
            if spec.labels is not None and spec.kind != "label"
        }

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
        """Let go of the threads; what they run is finished first."""
        self.executor.shutdown(wait=False)


@dataclass(frozen=True)
class Proven:
    """A version in a session that is warm and repeated its golden rows: what is said of it, and how long it runs."""

    description: Manifest | BareDescription
    signature: Signature
    settled: Settled


def load(
    stored: StoredVersion, settings: Settings, metrics: Metrics, *, processors: int, serving: Serving = DEFAULT_SERVING
) -> LiveModel:
    """Load a version, warm it, and let it prove itself against its golden file. Blocks; call it from a thread.

    A version without a manifest has nothing to prove itself by: it serves if onnxruntime runs it. `processors` are
    those that its runs may use together, where the settings leave it open.

    Raises:
        ModelRefused: the version is corrupt, cannot be loaded, or disagrees with its golden file; says why.
    """
    try:
        chosen = settings.for_model(serving)
        return _assemble(stored, prove(stored, chosen, processors=processors), chosen, metrics, serving)
    except (ServiceError, StoreError, OSError) as error:
        raise ModelRefused(str(error)) from None


def prove(stored: StoredVersion, settings: Settings, *, processors: int) -> Proven:
    """Build what runs a version, warm it, and let it prove itself; `settings` are those of this model.

    Raises:
        ModelRefused: as `load` does.
    """
    try:
        read = _read_bare if stored.is_bare else _read_published
        return read(
            stored, settings, parallelism.ways(processors, threads=settings.threads, instances=settings.instances)
        )
    except (ServiceError, StoreError, OSError) as error:
        raise ModelRefused(str(error)) from None
    finally:
        memory.give_back_freed()


def _read_published(stored: StoredVersion, settings: Settings, choices: Sequence[Parallelism]) -> Proven:
    stored.check_files()
    manifest, golden, model = stored.manifest, stored.golden(), stored.onnx_path.read_bytes()
    signature = promised_signature(manifest)

    def build(threads: int) -> Session:
        session = Session(model, Asked.of(settings), threads=threads)
        replay.check_signature(session, manifest)
        return session

    settled = _settled(stored, build, signature, golden.inputs, settings, choices)
    replay.replay(settled.runner, manifest, golden)
    if isinstance(settled.runner, BoundSession):
        replay.replay_padded(settled.runner, manifest, golden)
    return Proven(manifest, signature, settled)


def _read_bare(stored: StoredVersion, settings: Settings, choices: Sequence[Parallelism]) -> Proven:
    # Read whole, so that a file that is overwritten later cannot change under the session.
    model = stored.onnx_path.read_bytes()
    weights = bare.weights_beside(stored.onnx_path, model)

    @functools.cache
    def build(threads: int) -> Session:
        return Session(model, Asked.of(settings), weights=weights, threads=threads)

    signature = bare.tried(build(choices[0].threads))
    settled = _settled(stored, build, signature, bare.example(signature, 1), settings, choices)
    return Proven(bare.describe(signature, model, weights), signature, settled)


def _settled(
    stored: StoredVersion,
    build: Callable[[int], Session],
    signature: Signature,
    examples: Arrays,
    settings: Settings,
    choices: Sequence[Parallelism],
) -> Settled:
    """Build what runs the batches, warm it, and find out how many threads and instances pay."""

    def measure(runner: warmup.Runner) -> warmup.CostCurve:
        try:
            if not signature.batched:
                return warmup.measure_alone(runner, examples)
            curve = warmup.measure(runner, examples, max_batch_size=settings.max_batch_size)
            return replace(curve, padded=isinstance(runner, BoundSession))
        except BadRequest:
            # It does not take the examples. Golden rows will be replayed; those of a bare model are made up.
            return warmup.CostCurve(())

    def batch_of(rows: int) -> Arrays:
        return warmup.repeat_rows(examples, rows) if signature.batched else examples

    def runner_of(threads: int) -> Session | BoundSession:
        session = build(threads)
        runner = bound.runner_for(session, signature)
        try:
            runner.prepare(batch_of(1))
        except ServiceError as error:
            LOGGER.warning("%s runs without bound buffers on %s: %s", stored, session.obtained.first, error)
            return session
        return runner

    settled = parallelism.settle(runner_of, measure, batch_of, choices, elsewhere=settings.instances or 1)
    if settled.cost.points:
        settled.runner.give_memory_back(batch_of(1))
    return settled


def _limits(read: Proven, settings: Settings) -> Limits:
    """Let as many rows run together as pay, unless the settings say how many, and no more than the objective allows."""
    most = settings.max_batch_size or read.settled.cost.useful_rows()
    if not settings.max_batch_size and not read.signature.fixed_but_batch:
        # Run time was measured for the examples' lengths; those of the requests may be others.
        most = min(most, warmup.USUAL_ROWS)
    objective = settings.p99_ms / 1000 or math.inf
    return Limits(
        # A request that comes when a batch has just begun waits for that one, and then runs itself.
        max_batch_size=read.settled.cost.rows_within(objective / 2, most=most),
        max_queue_rows=settings.max_queue_rows,
        max_queue_bytes=settings.max_queue_bytes,
        objective_seconds=objective,
    )


def _assemble(stored: StoredVersion, read: Proven, settings: Settings, metrics: Metrics, serving: Serving) -> LiveModel:
    runner, limits = read.settled.runner, _limits(read, settings)
    obtained = runner.obtained
    if obtained.fell_back:
        LOGGER.warning("%s runs on %s, not on %s: %s", stored, obtained.first, obtained.wanted[0], obtained.reason)
    if isinstance(runner, BoundSession):
        runner.settle(limits.max_batch_size)
    series = metrics.for_version(stored.model, stored.version, max_batch_size=limits.max_batch_size)
    instances = read.settled.parallelism.instances
    executor = ThreadPoolExecutor(instances, thread_name_prefix=str(stored))
    batcher = Batcher(
        runner.run,
        limits=limits,
        executor=executor,
        observer=series,
        instances=instances,
        batched=read.signature.batched,
        predict_seconds=read.settled.cost.seconds,
        # With an open dimension run time depends on more than the rows, so that no batch is known to be short.
        inline_seconds=INLINE_SECONDS if read.signature.fixed_but_batch else 0.0,
    )
    return LiveModel(
        name=stored.model,
        version=stored.version,
        description=read.description,
        signature=read.signature,
        obtained=obtained,
        cost=read.settled.cost,
        parallelism=read.settled.parallelism,
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

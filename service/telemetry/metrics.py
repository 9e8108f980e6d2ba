"""The service's Prometheus metrics, on a registry that is passed in.

Children (one model version's series) are looked up once, when the version is loaded: `labels()` has no place on
the hot path. Model names come from the repository, never from a request, so that callers cannot make series.
With several workers prometheus_client keeps the values in files below PROMETHEUS_MULTIPROC_DIR, and a scrape of
any worker answers for all.
"""

from __future__ import annotations

import contextlib
import os
import struct
import time
from collections.abc import Sequence

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from service.telemetry.processes import Processes
from service.telemetry.statistics import Statistics, VersionStatistics

CONTENT_TYPE = CONTENT_TYPE_LATEST
STATES = ("LOADING", "READY", "UNLOADING", "UNAVAILABLE")

SCRAPE_TRIES = 20
SCRAPE_PAUSE_SECONDS = 0.025

_BY_VERSION = ("model", "version")
# 100 µs to 10 s: from a small network answered in the loop to a long queue.
_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """All metrics; `text()` renders them for a scrape. `statistics` are the protocol's, fed by the same observers.

    `processes` tell of the workers; without them nothing is told where several share their metrics through files.
    """

    def __init__(
        self,
        registry: CollectorRegistry | None = None,
        *,
        statistics: Statistics | None = None,
        processes: Processes | None = None,
    ) -> None:
        self.statistics = statistics or Statistics()
        self._processes = processes
        # A series with the time of creation beside every counter and histogram helps nobody and doubles the scrape.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = registry or CollectorRegistry()
        if not is_multiprocess():
            self._registry.register(processes or Processes())
        # (model, version) → the provider that is shown; a version may come back on another one.
        self._providers: dict[tuple[str, str], str] = {}
        # (model, version) → the batch sizes whose run times are shown.
        self._measured: dict[tuple[str, str], Sequence[int]] = {}
        self.requests = Counter(
            "ovenbird_requests", "Inference requests answered with success.", _BY_VERSION, registry=self._registry
        )
        self.errors = Counter(
            "ovenbird_request_errors",
            "Inference requests answered with an error, by kind; no version where none was chosen.",
            (*_BY_VERSION, "kind"),
            registry=self._registry,
        )
        self.rows = Counter("ovenbird_rows", "Rows computed.", _BY_VERSION, registry=self._registry)
        self.request_seconds = self._histogram(
            "ovenbird_request_seconds", "From the request's last byte to its answer.", _SECONDS
        )
        self.queue_seconds = self._histogram("ovenbird_queue_seconds", "A request's wait before its batch.", _SECONDS)
        self.compute_seconds = self._histogram("ovenbird_compute_seconds", "Run time of one batch.", _SECONDS)
        self.batch_rows = self._histogram("ovenbird_batch_rows", "Rows of one batch.", _ROWS)
        self.queue_rows = Gauge(
            "ovenbird_queue_rows",
            "Rows that wait now.",
            _BY_VERSION,
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self.model_state = Gauge(
            "ovenbird_model_state",
            "1 for the state that a version is in; with several workers the number of workers in it.",
            (*_BY_VERSION, "state"),
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self.model_info = Gauge(
            "ovenbird_model_info",
            "1 for a version that is loaded, with the execution provider that it really runs on.",
            (*_BY_VERSION, "provider"),
            registry=self._registry,
            multiprocess_mode="livemax",
        )
        self.provider_fallback = Gauge(
            "ovenbird_provider_fallback",
            "1 for a loaded version that runs on another execution provider than the one it was to have, else 0.",
            _BY_VERSION,
            registry=self._registry,
            multiprocess_mode="livemax",
        )
        self.store_sync_timestamp = Gauge(
            "ovenbird_store_sync_timestamp_seconds",
            "When a remote store was last looked at with success, in seconds since the epoch.",
            ("store",),
            registry=self._registry,
            multiprocess_mode="max",
        )
        self.store_sync_failures = Counter(
            "ovenbird_store_sync_failures", "Looks at a remote store that failed.", ("store",), registry=self._registry
        )
        self.store_sync_seconds = Gauge(
            "ovenbird_store_sync_seconds",
            "How long the last look at a remote store took that did not fail.",
            ("store",),
            registry=self._registry,
            multiprocess_mode="livemax",
        )
        self.expected_compute_seconds = Gauge(
            "ovenbird_expected_compute_seconds",
            "Run time of a batch of so many rows, as it was measured when the version was loaded.",
            (*_BY_VERSION, "rows"),
            registry=self._registry,
            multiprocess_mode="livemax",
        )

    def _histogram(self, name: str, meaning: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(name, meaning, _BY_VERSION, buckets=buckets, registry=self._registry)

    def for_version(self, model: str, version: int, *, max_batch_size: int) -> VersionMetrics:
        """Look up one version's series and statistics."""
        statistics = self.statistics.for_version(model, version, max_batch_size=max_batch_size)
        return VersionMetrics(self, model, str(version), statistics)

    def count_error(self, kind: str, *, model: str = "", version: str = "") -> None:
        """Count a request that failed; name a model only if the repository knows it."""
        self.errors.labels(model, version, kind).inc()

    def set_state(self, model: str, version: int, state: str | None) -> None:
        """Show the state a version is in; None when it is gone."""
        for name in STATES:
            self._show(self.model_state, (model, str(version), name), None if state is None else float(name == state))

    def set_provider(self, model: str, version: int, provider: str, *, loaded: bool, fell_back: bool = False) -> None:
        """Show, or cease to show, the provider that a version runs on, and whether it was to have another one."""
        key = (model, str(version))
        shown = self._providers.pop(key, provider)
        if not loaded or shown != provider:
            self._show(self.model_info, (*key, shown), None)
        if loaded:
            self._providers[key] = provider
            self._show(self.model_info, (*key, provider), 1.0)
        self._show(self.provider_fallback, key, float(fell_back) if loaded else None)

    def set_cost(self, model: str, version: int, points: Sequence[tuple[int, float]]) -> None:
        """Show the run times that were measured for a version, as rows and seconds; none when it is gone."""
        key = (model, str(version))
        for rows in self._measured.pop(key, ()):
            self._show(self.expected_compute_seconds, (*key, str(rows)), None)
        for rows, seconds in points:
            self._show(self.expected_compute_seconds, (*key, str(rows)), seconds)
        if points:
            self._measured[key] = [rows for rows, _ in points]

    def _show(self, gauge: Gauge, labels: tuple[str, ...], value: float | None) -> None:
        if value is not None:
            gauge.labels(*labels).set(value)
        elif is_multiprocess():
            # There a series lives in a file and cannot be removed.
            gauge.labels(*labels).set(0)
        else:
            gauge.remove(*labels)

    def text(self) -> bytes:
        """Render the metrics in Prometheus's text format, summed over all workers."""
        return _text_of_all_workers(self._processes) if is_multiprocess() else generate_latest(self._registry)


def _text_of_all_workers(processes: Processes | None) -> bytes:
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    if processes is not None:
        registry.register(processes)
    for _ in range(SCRAPE_TRIES - 1):
        # A worker that starts or ends makes and removes its files while they are read here.
        with contextlib.suppress(struct.error, OSError, ValueError):
            return generate_latest(registry)
        time.sleep(SCRAPE_PAUSE_SECONDS)
    return generate_latest(registry)


def is_multiprocess() -> bool:
    """Whether several workers share their metrics through files."""
    return "PROMETHEUS_MULTIPROC_DIR" in os.environ


class VersionMetrics:
    """One model version's series and statistics; the batcher's observer."""

    def __init__(self, metrics: Metrics, model: str, version: str, statistics: VersionStatistics) -> None:
        labels = (model, version)
        self._statistics = statistics
        self._requests = metrics.requests.labels(*labels)
        self._rows = metrics.rows.labels(*labels)
        self._request_seconds = metrics.request_seconds.labels(*labels)
        self._queue_seconds = metrics.queue_seconds.labels(*labels)
        self._compute_seconds = metrics.compute_seconds.labels(*labels)
        self._batch_rows = metrics.batch_rows.labels(*labels)
        self._queue_rows = metrics.queue_rows.labels(*labels)

    def answered(self, seconds: float) -> None:
        """Count a request that was answered with success."""
        self._requests.inc()
        self._request_seconds.observe(seconds)
        self._statistics.answered(seconds)

    def failed(self, seconds: float) -> None:
        """Count, in the statistics, a request to this version that was answered with an error."""
        self._statistics.failed(seconds)

    def waiting(self, rows: int) -> None:
        """Show how many rows wait now."""
        self._queue_rows.set(rows)

    def batch(
        self,
        *,
        rows: int,
        queue_seconds: Sequence[float],
        input_seconds: float,
        infer_seconds: float,
        output_seconds: float,
    ) -> None:
        """Record one batch that ran."""
        self._rows.inc(rows)
        self._batch_rows.observe(rows)
        self._compute_seconds.observe(input_seconds + infer_seconds + output_seconds)
        for seconds in queue_seconds:
            self._queue_seconds.observe(seconds)
        self._statistics.batch(
            rows=rows,
            queue_seconds=queue_seconds,
            input_seconds=input_seconds,
            infer_seconds=infer_seconds,
            output_seconds=output_seconds,
        )

"""The service's Prometheus metrics, on a registry that is passed in.

Children (one model version's series) are looked up once, when the version is loaded: `labels()` has no place on
the hot path. Model names come from the repository, never from a request, so that callers cannot make series.
With several workers prometheus_client keeps the values in files below PROMETHEUS_MULTIPROC_DIR, and a scrape of
any worker answers for all.
"""

from __future__ import annotations

import contextlib
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

from service.telemetry.processes import Processes, is_multiprocess
from service.telemetry.statistics import Statistics, VersionStatistics
from service.telemetry.store_metrics import StoreMetrics
from service.telemetry.version_gauges import VersionGauges

CONTENT_TYPE = CONTENT_TYPE_LATEST

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
        self.versions = VersionGauges(self._registry)
        self.store = StoreMetrics(self._registry)
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

    def _histogram(self, name: str, meaning: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(name, meaning, _BY_VERSION, buckets=buckets, registry=self._registry)

    def for_version(self, model: str, version: int, *, max_batch_size: int) -> VersionMetrics:
        """Look up one version's series and statistics."""
        statistics = self.statistics.for_version(model, version, max_batch_size=max_batch_size)
        return VersionMetrics(self, model, str(version), statistics)

    def count_error(self, kind: str, *, model: str = "", version: str = "") -> None:
        """Count a request that failed; name a model only if the repository knows it."""
        self.errors.labels(model, version, kind).inc()

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

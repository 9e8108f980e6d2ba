"""What is told of looking at a remote store: when it last answered, how long that took, how often it did not."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class StoreMetrics:
    """The metrics of looks at remote stores; a folder has none."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._timestamp = Gauge(
            "ovenbird_store_sync_timestamp_seconds",
            "When a remote store was last looked at with success, in seconds since the epoch.",
            ("store",),
            registry=registry,
            multiprocess_mode="max",
        )
        self._failures = Counter(
            "ovenbird_store_sync_failures", "Looks at a remote store that failed.", ("store",), registry=registry
        )
        self._seconds = Gauge(
            "ovenbird_store_sync_seconds",
            "How long the last look at a remote store took that did not fail.",
            ("store",),
            registry=registry,
            multiprocess_mode="livemax",
        )

    def looked(self, store: str, *, seconds: float) -> None:
        """Show how long a look took."""
        self._seconds.labels(store).set(seconds)

    def known_as_of(self, store: str, at: float) -> None:
        """Show when the newest look began that did not fail, in seconds since the epoch."""
        self._timestamp.labels(store).set(at)

    def failed(self, store: str) -> None:
        """Count a look that failed."""
        self._failures.labels(store).inc()

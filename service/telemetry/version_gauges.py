"""What is told of each version that was looked at: its state, what it runs on, how long its runs take."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from prometheus_client import CollectorRegistry, Gauge

from service.telemetry.processes import is_multiprocess

STATES = ("LOADING", "READY", "UNLOADING", "UNAVAILABLE")

_BY_VERSION = ("model", "version")


class VersionGauges:
    """Gauges that come and go with the versions of models.

    What changes, on the event loop only: `_providers`, (model, version) → the provider that is shown (a version may
    come back on another one), and `_measured`, (model, version) → the batch sizes whose run times are shown.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._providers: dict[tuple[str, str], str] = {}
        self._measured: dict[tuple[str, str], Sequence[int]] = {}
        self._state = Gauge(
            "ovenbird_model_state",
            "1 for the state that a version is in; with several workers the number of workers in it.",
            (*_BY_VERSION, "state"),
            registry=registry,
            multiprocess_mode="livesum",
        )
        # What is true of a version is so in every worker.
        gauge = partial(Gauge, registry=registry, multiprocess_mode="livemax")
        self._info = gauge(
            "ovenbird_model_info",
            "1 for a version that is loaded, with the execution provider that it really runs on.",
            (*_BY_VERSION, "provider"),
        )
        self._fallback = gauge(
            "ovenbird_provider_fallback",
            "1 for a loaded version that runs on another execution provider than the one it was to have, else 0.",
            _BY_VERSION,
        )
        self._expected_seconds = gauge(
            "ovenbird_expected_compute_seconds",
            "Run time of a batch of so many rows, as it was measured when the version was loaded.",
            (*_BY_VERSION, "rows"),
        )

    def set_state(self, model: str, version: int, state: str | None) -> None:
        """Show the state a version is in; None when it is gone."""
        for name in STATES:
            _show(self._state, (model, str(version), name), None if state is None else float(name == state))

    def set_provider(self, model: str, version: int, provider: str, *, loaded: bool, fell_back: bool = False) -> None:
        """Show, or cease to show, the provider that a version runs on, and whether it was to have another one."""
        key = (model, str(version))
        shown = self._providers.pop(key, provider)
        if not loaded or shown != provider:
            _show(self._info, (*key, shown), None)
        if loaded:
            self._providers[key] = provider
            _show(self._info, (*key, provider), 1.0)
        _show(self._fallback, key, float(fell_back) if loaded else None)

    def set_cost(self, model: str, version: int, points: Sequence[tuple[int, float]]) -> None:
        """Show the run times that were measured for a version, as rows and seconds; none when it is gone."""
        key = (model, str(version))
        for rows in self._measured.pop(key, ()):
            _show(self._expected_seconds, (*key, str(rows)), None)
        for rows, seconds in points:
            _show(self._expected_seconds, (*key, str(rows)), seconds)
        if points:
            self._measured[key] = [rows for rows, _ in points]


def _show(gauge: Gauge, labels: tuple[str, ...], value: float | None) -> None:
    if value is not None:
        gauge.labels(*labels).set(value)
    elif is_multiprocess():
        # There a series lives in a file and cannot be removed.
        gauge.labels(*labels).set(0)
    else:
        gauge.remove(*labels)

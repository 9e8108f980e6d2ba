"""What a scrape shows: of several workers, whatever they do meanwhile; of a version that comes back changed."""

from __future__ import annotations

import struct
import threading
from pathlib import Path

import pytest

from service.telemetry.metrics import Metrics


def test_a_worker_that_is_just_making_its_files_does_not_fail_a_scrape(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    half_made = tmp_path / "counter_1.db"
    half_made.touch()
    finished = threading.Timer(0.1, half_made.unlink)
    finished.start()

    assert Metrics().text() == b""
    finished.join()


def test_a_file_that_stays_broken_is_not_passed_over_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    (tmp_path / "counter_1.db").touch()

    with pytest.raises(struct.error):
        Metrics().text()


def test_the_run_times_of_a_version_that_was_measured_anew_take_the_place_of_the_old_ones() -> None:
    metrics = Metrics()

    metrics.versions.set_cost("double", 1, [(1, 0.5), (2, 0.75)])
    metrics.versions.set_cost("double", 1, [(1, 0.25)])

    lines = [line for line in metrics.text().decode().splitlines() if line.startswith("ovenbird_expected")]
    assert lines == ['ovenbird_expected_compute_seconds{model="double",rows="1",version="1"} 0.25']


def test_a_version_that_comes_back_on_another_provider_is_shown_on_that_one_only() -> None:
    metrics = Metrics()

    def shown() -> set[str]:
        lines = metrics.text().decode().splitlines()
        return {line for line in lines if line.startswith(("ovenbird_model_info", "ovenbird_provider_fallback"))}

    metrics.versions.set_provider("double", 1, "CUDA", loaded=True)
    metrics.versions.set_provider("double", 1, "CPU", loaded=True, fell_back=True)

    assert shown() == {
        'ovenbird_model_info{model="double",provider="CPU",version="1"} 1.0',
        'ovenbird_provider_fallback{model="double",version="1"} 1.0',
    }
    metrics.versions.set_provider("double", 1, "CPU", loaded=False)
    assert shown() == set()

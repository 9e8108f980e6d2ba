"""The scrape of several workers' metrics, whatever the workers do meanwhile."""

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

"""`ovenbird bench` against a real service."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from service_process import OVENBIRD, RunningService, free_port

from service.load_generator import arrivals

SHORT = ["--seconds", "0.1"]


def bench(url: str, *words: str) -> Any:
    return subprocess.run([*OVENBIRD, "bench", *words, "--url", url], capture_output=True, text=True, check=False)


def report_of(service: RunningService, *words: str) -> Any:
    shown = bench(service.url, *words, *SHORT, "--json")
    assert (shown.returncode, shown.stderr) == (0, "")
    return json.loads(shown.stdout)


@pytest.mark.parametrize("payload", ["json", "binary"])
@pytest.mark.parametrize("model", ["double", "lower", "lookup", "brightness", "one-row", "turned", "scalar"])
def test_the_requests_fit_the_model(service: RunningService, model: str, payload: str) -> None:
    report = report_of(service, model, "--payload", payload, "--clients", "2")

    assert report["requests"] > 0
    assert report["failures"] == {}


def test_a_closed_loop_counts_rows_as_the_service_does(service: RunningService) -> None:
    before = service.metric("ovenbird_rows_total", model="double")

    report = report_of(service, "double", "--rows", "7", "--clients", "3")

    computed = service.metric("ovenbird_rows_total", model="double") - before
    assert report["rows_per_second"] * report["seconds"] == pytest.approx(7 * report["requests"])
    # What went before: one request to see that all is well, and the warm-up.
    assert 7 * report["requests"] < computed
    assert computed % 7 == 0
    assert report["server"]["rows_per_batch"] >= 7
    assert 0 < report["latency"]["p50"] <= report["latency"]["p99"] <= report["latency"]["p99.9"]
    assert (report["clients"], report["rate"]) == (3, None)


def test_an_open_loop_sends_what_is_due(service: RunningService) -> None:
    report = report_of(service, "double@1", "--rate", "100")

    assert report["requests"] == len(list(arrivals(100, 0.1)))
    assert (report["clients"], report["rate"]) == (None, 100)


def test_a_file_is_sent_as_it_is_and_its_rows_are_counted_by_the_service(
    service: RunningService, tmp_path: Path
) -> None:
    Image.new("L", (6, 4), 200).save(tmp_path / "a.png")
    tensor = {"name": "x", "shape": [2, 3], "datatype": "FP32", "data": [1, 2, 3, 4, 5, 6]}
    (tmp_path / "two.json").write_text(json.dumps({"inputs": [tensor]}))

    picture = report_of(service, "brightness", "--data", str(tmp_path / "a.png"), "--clients", "1")
    rows = report_of(service, "double", "--data", str(tmp_path / "two.json"), "--clients", "1")

    assert picture["rows_per_second"] == pytest.approx(picture["requests_per_second"])
    assert rows["rows_per_second"] == pytest.approx(2 * rows["requests_per_second"])


def test_the_report_reads_as_a_table(service: RunningService) -> None:
    shown = bench(service.url, "double", "--clients", "2", *SHORT)

    first, *lines = shown.stdout.splitlines()
    assert first.startswith("double: 2 clients, one after the other, ")
    names = [line.split()[0] for line in lines[:5]]
    assert names == ["requests/s", "rows/s", "latency", "failures", "batches"]
    assert lines[3].split() == ["failures", "none"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        pytest.param(["nope"], 1, "unknown model 'nope'; there is: ", id="unknown-model"),
        pytest.param(["double", "--rate", "1", "--clients", "1"], 2, "give one of them", id="both-loops"),
        pytest.param(["one-row", "--rows", "2"], 2, "input 'x' has shape [1, 3]", id="too-many-rows"),
        pytest.param(["double", "--rows", "40000"], 1, "the body is larger than", id="too-large"),
        pytest.param(["double", "--rate", "0"], 2, "--rate", id="no-rate"),
        pytest.param(["double", "--rate", "inf"], 2, "--rate", id="endless-rate"),
        pytest.param(["double", "--data", "absent.json"], 2, "absent.json", id="no-file"),
    ],
)
def test_a_mistake_is_explained_before_anything_is_measured(
    service: RunningService, words: list[str], code: int, message: str
) -> None:
    shown = bench(service.url, *words, *SHORT)

    assert (shown.returncode, shown.stdout) == (code, "")
    assert message in shown.stderr
    assert "Traceback" not in shown.stderr


def test_a_service_that_is_not_there_is_said_to_be_missing() -> None:
    shown = bench(f"http://127.0.0.1:{free_port()}", "double", *SHORT)

    assert shown.returncode == 1
    assert "is `ovenbird serve` running there?" in shown.stderr


def test_an_address_without_a_scheme_is_refused() -> None:
    shown = bench("127.0.0.1:8000", "double", *SHORT)

    assert shown.returncode == 2
    assert "expected http://… or https://…" in shown.stderr

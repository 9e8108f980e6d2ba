"""Clients of other servers, unchanged, in an environment of their own (see tests/support/clients.txt)."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from service_process import RunningService
from system_parts import require_client, require_perf_analyzer

DOUBLED = [[0, 2, 4], [6, 8, 10]]
UNKNOWN = [404, "unknown model 'nobody'"]


@pytest.mark.system
def test_kserves_client_asks_as_it_asks_kserve(service: RunningService) -> None:
    python = require_client("kserve")
    script = Path(__file__).parents[1] / "support" / "ask_as_kserve.py"

    asked = subprocess.run([python, script, service.url], capture_output=True, text=True, check=False, timeout=120)

    assert asked.returncode == 0, asked.stderr
    heard = json.loads(asked.stdout)
    for texts in ("v2 texts", "v2 texts as bytes"):
        # The client makes up an id where none was given.
        assert heard.pop(texts)["outputs"] == [["äb", "c"]]
    for nobody in ("v2 nobody", "v1 nobody", "v1 nobody ready"):
        status, message = heard[nobody]
        heard[nobody] = [status, message.split("; there is: ")[0]]
    assert heard == {
        "v2 live": True,
        "v2 ready": True,
        "v2 model ready": True,
        "v2 nobody ready": False,
        "v2 json": {"id": "7", "model": "double", "outputs": [DOUBLED]},
        "v2 binary": {"id": "7", "model": "double", "outputs": [DOUBLED]},
        "v2 binary out": {"id": "7", "model": "double", "outputs": [DOUBLED]},
        "v2 this output binary": {"id": "7", "model": "double", "outputs": [DOUBLED]},
        "v2 wrong": [400, "inputs: expected a list of one or more tensors, received an empty list"],
        "v2 nobody": UNKNOWN,
        "v1 live": True,
        "v1 model ready": True,
        "v1 nobody ready": UNKNOWN,
        "v1 predict": {"predictions": DOUBLED},
        "v1 wrong": [400, "instances: expected one or more rows, received an empty list"],
        "v1 nobody": UNKNOWN,
        "v1 explain": [400, "a model is asked to :classify, :predict, :regress, and not to :explain"],
    }


@pytest.mark.system
@pytest.mark.parametrize("tensors", ["json", "binary"])
def test_perf_analyzer_measures_it_as_it_measures_triton(service: RunningService, tensors: str, tmp_path: Path) -> None:
    program, libraries = require_perf_analyzer()
    report = tmp_path / "report.csv"
    words = [
        program, "-m", "double", "-u", f"127.0.0.1:{service.port}", "-i", "http", "-b", "4",
        "--concurrency-range", "2", "--request-count", "40",
        "--input-tensor-format", tensors, "--output-tensor-format", tensors, "-f", report,
    ]  # fmt: skip

    measured = subprocess.run(
        words, env=os.environ | {"LD_LIBRARY_PATH": libraries}, capture_output=True, text=True, check=False, timeout=120
    )

    assert measured.returncode == 0, measured.stdout + measured.stderr
    assert "Request count: 40" in measured.stdout
    assert "Server: \n    Inference count: " in measured.stdout
    assert "Concurrency: 2, throughput:" in measured.stdout
    assert [line.split(",")[0] for line in report.read_text().splitlines()[:2]] == ["Concurrency", "2"]

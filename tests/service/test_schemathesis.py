"""Requests made from the service's own description, right and wrong ones, find nothing that it does not say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from service_process import RunningService

HOW = Path(__file__).parents[1] / "support" / "schemathesis"
# Models whose like is asked anyway.
LEFT_OUT = "slow|colour|no-rows|turned"


def test_the_service_does_what_its_description_says(service: RunningService, tmp_path: Path) -> None:
    """As a process of its own: it warns of much, and where warnings are errors it could not even begin."""
    schemathesis = Path(sys.executable).with_name("schemathesis")
    words = [
        schemathesis, "--config-file", HOW / "schemathesis.toml", "run", f"{service.url}/openapi.json",
        "--generation-deterministic", "--max-examples", "5", "--phases", "examples,coverage,fuzzing",
        "--exclude-path-regex", f"/({LEFT_OUT})[/:]", "--warnings", "off", "--no-color",
    ]  # fmt: skip
    environment = os.environ | {"SCHEMATHESIS_HOOKS": "bodies", "PYTHONPATH": str(HOW)}

    shown = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    assert shown.returncode == 0, shown.stdout[-10_000:] + shown.stderr
    asked = re.search(r"(\d+) generated, \1 passed", shown.stdout)
    assert asked is not None, shown.stdout[-2000:]
    assert int(asked[1]) > 1000

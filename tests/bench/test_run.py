"""`python -m bench.run`, in a part that takes seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from system_parts import require_program

ROOT = Path(__file__).parents[2]


def bench(*words: str) -> Any:
    return subprocess.run([sys.executable, "-m", "bench.run", *words], cwd=ROOT, capture_output=True, text=True,
                          check=False)  # fmt: skip


@pytest.mark.system
def test_a_part_is_measured_and_written_with_day_and_machine(tmp_path: Path) -> None:
    require_program("wrk")

    shown = bench("--quick", "--only", "floor,start", "--out", str(tmp_path))

    assert shown.returncode == 0, shown.stderr
    (page,) = tmp_path.glob("*.md")
    found = json.loads(page.with_suffix(".json").read_text())
    assert set(found["goals"]) == {"floor", "start-seconds", "start-megabytes"}
    assert found["notes"] == []
    cases = {(one["who"], one["payload"], one["clients"]) for one in found["figures"]}
    assert cases == {
        (who, way, count) for who in ("ovenbird", "floor") for way in ("json", "binary") for count in (1, 64)
    }
    assert all(one["requests_per_second"] > 0 and one["errors"] == 0 for one in found["figures"])
    assert page.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert f"{found['machine']['cores']} cores" in page.read_text()


@pytest.mark.system
def test_an_unknown_part_is_refused_with_those_that_there_are() -> None:
    require_program("wrk")

    shown = bench("--only", "nobody")

    assert shown.returncode == 2
    assert "unknown nobody; there is: floor, naive, triton" in shown.stderr

"""What a scrape tells of the processes: their memory, their limit, when they began."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from service import run_dir
from service.telemetry.metrics import Metrics
from service.telemetry.processes import Processes


def values(found: Processes) -> dict[str, float]:
    return {family.name: family.samples[0].value for family in found.collect()}


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def machine(tmp_path: Path) -> Callable[..., Processes]:
    """A machine of 1000 kB that was started at second 5000; its processes are workers."""

    def make(*pids: int, cgroup: dict[str, str] | None = None) -> Processes:
        ticks = os.sysconf("SC_CLK_TCK")
        write(tmp_path / "proc/meminfo", "MemTotal: 1000 kB\nMemFree: 1 kB\n")
        write(tmp_path / "proc/stat", "cpu 1 2 3\nbtime 5000\n")
        run_dir.prepare(tmp_path / "run")
        for pid in pids:
            write(tmp_path / f"proc/{pid}/status", f"VmRSS: 999 kB\nRssAnon: {pid} kB\nRssFile: 1 kB\nRssShmem: 2 kB\n")
            before = " ".join(["0"] * 19)
            write(tmp_path / f"proc/{pid}/stat", f"{pid} (a (strange) name) {before} {pid * ticks} 0 0")
            run_dir.worker_came(tmp_path / "run", pid)
        for name, text in (cgroup or {}).items():
            write(tmp_path / "cgroup" / name, text)
        return Processes(tmp_path / "run", proc=tmp_path / "proc", cgroup=tmp_path / "cgroup")

    return make


def test_the_workers_are_added_up_and_the_youngest_one_tells_of_restarts(machine: Callable[..., Processes]) -> None:
    assert values(machine(10, 30)) == {
        "ovenbird_workers": 2,
        "ovenbird_worker_start_seconds": 5030,
        "ovenbird_memory_bytes": 44 * 1024,
        "ovenbird_memory_limit_bytes": 1000 * 1024,
    }


@pytest.mark.parametrize(
    ("cgroup", "limit"),
    [
        pytest.param({"memory.max": "4096\n"}, 4096, id="v2"),
        pytest.param({"memory.max": "max\n"}, 1024000, id="v2-none"),
        pytest.param({"memory/memory.limit_in_bytes": "8192\n"}, 8192, id="v1"),
        pytest.param({"memory/memory.limit_in_bytes": "9223372036854771712\n"}, 1024000, id="v1-none"),
    ],
)
def test_the_limit_is_the_containers(machine: Callable[..., Processes], cgroup: dict[str, str], limit: int) -> None:
    assert values(machine(10, cgroup=cgroup))["ovenbird_memory_limit_bytes"] == limit


def test_a_worker_that_ended_between_two_looks_is_passed_over(
    machine: Callable[..., Processes], tmp_path: Path
) -> None:
    found = machine(10)
    run_dir.worker_came(tmp_path / "run", 11)

    assert values(found)["ovenbird_workers"] == 1


def test_where_there_is_no_proc_nothing_is_told(tmp_path: Path) -> None:
    assert values(Processes(proc=tmp_path)) == {}


def test_a_process_alone_tells_of_itself() -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("there is no /proc here")

    found = values(Processes())

    assert found["ovenbird_workers"] == 1
    assert 1_000_000 < found["ovenbird_memory_bytes"] < found["ovenbird_memory_limit_bytes"]
    assert 0 < found["ovenbird_worker_start_seconds"] <= time.time() + 1
    assert b"\novenbird_workers 1.0\n" in Metrics().text()

"""What the workers hold and when they began, read from Linux's /proc and the cgroup at each scrape.

For alerts on memory and on workers that are restarted again and again. Knows neither models nor requests. Where there
is no /proc it tells nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service import run_dir as files

PROC = Path("/proc")
CGROUP = Path("/sys/fs/cgroup")

_START_FIELD = 21  # of /proc/PID/stat, counted from 0: in clock ticks since the machine was started


class Processes(Collector):
    """The workers of this service: those in the run directory, or without one this process alone."""

    def __init__(self, run_dir: Path | None = None, *, proc: Path = PROC, cgroup: Path = CGROUP) -> None:
        self._run_dir = run_dir
        self._proc = proc
        self._cgroup = cgroup

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the names are known without a look at the processes."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Read the processes that are there now."""
        found = [worker for pid in self._pids() if (worker := _read_process(self._proc, pid))]
        if not found:
            return
        memory, starts = zip(*found, strict=True)
        yield _gauge("ovenbird_workers", "Processes that serve.", len(found))
        yield _gauge("ovenbird_worker_start_seconds", "When the youngest worker began, since the epoch.", max(starts))
        yield _gauge("ovenbird_memory_bytes", "Memory of all workers that cannot be reclaimed from them.", sum(memory))
        yield _gauge("ovenbird_memory_limit_bytes", "What the container, or else the machine, has.", self._limit())

    def _pids(self) -> set[int]:
        return files.live(self._run_dir) if self._run_dir else {os.getpid()}

    def _limit(self) -> int:
        """Return the least of the cgroup's limit (v2, then v1) and the machine's memory, in bytes."""
        names = ("memory.max", "memory/memory.limit_in_bytes")
        limits = [int(text) for name in names if (text := _read(self._cgroup / name)).isdigit()]
        return min([*limits, _kilobytes(_read(self._proc / "meminfo"), "MemTotal")])


def _gauge(name: str, meaning: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, meaning, value=value)


def _read_process(proc: Path, pid: int) -> tuple[int, float] | None:
    """Return a process's memory in bytes and its start in seconds since the epoch; None if it has ended."""
    status = _read(proc / str(pid) / "status")
    # The command's name, in parentheses, may hold spaces.
    fields = _read(proc / str(pid) / "stat").rpartition(")")[2].split()
    if "RssAnon" not in status or not fields:
        return None
    memory = _kilobytes(status, "RssAnon") + _kilobytes(status, "RssShmem")
    ticks = int(fields[_START_FIELD - 2])
    return memory, _boot_seconds(proc) + ticks / os.sysconf("SC_CLK_TCK")


def _boot_seconds(proc: Path) -> float:
    """Return when the machine was started, in seconds since the epoch."""
    lines = _read(proc / "stat").splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("btime "))


def _kilobytes(text: str, name: str) -> int:
    """Return the bytes of a line such as `RssAnon:   1234 kB`."""
    line = next(line for line in text.splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def is_multiprocess() -> bool:
    """Whether several workers share their metrics through files."""
    return "PROMETHEUS_MULTIPROC_DIR" in os.environ

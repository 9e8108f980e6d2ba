"""How many processors this process may really use: affinity and the container's quota, not the host's cores."""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def usable_processors(cgroup: Path = CGROUP) -> int:
    """Count the processors that affinity and the cgroup's CPU quota (v2, then v1) leave; at least 1."""
    return _left(cgroup, sharers=1)


def _left(cgroup: Path, *, sharers: int) -> int:
    """Count what affinity leaves, and of the quota one sharer's part; at least 1."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota_v2(cgroup) or _quota_v1(cgroup)
    return max(1, min(affinity, math.ceil(quota / sharers))) if quota else max(1, affinity)


def processors_of_own(workers: int, cgroup: Path = CGROUP) -> int:
    """Count the processors of one of so many workers that is bound to cores of its own: only the quota is shared."""
    return _left(cgroup, sharers=workers)


def _quota_v2(cgroup: Path) -> float | None:
    words = _read(cgroup / "cpu.max").split()
    return int(words[0]) / int(words[1]) if len(words) == 2 and words[0].isdigit() else None


def _quota_v1(cgroup: Path) -> float | None:
    quota, period = _read(cgroup / "cpu/cpu.cfs_quota_us"), _read(cgroup / "cpu/cpu.cfs_period_us")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""

"""Servers under measurement: started, their processor time and memory read from /proc, stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
# Between two looks at whether a server is ready.
LOOK_SECONDS = 0.01
# Less than this part of a processor within so many seconds is idle.
IDLE_SECONDS, IDLE_SHARE = 0.1, 0.2


@dataclass
class Server:
    """A running server and its port."""

    process: subprocess.Popen[bytes]
    port: int
    seconds_to_ready: float

    @property
    def pids(self) -> list[int]:
        """The process that was started, and all that descend from it."""
        return descendants(self.process.pid)


@contextlib.contextmanager
def running(
    command: Sequence[str],
    *,
    port: int,
    ready: str,
    log: Path,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 120.0,
) -> Iterator[Server]:
    """Start a server, wait until its path `ready` answers 200, and stop it and its children in the end."""
    started = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env={**os.environ, **(env or {})}, cwd=cwd, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        try:
            url = f"http://127.0.0.1:{port}{ready}"
            if not wait_until_ready(url, timeout=timeout, alive=lambda: process.poll() is None):
                raise RuntimeError(f"not ready: {url}\n{log.read_text(errors='replace')[-3000:]}")
            yield Server(process, port, time.monotonic() - started)
        finally:
            _stop(process)


def wait_until_ready(url: str, *, timeout: float, alive: Callable[[], bool] = lambda: True) -> bool:
    """Ask until the answer is 200; give up after so many seconds, or when what is asked is no longer alive."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline and alive():
        with contextlib.suppress(OSError, urllib.error.URLError), urllib.request.urlopen(url, timeout=5) as answer:
            if answer.status == 200:
                return True
        time.sleep(LOOK_SECONDS)
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    pids = descendants(process.pid)
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(20)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def descendants(pid: int) -> list[int]:
    """List a process and all that it started, and they."""
    found = [pid]
    for known in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{known}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def cpu_seconds(pids: Sequence[int]) -> float:
    """Sum the processor time that processes have used, user and system."""
    return sum(_cpu(pid) for pid in pids)


def _cpu(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


def wait_until_idle(pids: Sequence[int], *, timeout: float = 5.0) -> None:
    """Let processes finish what an ended client has left in their queues; some are never idle, hence the bound."""
    deadline = time.monotonic() + timeout
    before = cpu_seconds(pids)
    while time.monotonic() < deadline:
        time.sleep(IDLE_SECONDS)
        now = cpu_seconds(pids)
        if now - before <= IDLE_SHARE * IDLE_SECONDS and not any(_wants_to_run(pid) for pid in pids):
            return
        before = now


def _wants_to_run(pid: int) -> bool:
    """Tell whether a thread runs or waits for a processor: on a busy machine it may get none for a while."""
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            if (task / "stat").read_text().rpartition(")")[2].split()[0] == "R":
                return True
    return False


def resident_bytes(pids: Sequence[int]) -> int:
    """Sum the memory that processes hold, what they share counted in parts (PSS)."""
    return sum(_pss(pid) for pid in pids)


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)

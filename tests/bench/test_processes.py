"""Servers under measurement are started, accounted for with their children, and stopped."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from service_process import wait_for

from bench.processes import cpu_seconds, free_port, resident_bytes, running, wait_until_idle

# Serves on the port it is given, and has a child that has computed for 0.3 s before it says so.
WITH_CHILD = """
import http.server, os, sys, time
if os.fork() == 0:
    while time.process_time() < 0.3: pass
    open(sys.argv[2], "w").write(str(os.getpid()))
    time.sleep(60)
while not os.path.exists(sys.argv[2]): time.sleep(0.01)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def test_children_count_and_are_stopped_with_their_parent(tmp_path: Path) -> None:
    port, told = free_port(), tmp_path / "child"
    command = [sys.executable, "-c", WITH_CHILD, str(port), str(told)]

    with running(command, port=port, ready="/", log=tmp_path / "log", cwd=tmp_path) as server:
        child = int(told.read_text())
        assert server.pids == [server.process.pid, child]
        assert cpu_seconds([child]) >= 0.29
        assert cpu_seconds(server.pids) >= cpu_seconds([child])
        assert resident_bytes(server.pids) > 1_000_000

    wait_for(lambda: all(has_ended(pid) for pid in (server.process.pid, child)), "both to end")


def test_a_server_is_waited_for_until_it_has_done_what_it_was_left_with() -> None:
    program = "import time\nwhile time.process_time() < 0.5: pass\nprint(flush=True)\ntime.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        wait_for(lambda: cpu_seconds([process.pid]) > 0.05, "it to compute")

        wait_until_idle([process.pid], timeout=60)

        assert cpu_seconds([process.pid]) >= 0.45
        process.kill()


def has_ended(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_server_that_ends_at_once_is_quoted(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no model there')"]

    with (
        pytest.raises(RuntimeError, match="no model there"),
        running(command, port=free_port(), ready="/", log=tmp_path / "log", env=dict(os.environ)),
    ):
        pass

"""wrk counts what was refused as answered; a throughput does not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from system_parts import require_program

from bench import closed_loop
from bench.processes import free_port, running
from bench.requests import Request

# Refuses every second request.
REFUSING = """
import itertools, http.server, sys
turn = itertools.count()
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self): self.answer(200)
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(STATUS[next(turn) % len(STATUS)])
    def answer(self, status):
        self.send_response(status); self.send_header("Content-Length", "0"); self.end_headers()
    def log_message(self, *words): pass
STATUS = [int(word) for word in sys.argv[2:]]
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
REQUEST = Request("/", b"rows")


@pytest.mark.system
def test_only_success_is_throughput_and_refusals_are_errors(tmp_path: Path) -> None:
    require_program("wrk")
    port = free_port()
    command = [sys.executable, "-c", REFUSING, str(port), "200", "429", "429", "429"]

    with running(command, port=port, ready="/", log=tmp_path / "log") as server:
        seen = closed_loop.run(port, REQUEST, clients=1, seconds=1, pids=server.pids)

    answered = seen.requests_per_second
    assert answered > 0
    # wrk may have been told to stop between an answer and the next; it also takes longer than the second.
    assert seen.errors / 3 == pytest.approx(answered, rel=0.5)
    assert seen.cpu_microseconds > 0


@pytest.mark.system
def test_a_server_that_refuses_everything_is_not_measured(tmp_path: Path) -> None:
    require_program("wrk")
    port = free_port()

    with (
        running(
            [sys.executable, "-c", REFUSING, str(port), "503"], port=port, ready="/", log=tmp_path / "log"
        ) as server,
        pytest.raises(RuntimeError, match="no request was answered with success"),
    ):
        closed_loop.run(port, REQUEST, clients=1, seconds=1, pids=server.pids)

"""A closed loop: so many clients, each sends its next request when the last one is answered. wrk does the sending.

wrk is written in C: a Python client would be the bottleneck. A closed loop shows what a request costs and how much a
server can take; it hides waiting (a slow answer keeps the next request back), so latencies are taken in the open loop.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench.processes import cpu_seconds, resident_bytes
from bench.requests import Request

LATENCY_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


@dataclass(frozen=True)
class ClosedLoop:
    """What one run of wrk saw, and what it cost the server; the latencies are of all answers, refusals among them."""

    clients: int
    requests_per_second: float
    cpu_microseconds: float
    p50_seconds: float
    p99_seconds: float
    p999_seconds: float
    resident_bytes: int
    errors: int


def run(port: int, request: Request, *, clients: int, seconds: int, pids: list[int]) -> ClosedLoop:
    """Send one request again and again over so many connections; `pids` are the server's processes."""
    with tempfile.TemporaryDirectory() as folder:
        script = _script(Path(folder), request)
        before, started = cpu_seconds(pids), time.monotonic()
        output = subprocess.run(
            ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "30s", "--latency", "-s", str(script),
             f"http://127.0.0.1:{port}{request.path}"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        used, took = cpu_seconds(pids) - before, time.monotonic() - started
    refused = int(_number(r"Non-2xx or 3xx responses: (\d+)", output))
    # What was refused is no throughput.
    count = int(_number(r"(\d+) requests in", output)) - refused
    if count <= 0:
        raise RuntimeError(f"no request was answered with success:\n{output}")
    return ClosedLoop(
        clients=clients,
        requests_per_second=count / took,
        cpu_microseconds=used / count * 1e6,
        p50_seconds=_latency("50%", output),
        p99_seconds=_latency("99%", output),
        p999_seconds=_number(r"p999 (\d+) us", output) / 1e6,
        resident_bytes=resident_bytes(pids),
        errors=refused + _socket_errors(output),
    )


def _script(folder: Path, request: Request) -> Path:
    (folder / "body").write_bytes(request.body)
    lines = [
        'wrk.method = "POST"',
        f'wrk.body = io.open("{folder / "body"}", "rb"):read("*a")',
        *(f'wrk.headers["{name}"] = "{value}"' for name, value in request.headers.items()),
        # Of itself it prints no percentile beyond the 99th.
        'done = function(_, latency) io.write(string.format("p999 %d us\\n", latency:percentile(99.9))) end',
    ]
    script = folder / "request.lua"
    script.write_text("\n".join(lines))
    return script


def _number(pattern: str, output: str) -> float:
    found = re.search(pattern, output)
    return float(found[1]) if found else 0.0


def _latency(percentile: str, output: str) -> float:
    found = re.search(rf"{percentile}\s+([\d.]+)(us|ms|s|m)\b", output)
    return float(found[1]) * LATENCY_UNITS[found[2]] if found else float("nan")


def _socket_errors(output: str) -> int:
    found = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    return sum(map(int, found.groups())) if found else 0

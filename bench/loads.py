"""Loads that can be measured again and again: a server under so many clients, or onnxruntime alone in a loop."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from bench import closed_loop
from bench.catalogue import Way
from bench.figures import Figure
from bench.processes import Server, wait_until_idle
from bench.requests import Request, rows

# From seconds to the figure of one run.
Measure = Callable[[int], Figure]


@dataclass(frozen=True)
class Case:
    """What is asked of whom."""

    who: str
    network: str
    payload: str
    rows: int
    clients: int


def against(server: Server, case: Case, request: Request, *, statistics: str | None = None) -> Measure:
    """Make the load of a closed loop; `statistics` is the path of Triton's statistics, where there are some."""

    def measure(seconds: int) -> Figure:
        before = _batches(server, statistics)
        seen = closed_loop.run(server.port, request, clients=case.clients, seconds=seconds, pids=server.pids)
        wait_until_idle(server.pids)
        rows_run, batches = (now - then for now, then in zip(_batches(server, statistics), before, strict=True))
        return Figure(
            case.who, case.network, case.payload, case.rows, case.clients, seen.requests_per_second,
            seen.cpu_microseconds, seen.p50_seconds, seen.p99_seconds, seen.p999_seconds, seen.resident_bytes,
            rows_run / batches if batches else None, seen.errors,
        )  # fmt: skip

    return measure


def _batches(server: Server, path: str | None) -> tuple[int, int]:
    if path is None:
        return 0, 0
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}") as answer:
        (stats,) = json.load(answer)["model_stats"]
    return stats["inference_count"], stats["execution_count"]


def alone(network: str, model: Path, *, batch: int, threads: int) -> Measure:
    """Make the limit: onnxruntime runs one batch again and again, and nothing else happens."""
    session = _session(model, threads)
    data = {session.get_inputs()[0].name: rows(batch)}

    def measure(seconds: int) -> Figure:
        started, cpu, count = time.perf_counter(), time.process_time(), 0
        while (took := time.perf_counter() - started) < seconds:
            session.run(None, data)
            count += 1
        used = time.process_time() - cpu
        return Figure("onnxruntime alone", network, "arrays", batch, 1, count / took, used / count * 1e6)

    return measure


def check(server: Server, way: Way, model: Path) -> int:
    """Ask about three rows and compare with onnxruntime, so that nobody is measured while wrong.

    Returns the size of the answer about one row.

    Raises:
        RuntimeError: the answer is another.
    """
    data = rows(3)
    (expected,) = _session(model, 1).run(None, {"x": data})
    received = way.read(_ask(server, way.ask(data)))
    if received.shape != expected.shape or not np.allclose(received, expected, rtol=1e-4, atol=1e-5):
        raise RuntimeError(f"a wrong answer: {received} instead of {expected}")
    return len(_ask(server, way.ask(data[:1])))


def _ask(server: Server, request: Request) -> bytes:
    posted = urllib.request.Request(f"http://127.0.0.1:{server.port}{request.path}", request.body, request.headers)
    with urllib.request.urlopen(posted, timeout=60) as answer:
        body: bytes = answer.read()
    return body


def _session(model: Path, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])

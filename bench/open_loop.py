"""An open loop in a process of its own: Poisson arrivals at a rate, latency from when a request was due.

The client is `service.load_generator`, in Python, on uvloop; it turns while it waits, so it needs a processor of its
own, and says how late it was itself.
"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
import uvloop

from bench.requests import Request
from service.load_generator import Load, Target, open_loop


@dataclass(frozen=True)
class OpenLoop:
    """What one run saw; `kept_up` is False where the generator was as late as the answers."""

    rate: float
    answered: int
    failures: dict[str, int]
    p50_seconds: float
    p99_seconds: float
    p999_seconds: float
    lateness_p99_seconds: float

    @property
    def kept_up(self) -> bool:
        return self.lateness_p99_seconds < self.p50_seconds


def run(port: int, request: Request, *, rate: float, seconds: float) -> OpenLoop:
    """Send one request again and again, at random moments, `rate` a second on average."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        load = process.submit(_send, port, request, rate, seconds).result()
    p50, p99, p999 = np.quantile(load.latencies or [float("nan")], [0.5, 0.99, 0.999])
    lateness = float(np.quantile(load.lateness, 0.99))
    return OpenLoop(rate, len(load.latencies), dict(load.failures), float(p50), float(p99), float(p999), lateness)


def _send(port: int, request: Request, rate: float, seconds: float) -> Load:
    target = Target("127.0.0.1", port)
    message = target.request(request.path, request.body, request.headers)
    return uvloop.run(open_loop(target, [message], rate=rate, seconds=seconds))

"""Measure what requests cost the real service: one worker on a core of its own, wrk on the others.

Processor time, from /proc, is steadier on a busy machine than the time that passes; from 1, 4, 16 and 64 clients come
batches of many sizes, and with several rows in a request the cost of a row can be told from that of a request.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.capacity.costs import Costs, NothingMeasured, Point, entry, fit
from bench.capacity.footprint import footprint
from bench.figures import Figure, median_round
from bench.loads import Case, against
from bench.prepare import ENVIRONMENTS, ROOT
from bench.processes import Server, free_port, resident_bytes, running
from bench.requests import Request
from service.sample_requests import encode, random_inputs

STARTERS = ROOT / "model_store" / "models"
CLIENTS = (1, 4, 16, 64)
ROWS = (1, 8)


@dataclass(frozen=True)
class Plan:
    """How long a measurement lasts, in seconds, how often it is made (the median counts), and from how many clients."""

    seconds: int = 1
    rounds: int = 3
    clients: tuple[int, ...] = CLIENTS


def measure(models: Sequence[str], plan: Plan, *, store: Path = STARTERS) -> dict[str, Any]:
    """Measure each model in a service that holds the whole store, and what that takes beside its requests.

    Raises:
        NothingMeasured: a model does not run on the CPU, whose time alone is measured here.
    """
    cores = sorted(os.sched_getaffinity(0))
    with serving(store, cores[:1]) as server, kept_to(cores[1:] or cores):
        # First, while nothing has been asked and no buffer has grown.
        beside = asdict(footprint(server, store))
        return {"models": {model: _measured(server, model, plan) for model in models}, "replica": beside}


@contextlib.contextmanager
def serving(store: Path, cores: Sequence[int] = (), *, workers: int = 1) -> Iterator[Server]:
    """Start the service with one thread and one run at once for each worker; with cores, each worker bound to one."""
    port = free_port()
    program = str(Path(sys.executable).with_name("ovenbird"))
    command = [program, "serve", "--store", str(store), "--port", str(port), "--control", "none"]
    command += ["--devices", ",".join(f"cpu:{core}" for core in cores)] if cores else ["--workers", str(workers)]
    ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
    variables = {"OVENBIRD_THREADS": "1", "OVENBIRD_INSTANCES": "1", "OVENBIRD_PROVIDER": "cpu"}
    log = ENVIRONMENTS / f"capacity-{port}.log"
    with running(command, port=port, ready="/v2/health/ready", log=log, env=variables) as server:
        yield server


@contextlib.contextmanager
def kept_to(cores: Sequence[int]) -> Iterator[None]:
    """Let this process and those that it starts run on some cores only, for a while."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def request_for(server: Server, model: str, rows: int) -> Request:
    """Make a request that fits what the service says of a model, as binary tensors."""
    tensors = get(server, f"/v2/models/{model}")["inputs"]
    datatypes = {tensor["name"]: tensor["datatype"] for tensor in tensors}
    inputs = random_inputs(tensors, rows, np.random.default_rng(0))
    return Request(f"/v2/models/{model}/infer", *encode(inputs, datatypes, "binary"))


def get(server: Server, path: str) -> Any:
    """Ask a running server for JSON."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=30) as answer:
        return json.load(answer)


def _measured(server: Server, model: str, plan: Plan) -> dict[str, Any]:
    config = get(server, f"/v2/models/{model}/config")
    provider = get(server, f"/v2/models/{model}").get("properties", {}).get("provider", "CPUExecutionProvider")
    if provider != "CPUExecutionProvider":
        raise NothingMeasured(f"model {model!r} runs on {provider}; only the processor's time can be measured here")
    figures = {
        (rows, clients): _figure(server, model, rows, clients, plan) for rows in ROWS for clients in plan.clients
    }
    points = [
        Point(
            rows=rows,
            requests_per_batch=max(1.0, (figure.rows_per_batch or rows) / rows),
            cpu_seconds=figure.cpu_microseconds / 1e6,
        )
        for (rows, _), figure in figures.items()
    ]
    request, batch, row = fit(points)
    alone = figures[ROWS[0], plan.clients[0]].p50_seconds or 0.0
    costs = Costs(
        request_seconds=request,
        batch_seconds=batch,
        row_seconds=row,
        outside_seconds=max(0.0, alone - (request + batch + row)),
        largest_batch=max(1, int(config["max_batch_size"])),
        worker_bytes=resident_bytes(server.pids),
    )
    seen = [figure.requests_per_second for (rows, _), figure in figures.items() if rows == 1]
    return {**entry(costs, points), "requests_per_second": dict(zip(map(str, plan.clients), seen, strict=True))}


def _figure(server: Server, model: str, rows: int, clients: int, plan: Plan) -> Figure:
    """Take the round whose processor time is the median, and of the latencies the least: others' work adds to them."""
    load = against(
        server,
        Case("ovenbird", model, "binary", rows, clients),
        request_for(server, model, rows),
        statistics=f"/v2/models/{model}/stats",
    )
    rounds = [load(plan.seconds) for _ in range(plan.rounds)]
    return replace(median_round(rounds), p50_seconds=min(figure.p50_seconds or math.inf for figure in rounds))

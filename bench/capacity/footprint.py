"""What a replica takes beside its requests: time to start, memory, idle connections, the size of a scrape."""

from __future__ import annotations

import socket
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.processes import Server, cpu_seconds, resident_bytes

IDLE_CONNECTIONS = 500


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Of one worker with all models of a store; seconds and bytes."""

    models: int
    store_files: int
    seconds_to_ready: float
    resident_bytes: int
    connection_bytes: int
    scrape_bytes: int
    scrape_series: int
    scrape_seconds_of_processor: float


def footprint(server: Server, store: Path) -> Footprint:
    """Look at a running server that has no other work."""
    scrape = _scrape(server)
    return Footprint(
        models=len(list(store.glob("*/*/manifest.json"))),
        store_files=sum(path.is_file() for path in store.glob("**/*")),
        seconds_to_ready=server.seconds_to_ready,
        resident_bytes=resident_bytes(server.pids),
        connection_bytes=_connection_bytes(server),
        scrape_bytes=len(scrape),
        scrape_series=sum(not line.startswith(b"#") for line in scrape.splitlines()),
        scrape_seconds_of_processor=_scrape_seconds(server),
    )


def _scrape(server: Server) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=30) as answer:
        body: bytes = answer.read()
    return body


def _scrape_seconds(server: Server, times: int = 50) -> float:
    before = cpu_seconds(server.pids)
    for _ in range(times):
        _scrape(server)
    return (cpu_seconds(server.pids) - before) / times


def _connection_bytes(server: Server) -> int:
    """Memory of a connection on which one request was answered, and that is kept; the kernel's is not counted."""
    before = resident_bytes(server.pids)
    with ExitStack() as opened:
        for _ in range(IDLE_CONNECTIONS):
            connection = opened.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n")
            connection.recv(4096)
        return max(0, resident_bytes(server.pids) - before) // IDLE_CONNECTIONS

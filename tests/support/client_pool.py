"""Clients that ask without pause, each in a thread of its own, while something else happens."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol, TypeVar


class Clients(Protocol):
    """`run` is one client: it asks until `stopping` is set."""

    stopping: threading.Event

    def run(self, number: int) -> None: ...


AnyClients = TypeVar("AnyClients", bound=Clients)


@contextmanager
def asking(clients: AnyClients, count: int) -> Iterator[AnyClients]:
    """Run so many clients until the block ends; what one of them raises is raised then."""
    with ThreadPoolExecutor(count) as pool:
        futures = [pool.submit(clients.run, number) for number in range(count)]
        try:
            yield clients
        finally:
            clients.stopping.set()
    for future in futures:
        future.result()

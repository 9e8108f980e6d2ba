"""Bounds on the waits for Hugging Face's hub. Its client has none: it waits for ever, and asks up to six times.

The client opens its sessions with what is put here in front of every request, for all of the process.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from model_store.remote import waits

TOO_MANY_REQUESTS = 429


class Patience:
    """How long the hub may take: until the latest end of what is being done. `_ends` changes under `_lock` only."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ends: list[float] = []

    @contextmanager
    def lasting(self, seconds: float) -> Iterator[None]:
        """Do something that takes so long at most; the client does parts of it in threads of its own."""
        end = time.monotonic() + seconds
        with self._lock:
            self._ends.append(end)
        try:
            yield
        finally:
            with self._lock:
                self._ends.remove(end)

    def before(self, request: Any) -> None:
        """Bound a request that is about to be sent; raise `TimeoutError` if it comes too late."""
        with self._lock:
            left = max(self._ends, default=math.inf) - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connect, other = min(left, waits.CONNECT_SECONDS), min(left, waits.READ_SECONDS)
        request.extensions["timeout"] = {"connect": connect, "read": other, "write": other, "pool": other}

    def after(self, response: Any) -> None:
        """Raise `OSError` where the client would rest for as long as the hub says, which may be minutes."""
        if response.status_code == TOO_MANY_REQUESTS:
            raise OSError(f"{TOO_MANY_REQUESTS} Too Many Requests")


PATIENCE = Patience()


def bound() -> None:
    """Bound all requests of this process's sessions with the hub."""
    # The client would ask for a list of agents, to tell the hub under which of them it runs.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import get_session, set_client_factory

    # What fails in the end is told in one line.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    first = get_session()
    before, after = first.event_hooks["request"], first.event_hooks["response"]
    if PATIENCE.before in before:
        return
    hooks: dict[str, list[Callable[..., Any]]]
    hooks = {"request": [*before, PATIENCE.before], "response": [*after, PATIENCE.after]}
    set_client_factory(lambda: type(first)(event_hooks=hooks, follow_redirects=True))

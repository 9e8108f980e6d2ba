"""The event loop that owns the scheduler, for code that runs in threads (Flask) and must submit to it.

Under the asyncio front it is the server's loop. Where no loop runs (Flask alone under a plain WSGI server) a daemon
thread runs one, started on first use in each process: a thread does not survive a fork.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, TypeVar

from service.errors import DeadlineExceeded

Result = TypeVar("Result")


class OwningLoop:
    """Knows the loop of this process. `_loop` and `_pid` change under `_lock` only."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = -1

    def adopt(self, loop: asyncio.AbstractEventLoop) -> None:
        """Use a loop that a server runs already."""
        with self._lock:
            self._loop, self._pid = loop, os.getpid()

    def call(self, work: Coroutine[Any, Any, Result], *, timeout: float) -> Result:
        """Run a coroutine on the loop from another thread and wait for it.

        Raises:
            DeadlineExceeded: it took longer than `timeout` seconds; it is cancelled.
        """
        future = asyncio.run_coroutine_threadsafe(work, self._get())
        try:
            return future.result(timeout)
        except FutureTimeout:
            future.cancel()
            raise DeadlineExceeded(f"no answer within {timeout:g} seconds") from None

    def _get(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None or self._pid != os.getpid():
                self._loop, self._pid = asyncio.new_event_loop(), os.getpid()
                threading.Thread(target=self._loop.run_forever, name="scheduler", daemon=True).start()
            return self._loop

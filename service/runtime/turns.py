"""Who may use the GPU: any number of threads that run, or one that captures a CUDA graph.

onnxruntime captures in CUDA's global mode. While it does, what another thread of the process asks of the device
(memory, a copy) fails, and so does the capture: a model that is loaded would fail the requests of those that serve.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """Lets many run at once, or one capture alone, which goes before runs that have not begun.

    What changes is `_running` (how many run), `_capturing` and `_captures` (how many capture or wait to). It is touched
    only while `_changed` is held, and that is let go while somebody runs. Neither turn may be taken within the other.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = 0
        self._captures = 0
        self._capturing = False

    def __repr__(self) -> str:
        return f"<Turns: {self._running} run, {self._captures} capture or wait to>"

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run, perhaps beside others."""
        with self._changed:
            self._changed.wait_for(lambda: not self._captures)
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                if self._captures:
                    self._changed.notify_all()

    @contextmanager
    def capturing(self) -> Iterator[None]:
        """Capture while nobody runs."""
        with self._changed:
            self._captures += 1
            self._changed.wait_for(lambda: not self._running and not self._capturing)
            self._capturing = True
        try:
            yield
        finally:
            with self._changed:
                self._captures -= 1
                self._capturing = False
                self._changed.notify_all()


GPU = Turns()

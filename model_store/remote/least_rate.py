"""Gives up a download that comes drop by drop: each drop ends the wait for the next, so no other bound does."""

from __future__ import annotations

import time

from fsspec.callbacks import Callback

from model_store.errors import StoreAway
from model_store.remote.address import Address

# Whoever brings less in so long a time would take days for a model.
WINDOW_SECONDS = 30.0
LEAST_BYTES = 32 * 1024


class LeastRate(Callback):  # type: ignore[misc]  # fsspec has no types
    """Gives up a download that comes drop by drop. What changes: when this window began, and what it brought."""

    def __init__(self, address: Address) -> None:
        super().__init__()
        self._address = address
        self._began, self._brought = time.monotonic(), 0

    def branched(self, *_: object, **__: object) -> LeastRate:
        """Watch one of several files on its own."""
        return LeastRate(self._address)

    def relative_update(self, inc: int = 1) -> None:
        """Note that so many bytes came; raises `StoreAway`."""
        self._brought += inc
        seconds = time.monotonic() - self._began
        if inc and seconds >= WINDOW_SECONDS:
            if self._brought < LEAST_BYTES:
                raise StoreAway(f"store {str(self._address)!r}: {self._brought} bytes in {seconds:.0f} s: given up")
            self._began, self._brought = time.monotonic(), 0

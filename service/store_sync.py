"""Keeps a remote store's mirror in line: looks at it, counts what fails, and says when to look again.

A store that is away is told once; what is in the cache, if anything is, serves on. A folder needs none of this.
"""

from __future__ import annotations

import random
import time

from model_store import Store, StoreError
from service.telemetry.logs import LOGGER
from service.telemetry.metrics import Metrics

# By what share the time between two looks differs.
SPREAD = 0.1
# The system's, not Python's common one: what is fitted in the same process seeds that, and draws its weights from it.
CHANCE = random.SystemRandom()


class StoreSync:
    """Looks at one store.

    What changes, in the loader's thread only: `_trouble`, why the last look failed, `_failures`, how many have failed
    in a row, and `_at`, when the newest look began that did not fail, here or in another worker.
    """

    def __init__(self, store: Store, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics
        self._trouble = ""
        self._failures = 0
        self._at = 0.0

    @property
    def trouble(self) -> str:
        """Why the last look failed; "" if it did not."""
        return self._trouble

    def refresh(self, *, max_age: float = 0.0) -> None:
        """Look at the store; what is wrong with it is noted, not raised.

        Args:
            max_age: a look that another worker took so many seconds ago is as good.
        """
        if not self._store.is_remote:
            return
        began = time.time()
        try:
            at = self._store.refresh(max_age=max_age, wait=0.0)
        except StoreError as error:
            self._failed(str(error))
            return
        if at >= began:
            self._metrics.store.looked(self._store.location, seconds=time.time() - began)
        if at > self._at:
            self._succeeded(at)

    def seconds_until_next(self, interval: float, *, serves: bool) -> float:
        """Say how long to wait: where nothing serves yet, failed looks are repeated sooner, ever less often.

        A remote store is looked at by chance a little sooner or later: replicas that began together, and found it away
        together, would ask it in the same moment for ever.
        """
        if self._trouble and not serves:
            interval = float(min(interval, 0.5 * 2 ** min(self._failures, 10)))
        return interval * CHANCE.uniform(1 - SPREAD, 1 + SPREAD) if self._store.is_remote else interval

    def _failed(self, reason: str) -> None:
        if not self._trouble:
            serves = "what is in the cache serves" if self._store.models() else "nothing of it is in the cache"
            LOGGER.warning("%s (%s)", reason, serves)
        self._trouble = reason
        self._failures += 1
        self._metrics.store.failed(self._store.location)

    def _succeeded(self, at: float) -> None:
        if self._trouble:
            LOGGER.info("store %s: it answers again", self._store.location)
        self._trouble, self._failures, self._at = "", 0, at
        self._metrics.store.known_as_of(self._store.location, at)

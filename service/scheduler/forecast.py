"""How long batches will take: what warm-up measured, corrected by how long the last ones took."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

# Each batch makes what is known of those before it weigh a tenth less.
FADING = 0.9


class Forecast:
    """Expects run times, in seconds, and learns from those that it sees.

    A batch may take longer than it did alone at load: other models run beside it, or its texts are longer. Long batches
    count for more than short ones.
    """

    def __init__(self, measured: Callable[[int], float]) -> None:
        """Take the run time that was measured for so many rows; infinite where nothing was."""
        self.measured = functools.cache(measured)
        self._took = 0.0
        self._foreseen = 0.0

    def of_queue(self, rows: int, *, max_batch_size: int) -> float:
        """Expect how long so many rows take, in batches that are full but for the last."""
        batches, rest = divmod(rows, max_batch_size)
        seconds = batches * self.measured(max_batch_size) if batches else 0.0
        return self._pace * (seconds + self.measured(rest) if rest else seconds)

    def left_of_batch(self, rows: int, *, since: float) -> float:
        """Expect how much longer a batch takes that was begun so many seconds ago."""
        return max(0.0, self._pace * self.measured(rows) - since) if rows else 0.0

    def learn(self, rows: int, took: float) -> None:
        """Note how long a batch of so many rows took."""
        foreseen = self.measured(rows)
        if math.isfinite(foreseen):
            self._took = FADING * self._took + took
            self._foreseen = FADING * self._foreseen + foreseen

    @property
    def _pace(self) -> float:
        return self._took / self._foreseen if self._foreseen else 1.0

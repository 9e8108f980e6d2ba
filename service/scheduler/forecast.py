"""How long batches will take, from the run times that were measured at load."""

from __future__ import annotations

import functools
from collections.abc import Callable


class Forecast:
    """Expects run times, in seconds; infinite where nothing was measured.

    It does not learn from batches that ran slower: the fewer requests are let in for that, the smaller the batches, the
    slower a row, and in the end nearly all are refused. What has become slower shows in how long requests wait.
    """

    def __init__(self, measured: Callable[[int], float]) -> None:
        """Take the run time that was measured for so many rows."""
        self.measured = functools.cache(measured)

    def of_queue(self, rows: int, *, max_batch_size: int) -> float:
        """Expect how long so many rows take, in batches that are full but for the last."""
        batches, rest = divmod(rows, max_batch_size)
        seconds = batches * self.measured(max_batch_size) if batches else 0.0
        return seconds + self.measured(rest) if rest else seconds

    def left_of_batch(self, rows: int, *, since: float) -> float:
        """Expect how much longer a batch takes that was begun so many seconds ago."""
        return max(0.0, self.measured(rows) - since) if rows else 0.0

"""What is known of a data set before it is loaded: enough to list it and to refuse it."""

from __future__ import annotations

from dataclasses import dataclass

from training.datasets.dataset import Kind
from training.options import Task


@dataclass(frozen=True, kw_only=True)
class Description:
    """A named data set.

    `needs` says what must be there first: nothing, a download that Keras does, or files in Keras's cache.
    """

    name: str
    kind: Kind
    task: Task
    summary: str
    license: str
    source: str
    needs: str = "nothing"

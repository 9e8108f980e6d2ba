"""What is known of a data set before it is loaded: enough to list it and to refuse it."""

from __future__ import annotations

from dataclasses import dataclass

from training.datasets.dataset import Dataset, Kind, Rows
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

    def dataset(
        self,
        train: Rows,
        test: Rows,
        *,
        sha256: str,
        labels: tuple[str, ...] | None,
        columns: tuple[str, ...] | None = None,
    ) -> Dataset:
        """Make the data set that this describes from its rows."""
        return Dataset(
            name=self.name,
            kind=self.kind,
            train=train,
            test=test,
            labels=labels,
            columns=columns,
            license=self.license,
            source=self.source,
            sha256=sha256,
        )

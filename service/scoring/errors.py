"""What can go wrong with a scoring, named by cause.

ScoringError
├── NothingChosen     the model has no version that would be served, and none was named
├── InvalidSource     the input cannot be read as rows
│   └── UnknownSource there is no such input, or it is of no kind that is read
├── OutputIsInput     the output would take the place of what is to be scored
├── InvalidColumns    the input's columns do not fit the model, or those of the answers clash
├── BadRow            a row that cannot be answered; names file and row
├── AnotherScoring    the output belongs to another input, model or other options
└── CannotWrite       the disk is full, or may not be written
"""

from __future__ import annotations

from collections.abc import Sequence

from service.errors import ServiceError


class ScoringError(ServiceError):
    """Rows could not be scored."""


class NothingChosen(ScoringError):
    """Of a model's versions none would be served, and none was named."""

    def __init__(self, model: str, *, policy: str, known: Sequence[int], withdrawn: Sequence[int]) -> None:
        gone = f", withdrawn: {_listed(withdrawn)}" if withdrawn else ""
        super().__init__(
            f"model {model!r} has no version that would be served (policy {policy}; it has: {_listed(known)}{gone}); "
            f"name one, such as {model}@{known[-1]}"
        )


def _listed(versions: Sequence[int]) -> str:
    return ", ".join(map(str, versions))


class InvalidSource(ScoringError):
    """The input is not there, or cannot be read as rows."""


class UnknownSource(InvalidSource):
    """There is no such input, or it is of no kind that is read."""


class OutputIsInput(ScoringError):
    """The output would take the place of what is to be scored, or become a part of it."""


class InvalidColumns(ScoringError):
    """The input's columns do not fit the model, or two columns of the output would have one name."""


class BadRow(ScoringError):
    """A row that cannot be answered, for instance a damaged picture."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where}: {reason}; --errors null writes nulls for such rows and goes on")
        self._arguments = (where, reason)

    def __reduce__(self) -> tuple[type[BadRow], tuple[str, str]]:
        # It travels between processes, where the message alone could not make it anew.
        return type(self), self._arguments


class AnotherScoring(ScoringError):
    """What is there of the output was made from another input, by another model, or with other options."""


class CannotWrite(ScoringError):
    """An answer could not be written."""

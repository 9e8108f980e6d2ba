"""The service's log: lines of time, level and message on standard error; what is logged can be changed while it runs.

With several workers the choice lies in a file of the run directory that each of them maps into its memory: a change
made by one holds for the next line of every other one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from service import run_dir

LOGGER = logging.getLogger("ovenbird")
FORMAT = "%(asctime)s %(levelname)s [%(process)d] %(message)s"

# What can be chosen: three levels, on or off, and how much there is besides; anything from 1 logs DEBUG's lines.
CHOICES = ("info", "warning", "error", "verbose_level")


class LogLevels:
    """Which lines are logged, in every worker that shares the file, or in this one alone.

    A cell holds 0 as long as nobody has changed what the service was started with, else the chosen number plus 1.
    """

    def __init__(self, level: str, file: Path | None = None) -> None:
        self._cells = run_dir.cells(file, len(CHOICES))
        least = logging.getLevelNamesMapping()[level.upper()]
        self._at_start = (least <= logging.INFO, least <= logging.WARNING, True, least <= logging.DEBUG)

    def chosen(self) -> dict[str, int]:
        """Tell what is logged now."""
        stored = zip(CHOICES, self._cells, self._at_start, strict=True)
        return {name: int(cell - 1 if cell else start) for name, cell, start in stored}

    def choose(self, changes: Mapping[str, int]) -> None:
        """Change what is logged; what is not named stays as it is."""
        for name, number in changes.items():
            self._cells[CHOICES.index(name)] = number + 1

    def allow(self, record: logging.LogRecord) -> bool:
        """Tell whether a line is to be logged."""
        chosen = self.chosen()
        if record.levelno >= logging.ERROR:
            return bool(chosen["error"])
        if record.levelno >= logging.WARNING:
            return bool(chosen["warning"])
        return bool(chosen["info"] if record.levelno >= logging.INFO else chosen["verbose_level"])


def configure(level: str, file: Path | None = None) -> LogLevels:
    """Write the service's own log to standard error, from this level on at first; may be called again."""
    levels = LogLevels(level, file)
    LOGGER.setLevel(logging.DEBUG)
    LOGGER.filters[:] = [levels.allow]
    if not LOGGER.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter(FORMAT))
        LOGGER.addHandler(handler)
    LOGGER.propagate = False
    return levels

"""The service's log: lines of time, level and message on standard error."""

from __future__ import annotations

import logging

LOGGER = logging.getLogger("ovenbird")
FORMAT = "%(asctime)s %(levelname)s [%(process)d] %(message)s"


def configure(level: str) -> None:
    """Write the service's own log to standard error from this level on; may be called again."""
    LOGGER.setLevel(level.upper())
    if not LOGGER.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter(FORMAT))
        LOGGER.addHandler(handler)
    LOGGER.propagate = False

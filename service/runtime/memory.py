"""Memory that was freed, and that the C library keeps."""

from __future__ import annotations

import contextlib
import ctypes


def give_back_freed() -> None:
    """Give the system what loading has freed: glibc keeps it otherwise, 10 to 30 MB after a few models."""
    with contextlib.suppress(OSError, AttributeError):  # other C libraries have no such function
        ctypes.CDLL(None).malloc_trim(0)

"""Whether the files of a version have changed, and whether they stand still: seen from outside, by size and time.

A manifest names every file's sha256; a folder without one can only be watched, and so is one that was refused before.
It is taken for whole when it looks as it did at the last look, or, at start, when it has not been touched for a while.
"""

from __future__ import annotations

import time

from model_store import StoredVersion

Fingerprint = tuple[tuple[str, int, int], ...]

SETTLED_SECONDS = 10.0


def fingerprint(stored: StoredVersion) -> Fingerprint:
    """Describe the files of a version: name, size in bytes, time of modification in nanoseconds."""
    try:
        files = sorted(path for path in stored.path.rglob("*") if path.is_file())
        return tuple((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files)
    except OSError:
        return ()


class WatchedFolders:
    """Watches folders that may be written to: `_seen` at the last look, and `_loaded` when they were brought in."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, int], Fingerprint] = {}
        self._loaded: dict[tuple[str, int], Fingerprint] = {}

    def stands_still(self, stored: StoredVersion, *, at_start: bool) -> bool:
        """Look at a folder; tell whether it looks as it did at the last look, or is old enough."""
        key, now = (stored.model, stored.version), fingerprint(stored)
        before, self._seen[key] = self._seen.get(key), now
        return before == now or (at_start and _age(now) > SETTLED_SECONDS)

    def has_changed(self, stored: StoredVersion) -> bool:
        """Tell whether a folder differs from what was brought in."""
        loaded = self._loaded.get((stored.model, stored.version))
        return loaded is not None and loaded != fingerprint(stored)

    def loaded(self, stored: StoredVersion, files: Fingerprint) -> None:
        """Note that a version was brought in, and how its files looked just before."""
        self._loaded[stored.model, stored.version] = files


def _age(files: Fingerprint) -> float:
    return time.time() - max((modified for _, _, modified in files), default=0) / 1e9

"""The folder in which a remote store is mirrored: where it lies, whose turn it is to change it, and what was seen last.

    <cache>/<model>/<version>/…     as in any store; but for the manifest, a version's files may not be there yet
    <cache>/.remote/state.json      the last whole listing, and when it was taken
    <cache>/.remote/lock            held by the process that changes the folder
    <cache>/.remote/staging/        what is being downloaded; emptied by the next holder of the lock

It may be removed at any time: it is filled again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import IO

from model_store.errors import StoreBusy, StoreError
from model_store.remote.address import Address
from model_store.remote.files import Entry

CACHE_VARIABLE = "OVENBIRD_CACHE"
OWN_FOLDER = ".remote"
LOCK_LOOK_SECONDS = 0.05
# As long as a service lets its models take to load at start.
LOCK_SECONDS = 600.0


@dataclass(frozen=True)
class Seen:
    """The last whole listing, and when it was taken in seconds since the epoch; `at` is 0 before the first."""

    at: float = 0.0
    entries: Mapping[str, Entry] = field(default_factory=dict)
    was_empty: bool = False

    def below(self, prefix: str) -> dict[str, Entry]:
        """List the entries below a folder, by their paths in it."""
        found = self.entries.items()
        return {path.removeprefix(prefix): entry for path, entry in found if path.startswith(prefix)}


class Cache:
    """The folder of one store. What changes lies on the disk, and is changed by the holder of its lock only."""

    def __init__(self, address: Address, parent: Path | None = None) -> None:
        self.root = _made(address, parent)
        self._own = self.root / OWN_FOLDER
        self.make()

    def make(self) -> None:
        """Make the folders; raises `StoreError`."""
        try:
            (self._own / "staging").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self.unwritable(error) from None

    @contextmanager
    def turn(self, *, wait: float | None = None) -> Iterator[bool]:
        """Hold the lock of everyone who changes the folder; gives False if it is held for longer than `wait` seconds.

        Raises:
            StoreBusy: no `wait` was given, and somebody else held it for too long.
            StoreError: nothing can be written there.
        """
        self.make()
        deadline = time.monotonic() + (LOCK_SECONDS if wait is None else wait)
        with self._lock_file() as lock:
            while not _locked(lock.fileno()):
                if time.monotonic() >= deadline:
                    if wait is None:
                        raise StoreBusy(f"cache {str(self.root)!r}: another process has held it for {LOCK_SECONDS:g} s")
                    yield False
                    return
                time.sleep(LOCK_LOOK_SECONDS)
            self._empty_staging()
            yield True

    def _lock_file(self) -> IO[str]:
        try:
            return (self._own / "lock").open("a")
        except OSError as error:
            raise self.unwritable(error) from None

    def unwritable(self, error: OSError) -> StoreError:
        """Say that nothing can be written in this folder, and why."""
        return StoreError(f"cannot write to the cache {str(self.root)!r}: {error.strerror or error}")

    def seen(self) -> Seen:
        """Read what was seen last; nothing, if that cannot be read."""
        try:
            stored = json.loads((self._own / "state.json").read_bytes())
            entries = {path: Entry(*entry) for path, entry in stored["entries"].items()}
            return Seen(float(stored["at"]), entries, bool(stored["was_empty"]))
        except (OSError, ValueError, TypeError, KeyError):
            return Seen()

    def note(self, seen: Seen) -> None:
        """Replace what was seen last."""
        entries = {path: astuple(entry) for path, entry in seen.entries.items()}
        text = json.dumps({"at": seen.at, "was_empty": seen.was_empty, "entries": entries})
        self.put(self._own / "state.json", text.encode())

    def put(self, target: Path, content: bytes) -> None:
        """Write a file so that readers see the old one or the new one."""
        staged = self.staging()
        staged.write_bytes(content)
        target.parent.mkdir(parents=True, exist_ok=True)
        staged.replace(target)

    def put_folder(self, target: Path, files: Mapping[str, bytes]) -> None:
        """Make a folder with small files that appears whole, in the place of what was there."""
        staged = self.staging()
        staged.mkdir()
        for name, content in files.items():
            (staged / name).write_bytes(content)
        self.drop(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        staged.rename(target)

    def drop(self, path: Path) -> None:
        """Remove a file or folder at once for all readers; what they have open stays theirs."""
        aside = self.staging()
        try:
            path.rename(aside)
        except FileNotFoundError:
            return
        _remove(aside)

    def staging(self) -> Path:
        """Name a place for something that is not whole yet."""
        return self._own / "staging" / uuid.uuid4().hex

    def _empty_staging(self) -> None:
        for left in (self._own / "staging").iterdir():
            _remove(left)


def cache_parent() -> Path:
    """Find the folder in which all remote stores are cached: OVENBIRD_CACHE, or one in the user's cache."""
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named)
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path("~/.cache").expanduser()) / "ovenbird"


def _made(address: Address, parent: Path | None) -> Path:
    """Choose the store's folder; on a read-only disk the usual place gives way to a temporary one."""
    if parent is not None or os.environ.get(CACHE_VARIABLE):
        return (parent or cache_parent()) / _name(address)
    usual = cache_parent() / _name(address)
    try:
        usual.mkdir(parents=True, exist_ok=True)
        if os.access(usual, os.W_OK | os.X_OK):
            return usual
    except (OSError, RuntimeError):  # no home
        pass
    return _temporary() / _name(address)


def _temporary() -> Path:
    folder = Path(tempfile.gettempdir(), f"ovenbird-cache-{os.getuid()}")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make a cache in {folder}: {error.strerror}; name one by {CACHE_VARIABLE}") from None
    if folder.stat().st_uid != os.getuid():
        raise StoreError(f"{folder} belongs to somebody else; name a cache by {CACHE_VARIABLE}")
    return folder


def _name(address: Address) -> str:
    """Name a store's folder by its URL, and by the server that stands for Amazon's."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")
    place = f"{address.url} {endpoint}" if address.scheme.startswith("s3") else address.url
    readable = re.sub(r"[^A-Za-z0-9.-]+", "-", address.url).strip("-.")[-60:]
    return f"{readable}-{hashlib.sha256(place.encode()).hexdigest()[:12]}"


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)

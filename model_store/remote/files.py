"""The files of a remote store, through fsspec: list, read, download, write, remove. Knows nothing of models.

Whatever a file system's library raises becomes `StoreAway` here, in one line and without secrets.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from model_store.errors import StoreAway
from model_store.remote import hub, waits
from model_store.remote.address import Address

# Whose `find` is one listing of everything below a prefix. That of others goes through folders, and passes over those
# that it cannot read: a part would look like the whole.
_LISTED_AT_ONCE = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "hf")
# Where a container that is not there is listed as if it were empty.
_NO_CONTAINER_IS_EMPTY = ("az", "abfs", "abfss")
_DIGESTS = ("ETag", "etag", "md5Hash", "content_md5", "blob_id", "generation")
_TIMES = ("LastModified", "last_modified", "mtime", "updated", "created")

# Of a download: it is the disk of this machine that is full or read-only.
OF_THIS_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
READ_AT_ONCE = 100
# So often folders are gone through anew, if one of them went away meanwhile: publishers rename them.
LISTED_AGAIN = 2
HASHED_AT_ONCE = 2**20


@dataclass(frozen=True)
class Entry:
    """One file of a listing.

    `stamp` changes with the content; None where the store tells nothing. `modified` is in seconds since the epoch.
    """

    size: int | None
    stamp: str | None
    modified: float | None


class RemoteFiles:
    """A store's files by their paths below its root, with forward slashes. Every call raises `StoreAway`."""

    def __init__(self, address: Address) -> None:
        address.check_installed()
        self.address = address

    @cached_property
    def _system(self) -> Any:
        return self._opened()

    @cached_property
    def _writer(self) -> Any:
        return self._opened(writes=True)

    def _opened(self, *, writes: bool = False) -> Any:
        import fsspec

        if self.address.scheme == "hf":
            hub.bound()
        common = {"skip_instance_cache": True, "use_listings_cache": False}
        system = fsspec.filesystem(self.address.scheme, **common, **waits.options(self.address, writes=writes))
        return waits.bound(system, writes=writes)

    @cached_property
    def _root(self) -> str:
        return str(self._system._strip_protocol(self.address.url)).rstrip("/")

    @property
    def _container(self) -> str:
        return self._root.partition("/")[0]

    def entries(self) -> dict[str, Entry]:
        """List every file: all of them, or an error."""
        with self._told(), hub.PATIENCE.lasting(waits.PART_SECONDS):
            self._system.invalidate_cache()  # some keep listings whatever they are asked
            found = self._find()
        return {self._relative(name): _entry(info) for name, info in found if info.get("type") != "directory"}

    def read(self, paths: Iterable[str]) -> dict[str, bytes]:
        """Read small files, many at once; those that are not there are left out."""
        full = {self._full(path): path for path in paths}
        found: dict[str, Any] = {}
        # In portions: each file of a store that has gone away meanwhile would wait its own time.
        for first in range(0, len(full), READ_AT_ONCE):
            found |= self._read([*full][first : first + READ_AT_ONCE])
        return {full[name]: answer for name, answer in found.items() if isinstance(answer, bytes)}

    def _read(self, names: list[str]) -> dict[str, Any]:
        with self._told(), hub.PATIENCE.lasting(waits.PART_SECONDS):
            bound = waits.within(self._system, waits.PART_SECONDS)
            found: dict[str, Any] = self._system.cat(names, on_error="return", **bound)
        for answer in found.values():
            if isinstance(answer, Exception) and not isinstance(answer, FileNotFoundError):
                raise self._away(answer)
        return found

    def download(self, targets: Mapping[str, Path]) -> None:
        """Copy files to this machine: path → where to; raises `OSError` if its disk is full or read-only."""
        from model_store.remote.least_rate import LeastRate

        names, places = [self._full(path) for path in targets], [str(target) for target in targets.values()]
        with self._told(writes_here=True):
            self._system.get(names, places, callback=LeastRate(self.address))

    def upload(self, source: Path, path: str) -> None:
        """Copy a file from this machine; readers of the store see all of it or nothing."""
        with self._told():
            self._make_folder(path)
            self._writer.put_file(str(source), self._full(path))

    def write(self, path: str, content: bytes) -> None:
        """Write a small file, or replace it."""
        with self._told():
            self._make_folder(path)
            self._writer.pipe_file(self._full(path), content)

    def create(self, path: str, content: bytes) -> bool:
        """Write a small file unless there is one; whether it was written.

        Some stores do not know the condition, or pass over it: there it is written in any case.
        """
        with self._told():
            self._make_folder(path)
            try:
                self._writer.pipe_file(self._full(path), content, mode="create")
            except FileExistsError:
                return False
            except (NotImplementedError, TypeError, ValueError):
                self._writer.pipe_file(self._full(path), content)
            return True

    def remove(self, paths: Iterable[str]) -> None:
        """Remove files, one after the other in this order; those that are gone already are passed over."""
        with self._told():
            for path in paths:
                try:
                    self._writer.rm_file(self._full(path))
                except FileNotFoundError:
                    continue

    def chunks(self, path: str) -> Iterator[bytes]:
        """Read a file of any size, piece by piece."""
        with self._told(), self._system.open(self._full(path), "rb") as file:
            while piece := file.read(HASHED_AT_ONCE):
                yield piece

    def _find(self) -> list[tuple[str, dict[str, Any]]]:
        if self.address.scheme in _LISTED_AT_ONCE:
            bound = waits.within(self._system, waits.LISTING_SECONDS)
            found = list(self._system.find(self._root, detail=True, **bound).items())
            if not found and self.address.scheme in _NO_CONTAINER_IS_EMPTY and not self._system.exists(self._container):
                raise FileNotFoundError(f"no container {self._container!r}")
            return found
        if self.address.scheme not in ("http", "https") and not self._system.exists(self._root):
            return []  # the first publisher makes the folder
        for _ in range(LISTED_AGAIN):
            with suppress(FileNotFoundError):
                return list(self._walk(self._root))
        return list(self._walk(self._root))

    def _walk(self, folder: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for info in self._system.ls(folder, detail=True, **waits.within(self._system, waits.PART_SECONDS)):
            name = str(info["name"])
            if info["type"] != "directory":
                yield name, info
            elif name.rstrip("/").startswith(f"{folder.rstrip('/')}/"):  # not a page's link to the folder above
                yield from self._walk(name)

    def _make_folder(self, path: str) -> None:
        if self.address.scheme in ("file", "local", "memory"):
            self._system.makedirs(self._full(path).rpartition("/")[0], exist_ok=True)

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}"

    def _relative(self, name: str) -> str:
        path = name.removeprefix(self._root).lstrip("/")
        return unquote(path) if self.address.scheme in ("http", "https") else path

    @contextmanager
    def _told(self, *, writes_here: bool = False) -> Iterator[None]:
        """Turn whatever goes wrong into `StoreAway`: each library has errors of its own, and no common root."""
        try:
            yield
        except StoreAway:
            raise
        except Exception as error:
            if writes_here and isinstance(error, OSError) and error.errno in OF_THIS_DISK:
                raise
            raise self._away(error) from None

    def _away(self, error: Exception) -> StoreAway:
        return StoreAway(f"store {str(self.address)!r}: {self._reason(error)}")

    def _reason(self, error: Exception) -> str:
        text = " ".join(self.address.without_secrets(str(error)).split())[:300]
        match error:
            case FileNotFoundError():
                return f"there is no such place or file: {text}"
            case PermissionError():
                return f"it refuses: {text}"
            case OSError() if error.filename is not None:
                return f"{error.filename}: {error.strerror}"
            case TimeoutError() if not text:
                return "it does not answer in time"
            case _:
                return text or type(error).__name__


def _entry(info: Mapping[str, Any]) -> Entry:
    times = [info[key] for key in _TIMES if info.get(key)]
    stamp = "/".join(str(info[key]) for key in (*_DIGESTS, *_TIMES) if info.get(key))
    return Entry(info.get("size"), stamp or None, _seconds(times[0]) if times else None)


def _seconds(moment: object) -> float | None:
    match moment:
        case datetime():
            return moment.timestamp()
        case int() | float():
            return float(moment)
        case str():
            return datetime.fromisoformat(moment).timestamp()
    return None

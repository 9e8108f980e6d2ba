"""A remote store with the face of a local one: readers read the cache, publishers write to the store itself."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from model_store.errors import IncompleteDraft, StoreError
from model_store.remote.address import Address
from model_store.remote.cache import Cache
from model_store.remote.files import RemoteFiles
from model_store.remote.mirror import Mirror
from model_store.remote.publishing import Publisher, check_may_be_written
from model_store.store import Check, Draft, Store, StoredVersion, check_model_name


class RemoteStore(Store):
    """A store behind a URL. Opening it touches no network: `refresh` does.

    Args:
        url: such as s3://bucket/models.
        cache: the folder in which stores are cached; by default OVENBIRD_CACHE, or one in the user's cache.

    Raises:
        WrongStoreUrl: the URL names no store, or its package is not installed.
        StoreError: the cache cannot be written.
    """

    def __init__(self, url: str, *, cache: Path | None = None) -> None:
        self._files = RemoteFiles(Address.parse(url))
        self._cache = Cache(self._files.address, cache)
        self._mirror = Mirror(self._files, self._cache)
        super().__init__(self._cache.root)

    def __repr__(self) -> str:
        return f"RemoteStore({self.location!r})"

    @property
    def location(self) -> str:
        """The URL, without what is secret in it."""
        return str(self._files.address)

    @property
    def is_remote(self) -> bool:
        """Whether it is mirrored from elsewhere."""
        return True

    def refresh(self, *, max_age: float = 0.0, wait: float | None = None) -> float:
        """Bring the cache in line with the store; see `Mirror.refresh`."""
        return self._mirror.refresh(max_age=max_age, wait=wait)

    def fetch(self, stored: StoredVersion) -> None:
        """Bring a version's files into the cache; see `Mirror.fetch`."""
        self._mirror.fetch(stored)

    def stored(self, model: str, version: int) -> StoredVersion:
        """Say where a version lies in the cache that is known to be there; what is damaged of it is fetched anew."""
        return replace(super().stored(model, version), repair=self._mirror.repair)

    def place_of(self, stored: StoredVersion) -> str:
        """Say where a version lies, for people."""
        return f"{self.location}/{stored.model}/{stored.version}"

    def size(self, stored: StoredVersion) -> int:
        """Sum the sizes of a version's files in the store, in bytes."""
        return sum(entry.size or 0 for entry in self._mirror.entries_of(stored).values())

    def check_writable(self) -> None:
        """Raise `ReadOnlyStore` for a kind of store that cannot be written, `StoreAway` for one that is not there."""
        check_may_be_written(self._files)
        self.refresh()

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Take the newest state; there is no lock: of two who change the same file at once, the last one wins."""
        check_may_be_written(self._files)
        self.refresh()
        yield

    def replace_file(self, model: str, name: str, text: str) -> None:
        """Replace one of the files beside a model's versions by one put. The last one wins."""
        path = f"{check_model_name(model)}/{name}"
        self._files.write(path, text.encode())
        with self._cache.turn():
            self._cache.put(self.root / path, text.encode())

    def publish(self, *drafts: Draft) -> list[StoredVersion]:
        """Publish models under one new version number, each whole; see `Store.publish` and `Publisher`."""
        names = [check_model_name(draft.model) for draft in drafts]
        if not names or len(set(names)) < len(names):
            raise IncompleteDraft(f"publish needs one or more models with different names, got {names}")
        number = Publisher(self._files).publish(drafts)
        try:
            self.refresh()
        except StoreError as error:
            raise StoreError(f"published as version {number}, but it could not be read back: {error}") from None
        return [self.stored(name, number) for name in names]

    def verify(self, stored: StoredVersion, checks: Mapping[str, Check] | None = None) -> list[str]:
        """Check one version as `Store.verify` does, and that the store itself holds what the cache holds."""
        try:
            self.fetch(stored)
            expected = {} if stored.is_bare else stored.manifest.files
            differing = [name for name, digest in expected.items() if self._remote_sha256(stored, name) != digest]
        except StoreError as error:
            return [str(error)]
        if differing:
            return [f"{stored}: {', '.join(differing)}: the sha256 in the store differs from the manifest's"]
        return super().verify(stored, checks)

    def _remote_sha256(self, stored: StoredVersion, name: str) -> str:
        digest = hashlib.sha256()
        for piece in self._files.chunks(f"{stored.model}/{stored.version}/{name}"):
            digest.update(piece)
        return digest.hexdigest()

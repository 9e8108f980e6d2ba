"""Fetches the files of one version into the cache: each compared with the manifest's sha256, all of them or none."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from model_store.disk import sync
from model_store.errors import CorruptVersion, InvalidManifest, StoreAway, StoreError
from model_store.manifest import MANIFEST_FILE, sha256_of
from model_store.remote.cache import Cache
from model_store.remote.files import Entry, RemoteFiles
from model_store.store import Store, StoredVersion

# Of a version without a manifest: the files that are to be fetched, and those that were, with their stamps.
WANTED_FILE = ".wanted.json"
FETCHED_FILE = ".fetched.json"
# Of a model's versions that were fetched so many stay, for a rollback while the store is away; and what is chosen.
KEPT_VERSIONS = 3


class Fetcher:
    """Fetches what a look has shown.

    What changes besides the cache: `_bad`, versions whose files differ from their manifests, as they were then.
    Unchanged, those are not fetched again.
    """

    def __init__(self, files: RemoteFiles, cache: Cache) -> None:
        self._files = files
        self._cache = cache
        self._local = Store(cache.root)
        self._bad: dict[tuple[str, int], tuple[list[Entry], str]] = {}

    def is_whole(self, stored: StoredVersion) -> bool:
        """Tell whether a version's files are there, and its manifest can be read."""
        try:
            return not self.lacking(stored)
        except InvalidManifest:
            return False

    def fetch(self, stored: StoredVersion) -> None:
        """Bring what is lacking of a version into the cache; see `Mirror.fetch`."""
        with self._cache.turn():
            try:
                self._read_broken_manifest_anew(stored)
                if lacking := self.lacking(stored):
                    self._raise_if_bad(stored)
                    self.download(stored, lacking)
                    self._make_room(stored)
            except OSError as error:
                raise StoreAway(f"{stored}: the cache {str(self._cache.root)!r}: {error.strerror}") from None

    def drop_damaged(self, stored: StoredVersion, names: Iterable[str]) -> None:
        """Drop those of these files that differ from the manifest; raises `StoreError` if the cache is read-only."""
        try:
            with self._cache.turn():
                for name in names:
                    self._drop_if_damaged(stored.path / name, stored.manifest.files[name])
        except (OSError, StoreError) as error:
            reason = self._cache.unwritable(error) if isinstance(error, OSError) else error
            raise StoreError(f"{stored}: {', '.join(names)}: damaged, and cannot be replaced: {reason}") from None

    def lacking(self, stored: StoredVersion) -> list[str]:
        """List the files of a version that are to be fetched."""
        if (stored.path / MANIFEST_FILE).exists():
            return [name for name in stored.manifest.files if not (stored.path / name).is_file()]
        wanted = text_of(stored, WANTED_FILE)
        if wanted is None or wanted == text_of(stored, FETCHED_FILE):
            return []
        return list(json.loads(wanted))

    def download(self, stored: StoredVersion, names: list[str]) -> None:
        """Bring these files of a version into the cache: all of them, each right, or none. The lock is held."""
        staging = self._cache.staging()
        for name in names:
            (staging / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            self._files.download({f"{stored.model}/{stored.version}/{name}": staging / name for name in names})
            self._check(stored, staging, names)
            for name in names:
                (stored.path / name).parent.mkdir(parents=True, exist_ok=True)
                sync(staging / name)
                (staging / name).replace(stored.path / name)
        finally:
            self._cache.drop(staging)
        if (wanted := text_of(stored, WANTED_FILE)) is not None:
            self._cache.put(stored.path / FETCHED_FILE, wanted)

    def forget_bad(self, model: str, version: int) -> None:
        """Let a version be tried again that has changed."""
        self._bad.pop((model, version), None)

    def _entries_of(self, stored: StoredVersion) -> list[Entry]:
        return [*self._cache.seen().below(f"{stored.model}/{stored.version}/").values()]

    def _read_broken_manifest_anew(self, stored: StoredVersion) -> None:
        """Replace a manifest that cannot be read, unless the store's own is the same."""
        if not (stored.path / MANIFEST_FILE).exists() or _is_readable(stored):
            return
        path = f"{stored.model}/{stored.version}/{MANIFEST_FILE}"
        text = self._files.read([path]).get(path)
        if text is not None and text != text_of(stored, MANIFEST_FILE):
            self._cache.put(stored.path / MANIFEST_FILE, text)

    def _drop_if_damaged(self, path: Path, expected: str) -> None:
        """Drop a file, unless another process has just replaced it."""
        if path.is_file() and sha256_of(path) != expected:
            self._cache.drop(path)

    def _make_room(self, newcomer: StoredVersion) -> None:
        """Let go of files of old versions that nothing chooses any more; they can be fetched again."""
        model = newcomer.model
        here = [self._local.stored(model, number) for number in self._local.versions(model)]
        old = [of for of in here if of.onnx_path.exists() and not of.is_bare][:-KEPT_VERSIONS]
        try:
            kept = {newcomer.version, *(self._local.select(model).versions if old else ())}
        except StoreError:
            return
        for stored in old:
            if stored.version not in kept:
                text = (stored.path / MANIFEST_FILE).read_bytes()
                self._cache.put_folder(stored.path, {MANIFEST_FILE: text})

    def _raise_if_bad(self, stored: StoredVersion) -> None:
        before = self._bad.get((stored.model, stored.version))
        if before is not None and before[0] == self._entries_of(stored):
            raise CorruptVersion(before[1])

    def _check(self, stored: StoredVersion, staging: Path, names: list[str]) -> None:
        """Compare what came with what was announced."""
        if not (stored.path / MANIFEST_FILE).exists():
            sizes = {name: entry[0] for name, entry in json.loads(text_of(stored, WANTED_FILE) or b"{}").items()}
            if any(sizes[name] not in (None, (staging / name).stat().st_size) for name in names):
                raise StoreAway(f"{stored}: its files are being written")
            return
        expected = stored.manifest.files
        differing = [name for name in names if sha256_of(staging / name) != expected[name]]
        if differing:
            reason = f"{stored}: {', '.join(differing)}: the sha256 in the store differs from the manifest's"
            self._bad[stored.model, stored.version] = (self._entries_of(stored), reason)
            raise CorruptVersion(reason)


def _is_readable(stored: StoredVersion) -> bool:
    try:
        return bool(stored.manifest)
    except InvalidManifest:
        return False


def text_of(stored: StoredVersion, name: str) -> bytes | None:
    """Read one of a version's files, if it is there."""
    try:
        return (stored.path / name).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None

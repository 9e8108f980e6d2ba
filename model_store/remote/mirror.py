"""Brings the cache in line with a remote store: manifests and what lies beside them of all, files of what is asked for.

A look is one listing. Of a published version the manifest is mirrored at once, so that policies, labels and groups are
judged as in any store; its files are fetched when somebody wants to serve it, each compared with the manifest's sha256,
all of them or none. Knows nothing of the service.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, replace
from pathlib import Path

from model_store.disk import sync
from model_store.errors import CorruptVersion, InvalidManifest, StoreAway, StoreError
from model_store.manifest import MANIFEST_FILE, sha256_of
from model_store.remote.cache import Cache, Seen
from model_store.remote.files import Entry, RemoteFiles
from model_store.remote.listing import Listing, RemoteVersion
from model_store.store import Store, StoredVersion

# Of a version without a manifest: the files that are to be fetched, and those that were, with their stamps.
WANTED_FILE = ".wanted.json"
FETCHED_FILE = ".fetched.json"
# A file without a manifest that was not touched for so long is taken for whole at the first look.
SETTLED_SECONDS = 10.0
# Of a model's versions that were fetched so many stay, for a rollback while the store is away; and what is chosen.
KEPT_VERSIONS = 3


class Mirror:
    """Mirrors a store into a cache.

    What changes besides the cache: `_away`, why the last look failed and when, and `_bad`: versions whose files differ
    from their manifests, as they were then. Unchanged, those are not fetched again.
    """

    def __init__(self, files: RemoteFiles, cache: Cache) -> None:
        self._files = files
        self._cache = cache
        self._local = Store(cache.root)
        self._away = ("", 0.0)
        self._bad: dict[tuple[str, int], tuple[list[Entry], str]] = {}

    def refresh(self, *, max_age: float = 0.0, wait: float | None = None) -> float:
        """Look at the store, and bring the cache in line; return when the store was as the cache is now.

        Args:
            max_age: a look that another process took so many seconds ago is as good.
            wait: so many seconds for another process that is just looking; then what it has mirrored so far is taken,
                if that is anything. By default until it has ended.

        Raises:
            StoreAway: the store does not answer; the cache stays as it was.
            StoreBusy: another process has not ended for ten minutes.
            StoreError: the cache cannot be written.
        """
        with self._cache.turn(wait=wait if self._cache.seen().at else None) as mine:
            seen = self._cache.seen()
            if seen.at > self._away[1]:  # another process has reached it since
                self._away = ("", 0.0)
            if not mine or 0 <= time.time() - seen.at < max_age:
                return seen.at
            try:
                looked = self._bring_in_line(seen)
            except StoreAway as error:
                self._away = (str(error), time.time())
                raise
            except OSError as error:
                raise self._cache.unwritable(error) from None
            self._away = ("", 0.0)
            return looked

    def fetch(self, stored: StoredVersion) -> None:
        """Bring a version's files into the cache, unless they are there.

        Raises:
            StoreAway: the store does not answer, or lacks a file; none of them is in the cache then.
            CorruptVersion: a file differs from the manifest.
            InvalidManifest: the manifest cannot be read.
        """
        try:
            if not self._lacking(stored):
                return
        except InvalidManifest:
            self._read_manifest_anew(stored)
        if reason := self._away[0]:
            raise StoreAway(f"{stored} is not in the cache, and {reason}")
        with self._cache.turn():
            lacking = self._lacking(stored)
            if lacking:
                self._raise_if_bad(stored)
                try:
                    self._download(stored, lacking)
                    self._make_room(stored)
                except OSError as error:
                    raise StoreAway(f"{stored}: the cache {str(self._cache.root)!r}: {error.strerror}") from None

    def repair(self, stored: StoredVersion, names: Iterable[str]) -> None:
        """Drop those of these files that are damaged in the cache, and fetch them once more; raises as `fetch` does."""
        try:
            with self._cache.turn():
                for name in names:
                    self._drop_if_damaged(stored.path / name, stored.manifest.files[name])
        except (OSError, StoreError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            listed = ", ".join(names)
            raise StoreError(
                f"{stored}: {listed}: damaged in the cache {str(self._cache.root)!r}, and cannot be replaced: {reason}"
            ) from None
        self.fetch(stored)

    def _drop_if_damaged(self, path: Path, expected: str) -> None:
        """Drop a file, unless another process has just replaced it."""
        if path.is_file() and sha256_of(path) != expected:
            self._cache.drop(path)

    def _read_manifest_anew(self, stored: StoredVersion) -> None:
        """Replace a manifest that cannot be read, unless the store's own is the same."""
        path = f"{stored.model}/{stored.version}/{MANIFEST_FILE}"
        with self._cache.turn():
            text = self._files.read([path]).get(path)
            if text is not None and text != _text(stored, MANIFEST_FILE):
                self._cache.put(stored.path / MANIFEST_FILE, text)

    def entries_of(self, stored: StoredVersion) -> Mapping[str, Entry]:
        """List a version's files as the last look saw them."""
        prefix = f"{stored.model}/{stored.version}/"
        found = self._cache.seen().entries.items()
        return {path.removeprefix(prefix): entry for path, entry in found if path.startswith(prefix)}

    def _bring_in_line(self, seen: Seen) -> float:
        began = time.time()
        entries = self._files.entries()
        if not entries and seen.entries and not seen.was_empty:
            self._cache.note(replace(seen, was_empty=True))
            raise StoreAway(f"store {str(self._files.address)!r} is empty all at once; believed if it stays so")
        listing = Listing.of(entries)
        missed = self._bring_texts(listing, entries, seen)
        self._bring_bare(listing, seen)
        self._touch_repaired(listing, seen)
        self._remove_gone(listing)
        kept = {path: entry for path, entry in entries.items() if path not in missed}
        self._cache.note(Seen(began, kept, was_empty=not entries))
        return began

    def _bring_texts(self, listing: Listing, entries: Mapping[str, Entry], seen: Seen) -> set[str]:
        """Read what is new of manifests and of the files beside the versions; return what was gone meanwhile."""
        published = [f"{model}/{number}/{MANIFEST_FILE}" for (model, number), of in listing.versions.items()
                     if of.is_published]  # fmt: skip
        wanted = [path for path in (*published, *listing.beside) if self._is_news(path, entries[path], seen)]
        texts = self._files.read(wanted)
        for path, text in texts.items():
            target = self._cache.root / path
            if path in listing.beside:
                if not target.exists() or target.read_bytes() != text:
                    self._cache.put(target, text)
            elif not target.exists() or target.read_bytes() != text:
                self._cache.put_folder(target.parent, {MANIFEST_FILE: text})
        return {*wanted} - texts.keys()

    def _is_news(self, path: str, entry: Entry, seen: Seen) -> bool:
        is_manifest = path.endswith(f"/{MANIFEST_FILE}")
        unknown = entry.stamp is None and not is_manifest
        return unknown or seen.entries.get(path) != entry or self._is_damaged(self._cache.root / path, entry)

    def _is_damaged(self, path: Path, entry: Entry) -> bool:
        try:
            return entry.size not in (None, path.stat().st_size)
        except OSError:
            return True

    def _bring_bare(self, listing: Listing, seen: Seen) -> None:
        """Show versions without a manifest that have stood still for two looks; fetch again what had been fetched."""
        for (model, number), version in listing.versions.items():
            stored = self._local.stored(model, number)
            files = _as_json(version)
            if not version.is_bare or not _stands_still(stored, version, seen) or _text(stored, WANTED_FILE) == files:
                continue
            if (stored.path / MANIFEST_FILE).exists() or not stored.path.exists():
                self._cache.put_folder(stored.path, {WANTED_FILE: files})
            else:
                self._cache.put(stored.path / WANTED_FILE, files)
            if (stored.path / FETCHED_FILE).exists():
                self._download(stored, self._lacking(stored))

    def _touch_repaired(self, listing: Listing, seen: Seen) -> None:
        """Show those who refused a version that its files have changed since."""
        for key, version in listing.versions.items():
            stored = self._local.stored(*key)
            before = {name: seen.entries.get(f"{key[0]}/{key[1]}/{name}") for name in version.files}
            if version.is_published and any(before.values()) and before != version.files:
                self._bad.pop(key, None)
                os.utime(stored.path / MANIFEST_FILE)

    def _remove_gone(self, listing: Listing) -> None:
        for stored in list(self._local.all_versions()):
            if (stored.model, stored.version) not in listing.versions:
                self._cache.drop(stored.path)
        for model in self._local.root.iterdir():
            for path in model.glob("*.json") if not model.name.startswith(".") else ():
                if f"{model.name}/{path.name}" not in listing.beside:
                    self._cache.drop(path)

    def _lacking(self, stored: StoredVersion) -> list[str]:
        """List the files of a version that are to be fetched."""
        if (stored.path / MANIFEST_FILE).exists():
            return [name for name in stored.manifest.files if not (stored.path / name).is_file()]
        wanted = _text(stored, WANTED_FILE)
        if wanted is None or wanted == _text(stored, FETCHED_FILE):
            return []
        return list(json.loads(wanted))

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
        if before is not None and before[0] == [*self.entries_of(stored).values()]:
            raise CorruptVersion(before[1])

    def _download(self, stored: StoredVersion, names: list[str]) -> None:
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
        if (wanted := _text(stored, WANTED_FILE)) is not None:
            self._cache.put(stored.path / FETCHED_FILE, wanted)

    def _check(self, stored: StoredVersion, staging: Path, names: list[str]) -> None:
        """Compare what came with what was announced."""
        if not (stored.path / MANIFEST_FILE).exists():
            sizes = {name: entry[0] for name, entry in json.loads(_text(stored, WANTED_FILE) or b"{}").items()}
            if any(sizes[name] not in (None, (staging / name).stat().st_size) for name in names):
                raise StoreAway(f"{stored}: its files are being written")
            return
        expected = stored.manifest.files
        differing = [name for name in names if sha256_of(staging / name) != expected[name]]
        if differing:
            reason = f"{stored}: {', '.join(differing)}: the sha256 in the store differs from the manifest's"
            self._bad[stored.model, stored.version] = ([*self.entries_of(stored).values()], reason)
            raise CorruptVersion(reason)


def _as_json(version: RemoteVersion) -> bytes:
    return json.dumps({name: astuple(entry) for name, entry in sorted(version.files.items())}).encode()


def _text(stored: StoredVersion, name: str) -> bytes | None:
    try:
        return (stored.path / name).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _stands_still(stored: StoredVersion, version: RemoteVersion, seen: Seen) -> bool:
    times = [entry.modified for entry in version.files.values()]
    if not seen.at and all(time.time() - moment > SETTLED_SECONDS for moment in times if moment is not None):
        return True
    before = dict(_below(f"{stored.model}/{stored.version}/", seen))
    return before == dict(version.files)


def _below(prefix: str, seen: Seen) -> Iterator[tuple[str, Entry]]:
    return ((path.removeprefix(prefix), entry) for path, entry in seen.entries.items() if path.startswith(prefix))

"""Brings the cache in line with a remote store: manifests and what lies beside them of all, files of what is asked for.

A look is one listing. Of a published version the manifest is mirrored at once, so that policies, labels and groups are
judged as in any store; its files are fetched when somebody wants to serve it, each compared with the manifest's sha256,
all of them or none. Knows nothing of the service.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import astuple, replace
from pathlib import Path

from model_store.errors import StoreAway
from model_store.manifest import MANIFEST_FILE
from model_store.remote.cache import Cache, Seen
from model_store.remote.fetching import FETCHED_FILE, WANTED_FILE, Fetcher, text_of
from model_store.remote.files import Entry, RemoteFiles
from model_store.remote.listing import Listing, RemoteVersion
from model_store.store import Store, StoredVersion

# A file without a manifest that was not touched for so long is taken for whole at the first look.
SETTLED_SECONDS = 10.0


class Mirror:
    """Mirrors a store into a cache.

    What changes besides the cache: `_away`, why the last look failed and when.
    """

    def __init__(self, files: RemoteFiles, cache: Cache) -> None:
        self._files = files
        self._cache = cache
        self._local = Store(cache.root)
        self._away = ("", 0.0)
        self._fetcher = Fetcher(files, cache)

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
            InvalidManifest: the manifest cannot be read, here and in the store.
            StoreError: the cache cannot be written.
        """
        if self._fetcher.is_whole(stored):
            return
        if reason := self._away[0]:
            raise StoreAway(f"{stored} is not in the cache, and {reason}")
        self._fetcher.fetch(stored)

    def repair(self, stored: StoredVersion, names: Iterable[str]) -> None:
        """Drop those of these files that are damaged in the cache, and fetch them once more; raises as `fetch` does."""
        self._fetcher.drop_damaged(stored, names)
        self.fetch(stored)

    def entries_of(self, stored: StoredVersion) -> Mapping[str, Entry]:
        """List a version's files as the last look saw them."""
        return self._cache.seen().below(f"{stored.model}/{stored.version}/")

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
            if target.exists() and target.read_bytes() == text:
                continue
            if path in listing.beside:
                self._cache.put(target, text)
            else:
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
            if not version.is_bare or not _stands_still(stored, version, seen) or text_of(stored, WANTED_FILE) == files:
                continue
            if (stored.path / MANIFEST_FILE).exists() or not stored.path.exists():
                self._cache.put_folder(stored.path, {WANTED_FILE: files})
            else:
                self._cache.put(stored.path / WANTED_FILE, files)
            if (stored.path / FETCHED_FILE).exists():
                self._fetcher.download(stored, self._fetcher.lacking(stored))

    def _touch_repaired(self, listing: Listing, seen: Seen) -> None:
        """Show those who refused a version that its files have changed since."""
        for key, version in listing.versions.items():
            stored = self._local.stored(*key)
            before = {name: seen.entries.get(f"{key[0]}/{key[1]}/{name}") for name in version.files}
            if version.is_published and any(before.values()) and before != version.files:
                self._fetcher.forget_bad(*key)
                os.utime(stored.path / MANIFEST_FILE)

    def _remove_gone(self, listing: Listing) -> None:
        for stored in list(self._local.all_versions()):
            if (stored.model, stored.version) not in listing.versions:
                self._cache.drop(stored.path)
        for model in self._local.root.iterdir():
            for path in model.glob("*.json") if not model.name.startswith(".") else ():
                if f"{model.name}/{path.name}" not in listing.beside:
                    self._cache.drop(path)


def _as_json(version: RemoteVersion) -> bytes:
    return json.dumps({name: astuple(entry) for name, entry in sorted(version.files.items())}).encode()


def _stands_still(stored: StoredVersion, version: RemoteVersion, seen: Seen) -> bool:
    times = [entry.modified for entry in version.files.values()]
    if not seen.at and all(time.time() - moment > SETTLED_SECONDS for moment in times if moment is not None):
        return True
    before = seen.below(f"{stored.model}/{stored.version}/")
    return before == dict(version.files)

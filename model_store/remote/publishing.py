"""Publishing where nothing can be renamed and nothing locked: a number is claimed, and the manifest written last.

    <model>/.claims/<number>-<id>    written before anything else; then everything is listed again
    <model>/<number>/.publishing     readers skip the folder
                    /model.onnx …    the files
                    /manifest.json   names every file's sha256
    and the mark is removed, then the claim

Whoever sees another's claim, or anything in the folder, takes its own claim back and tries again: of two claims to one
number, the one that lists later sees the other. So no two publishers write into one folder, on any store whose listings
show what was written before. A publisher that is killed leaves a folder that readers skip and later publishers step
over; after a day it is removed.
"""

from __future__ import annotations

import contextlib
import random
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from model_store.errors import IncompleteDraft, ReadOnlyStore, StoreBusy, StoreError
from model_store.manifest import MANIFEST_FILE, PUBLISHING_MARK, sha256_of
from model_store.remote.files import Entry, RemoteFiles
from model_store.remote.listing import CLAIMS, Listing
from model_store.store import Draft

TRIES = 20
LONGEST_REST_SECONDS = 2.0
# A publisher that has written nothing for so long is taken for dead.
STALE_SECONDS = 24 * 3600.0
# The system's, not Python's common one: jobs of one seed would wait for each other alike.
CHANCE = random.SystemRandom()

Rest = Callable[[float], None]
Number = Callable[[], float]


class Publisher:
    """Publishes in a remote store under one identity of its own; `chance` gives numbers from 0 to 1."""

    def __init__(
        self,
        files: RemoteFiles,
        *,
        rest: Rest = time.sleep,
        now: Number = time.time,
        chance: Number = CHANCE.random,
    ) -> None:
        self._files = files
        self._rest = rest
        self._now = now
        self._chance = chance
        self._id = uuid.uuid4().hex

    def publish(self, drafts: Sequence[Draft]) -> int:
        """Publish models under one new number, and return it.

        Raises:
            IncompleteDraft: a file that a manifest names is missing or differs.
            ReadOnlyStore: nothing can be written there.
            StoreBusy: other publishers took every number that was tried.
            StoreAway: the store does not answer, or refuses.
        """
        check_may_be_written(self._files)
        for draft in drafts:
            _check(draft)
        self._clear_up()
        models = [draft.model for draft in drafts]
        number = self._claim(models)
        try:
            self._write(drafts, number)
        except BaseException:
            with contextlib.suppress(StoreError):
                self._take_back(models, number)
            raise
        self._files.remove([f"{model}/{number}/{PUBLISHING_MARK}" for model in models])
        self._files.remove(self._claims(models, number))
        return number

    def _claim(self, models: Sequence[str]) -> int:
        for attempt in range(TRIES):
            number = Listing.of(self._files.entries()).free_number(models)
            if self._is_ours(models, number):
                return number
            self._rest(min(LONGEST_REST_SECONDS, 0.05 * 2**attempt) * self._chance())
        raise StoreBusy(f"store {str(self._files.address)!r}: other publishers took {TRIES} numbers in a row")

    def _is_ours(self, models: Sequence[str], number: int) -> bool:
        """Claim a number; tell whether nobody else has it, in any of the models, and mark their folders."""
        for claim in self._claims(models, number):
            self._files.write(claim, b"")
        now = Listing.of(self._files.entries())
        alone = all(
            (model, number) not in now.versions and now.claims.get((model, number)) == (claim,)
            for model, claim in zip(models, self._claims(models, number), strict=True)
        )
        marked: list[str] = []
        for mark in [f"{model}/{number}/{PUBLISHING_MARK}" for model in models] if alone else ():
            # Where the store knows the condition, it alone would do.
            alone = alone and self._files.create(mark, self._id.encode())
            marked += [mark] if alone else []
        if not alone:
            self._files.remove([*marked, *self._claims(models, number)])
        return alone

    def _claims(self, models: Sequence[str], number: int) -> list[str]:
        return [f"{model}/{CLAIMS}/{number}-{self._id}" for model in models]

    def _write(self, drafts: Sequence[Draft], number: int) -> None:
        for draft in drafts:
            for name in draft.manifest.files:
                self._files.upload(draft.folder / name, f"{draft.model}/{number}/{name}")
        for draft in drafts:
            self._files.write(f"{draft.model}/{number}/{MANIFEST_FILE}", draft.manifest.to_json().encode())

    def _take_back(self, models: Sequence[str], number: int) -> None:
        versions = Listing.of(self._files.entries()).versions
        for model in models:
            found = versions.get((model, number))
            self._remove_version(f"{model}/{number}", found.files if found else {})
        self._files.remove(self._claims(models, number))

    def _remove_version(self, folder: str, files: Mapping[str, Entry]) -> None:
        """Remove what was written; the mark last, so that readers never see a part."""
        names = [name for name in files if name != PUBLISHING_MARK]
        self._files.remove(f"{folder}/{name}" for name in [*names, PUBLISHING_MARK])

    def _clear_up(self) -> None:
        """Remove what publishers left that were killed more than a day ago."""
        entries = self._files.entries()
        listing = Listing.of(entries)
        for (model, number), version in listing.versions.items():
            if version.is_marked and all(self._is_stale(entry) for entry in version.files.values()):
                self._remove_version(f"{model}/{number}", version.files)
        claims = [path for paths in listing.claims.values() for path in paths]
        self._files.remove(path for path in claims if self._is_stale(entries[path]))

    def _is_stale(self, entry: Entry) -> bool:
        return entry.modified is not None and self._now() - entry.modified > STALE_SECONDS


def check_may_be_written(files: RemoteFiles) -> None:
    """Raise `ReadOnlyStore` for a kind of store in which nothing can be written."""
    if not files.address.may_be_written:
        raise ReadOnlyStore(
            f"store {str(files.address)!r}: {files.address.scheme}:// can be read, not written; publish in a folder or "
            "in s3://, gs:// or az://"
        )


def _check(draft: Draft) -> None:
    for name, expected in draft.manifest.files.items():
        path: Path = draft.folder / name
        try:
            received = sha256_of(path)
        except OSError as error:
            raise IncompleteDraft(f"{path}: {error.strerror or error}") from None
        if received != expected:
            raise IncompleteDraft(f"{path}: its sha256 differs from the manifest's")

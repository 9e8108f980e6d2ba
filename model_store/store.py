"""A store: folders `<model>/<version>/` that appear whole or not at all, and never change afterwards.

Publishing stages a version in a hidden folder, writes everything through to the disk, and renames it into
place. So a reader sees all of a version or none of it, and a publisher that is killed leaves nothing behind but
a hidden folder, which the next one removes. Knows neither Keras nor ONNX nor HTTP.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from model_store.disk import sync
from model_store.errors import (
    AllWithdrawn,
    CorruptVersion,
    IncompleteDraft,
    InvalidManifest,
    InvalidName,
    ReadOnlyStore,
    StoreBusy,
    StoreError,
    UnknownModel,
    UnknownVersion,
)
from model_store.golden import Golden
from model_store.manifest import (
    GOLDEN_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    MODEL_NAME_PATTERN,
    PUBLISHING_MARK,
    Manifest,
    sha256_of,
)
from model_store.serving import Selection, Serving, VersionPolicy, read_labels

LATEST = "latest"
STAGING_PREFIX = ".staging-"
LOCK_FILE = ".lock"

_VERSION = re.compile(r"[1-9][0-9]{0,17}")

Check = Callable[["StoredVersion"], list[str]]
"""Looks at one published version and returns a line for each thing that is wrong with it."""


@dataclass(frozen=True)
class StoredVersion:
    """One published version: where it lies, and what its files say.

    `repair` brings files that are damaged once more, where they are copies of files elsewhere.
    """

    model: str
    version: int
    path: Path
    repair: Callable[[StoredVersion, Iterable[str]], None] | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.model}@{self.version}"

    @property
    def onnx_path(self) -> Path:
        """The file that holds the whole computation."""
        return self.path / MODEL_FILE

    @property
    def is_bare(self) -> bool:
        """Whether it is an ONNX file without a manifest, as other servers' stores hold them."""
        try:
            return self.onnx_path.is_file() and not (self.path / MANIFEST_FILE).exists()
        except PermissionError:
            return False  # its manifest will say that it may not be read

    @cached_property
    def manifest(self) -> Manifest:
        """The manifest, read and validated on first use; raises `InvalidManifest`."""
        try:
            empty = not (self.path / MANIFEST_FILE).exists() and not self.onnx_path.exists()
        except PermissionError:
            empty = False  # reading it will say so
        if empty:
            raise InvalidManifest(self.path, [f"there is no {MODEL_FILE}"])
        return Manifest.read(self.path)

    def golden(self) -> Golden:
        """Read the golden inputs and outputs; raises `InvalidGolden`."""
        return Golden.read(self.path / GOLDEN_FILE)

    def check_files(self) -> None:
        """Compare every file with the manifest's sha256; copies of files elsewhere are brought once more.

        Raises:
            InvalidManifest: the manifest cannot be read.
            CorruptVersion: a file is missing, unreadable, or differs; of a copy, also elsewhere.
            StoreAway: a copy is damaged, and the store it comes from does not answer.
            StoreError: a copy is damaged, and cannot be replaced.
        """
        problems = self._problems(self.manifest.files)
        if problems and self.repair is not None:
            self.repair(self, problems)
            problems = self._problems({name: self.manifest.files[name] for name in problems})
        if problems:
            raise CorruptVersion(f"{self}: {'; '.join(problems.values())}")

    def _problems(self, files: Mapping[str, str]) -> dict[str, str]:
        return {
            name: problem
            for name, expected in files.items()
            if (problem := _file_problem(self.path / name, name, expected))
        }


def _file_problem(path: Path, name: str, expected: str) -> str | None:
    try:
        received = sha256_of(path)
    except OSError as error:
        return f"{name}: {error.strerror or error}"
    if received == expected:
        return None
    return f"{name}: sha256 is {received[:12]}…, the manifest says {expected[:12]}…"


@dataclass(frozen=True)
class Draft:
    """A model that is ready to be published: the files in `folder` that its manifest names."""

    model: str
    folder: Path
    manifest: Manifest


class Store:
    """A model store in a local folder.

    The folder may be missing: then the store is empty, and the first publisher makes it.
    """

    def __init__(self, root: Path | str, *, lock_timeout: float = 120.0) -> None:
        if "://" in str(root):
            raise StoreError("a URL is opened by model_store.open_store, not as a folder")
        self.root = Path(root)
        self._lock_timeout = lock_timeout

    def __repr__(self) -> str:
        return f"Store({str(self.root)!r})"

    @property
    def location(self) -> str:
        """Where the store lies, for people."""
        return str(self.root)

    @property
    def is_remote(self) -> bool:
        """Whether it is mirrored from elsewhere."""
        return False

    def trouble(self) -> str:
        """Say why there is nothing to serve, where the place itself tells that something is wrong with it; else ""."""
        return ""

    def check_writable(self) -> None:
        """Raise `ReadOnlyStore` for a place in which nothing can be published, whether or not the folder exists."""
        root = self.root.resolve()
        existing = next(folder for folder in (root, *root.parents) if folder.exists())
        if not existing.is_dir():
            raise ReadOnlyStore(f"store {self.location!r}: {existing} is not a folder")
        if not os.access(existing, os.W_OK | os.X_OK):
            raise ReadOnlyStore(f"store {self.location!r}: no right to write in {existing}")

    def refresh(self, *, max_age: float = 0.0, wait: float | None = None) -> float:  # noqa: ARG002  (for remote ones)
        """Look at the store anew; return as of when it is known, in seconds since the epoch. A folder is always."""
        return time.time()

    def fetch(self, stored: StoredVersion) -> None:
        """Have a version's files at hand: in a folder they are."""

    def place_of(self, stored: StoredVersion) -> str:
        """Say where a version lies, for people."""
        return str(stored.path)

    def size(self, stored: StoredVersion) -> int:
        """Sum the sizes of a version's files, in bytes."""
        return sum(path.stat().st_size for path in stored.path.rglob("*") if path.is_file())

    def models(self) -> list[str]:
        """List the models that have at least one published version, by name; a folder that may not be read has none."""
        return [model for model in self._model_folders() if self._has_versions(model)]

    def versions(self, model: str) -> list[int]:
        """List a model's published versions, oldest first; none for a model that the store lacks."""
        return sorted(int(entry.name) for entry in self._numbered(model) if _is_published(entry))

    def all_versions(self) -> Iterator[StoredVersion]:
        """Go through every published version: models by name, versions oldest first."""
        for model in self.models():
            for version in self.versions(model):
                yield self.stored(model, version)

    def resolve(self, model: str, version: str | int = LATEST) -> StoredVersion:
        """Find one version: a number, or `latest`.

        `latest` passes over a version whose group is incomplete, so that an encoder never meets another
        version's decoder. A version whose manifest cannot be read is not passed over: it is found, and
        says why when its manifest is asked for.

        Raises:
            UnknownModel: the store has no such model.
            UnknownVersion: the model has no such version, or no whole one.
            InvalidName: the version is neither a number nor `latest`.
        """
        known = self.versions(model)
        if not known:
            raise UnknownModel(model, known=self.models())
        if version == LATEST:
            for number in reversed(known):
                candidate = self.stored(model, number)
                if self.has_whole_group(candidate):
                    return candidate
            raise UnknownVersion(model, LATEST, known=known)
        number = parse_version(version)
        if number not in known:
            raise UnknownVersion(model, version, known=known)
        return self.stored(model, number)

    def newest(self, model: str) -> StoredVersion:
        """Find the newest version that is whole and that nobody took out of service: what people mean by a model.

        Raises:
            UnknownModel, UnknownVersion: as `resolve`.
            AllWithdrawn: each of its versions was taken out of service.
            InvalidServing: serving.json cannot be used.
        """
        self.resolve(model)
        known = self.versions(model)
        for candidate in (self.stored(model, number) for number in reversed(known)):
            if self.may_serve_with_its_group(candidate):
                return candidate
        raise AllWithdrawn(model, known=known)

    def folder_of(self, model: str) -> Path:
        """Say where a model's versions lie, and the files beside them; raises `InvalidName`."""
        return self.root / check_model_name(model)

    def has_whole_group(self, stored: StoredVersion) -> bool:
        """Tell whether all models that were published together with this one are there."""
        try:
            group = stored.manifest.group
        except InvalidManifest:
            return True
        return group is None or all(self._belongs(member, stored.version, group.id) for member in group.members)

    def serving(self, model: str) -> Serving:
        """Read how a model is to be served; raises `InvalidServing`."""
        return Serving.read(self.folder_of(model))

    def labels(self, model: str) -> dict[str, int]:
        """Read the names of a model's versions: label → version; raises `InvalidServing`."""
        return read_labels(self.folder_of(model))

    def select(
        self,
        model: str,
        *,
        may_serve: Callable[[StoredVersion], bool] | None = None,
        policy: VersionPolicy | None = None,
        serving: Serving | None = None,
        known: Sequence[int] | None = None,
    ) -> Selection:
        """Choose which versions shall serve: what the policy says, and what a label names; never a withdrawn one.

        Args:
            model: its name.
            may_serve: what a version must fulfil, by default `may_serve_with_its_group`; asked about as few versions
                as possible, newest first.
            policy: instead of the one in serving.json.
            serving: what serving.json says, if it was read already.
            known: the model's versions, if they were listed already.

        Raises:
            InvalidServing: serving.json or labels.json cannot be used.
        """
        serving = self.serving(model) if serving is None else serving
        known = self.versions(model) if known is None else known
        labels = self.labels(model)
        allowed = may_serve or self.may_serve_with_its_group

        def usable(version: int) -> bool:
            return version not in serving.withdrawn and allowed(self.stored(model, version))

        wanted = policy or serving.version_policy
        chosen = wanted.select(known, usable)
        named = {version for version in labels.values() if version in known and usable(version)}
        return Selection(tuple(sorted({*chosen, *named})), labels, str(wanted))

    def may_serve_with_its_group(self, stored: StoredVersion) -> bool:
        """Tell whether all models of a version's group are there in this version, and none of them withdraws it."""
        return self.has_whole_group(stored) and not self.is_withdrawn_in(self.group_of(stored), stored.version)

    def is_withdrawn_in(self, models: Iterable[str], version: int) -> bool:
        """Tell whether one of these models withdraws this version."""
        return any(version in self.serving(model).withdrawn for model in models)

    def group_of(self, stored: StoredVersion) -> tuple[str, ...]:
        """Name the models that were published together with this one, itself among them."""
        try:
            group = None if stored.is_bare else stored.manifest.group
        except InvalidManifest:
            group = None
        return (stored.model,) if group is None else group.members

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the lock of everyone who changes the store.

        Raises:
            StoreBusy: somebody else held it for too long.
            StoreError: the store cannot be written.
        """
        try:
            with self._locked():
                yield
        except OSError as error:
            raise StoreError(f"cannot change store {str(self.root)!r}: {error}") from None

    def replace_file(self, model: str, name: str, text: str) -> None:
        """Replace one of the files beside a model's versions: readers see the old text or the new one."""
        folder = self.root / check_model_name(model)
        staging = folder / f"{STAGING_PREFIX}{uuid.uuid4().hex}"
        staging.write_text(text, encoding="utf-8")
        sync(staging)
        staging.rename(folder / name)
        sync(folder)

    def publish(self, *drafts: Draft) -> list[StoredVersion]:
        """Publish models under one new version number: all of them, each whole.

        Several publishers may run at once; they take turns and get different numbers. A kill at any instant
        leaves no half version; between two models of one group it leaves a group that `latest` passes over.

        Raises:
            InvalidName: a model's name does not fit a store.
            IncompleteDraft: a file that a manifest names is missing or differs, or two drafts share a name.
            StoreBusy: another publisher held the store for too long.
            StoreError: the store cannot be written.
        """
        names = [check_model_name(draft.model) for draft in drafts]
        if not names or len(set(names)) < len(names):
            raise IncompleteDraft(f"publish needs one or more models with different names, got {names}")
        with self.changing(), self._no_stagings_left():
            version = 1 + max(self._highest_number(name) for name in names)
            staged = [self._stage(draft) for draft in drafts]
            return [self._reveal(folder, name, version) for folder, name in zip(staged, names, strict=True)]

    def verify(self, stored: StoredVersion, checks: Mapping[str, Check] | None = None) -> list[str]:
        """Check one version: its manifest, its digests, its group, then each of `checks`; return what is wrong.

        The further checks (ONNX checker, golden replay) are handed in, since this package knows no ONNX. They
        run only over files that are what the manifest says.
        """
        try:
            if not stored.is_bare:
                stored.check_files()
                stored.golden()
        except StoreError as error:
            return [str(error)]
        problems = [] if self.has_whole_group(stored) else ["its group is incomplete: publish the job again"]
        for name, check in (checks or {}).items():
            problems += [f"{name}: {problem}" for problem in check(stored)]
        return problems

    def _model_folders(self) -> list[str]:
        try:
            entries = list(os.scandir(self.root))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(f"store {str(self.root)!r}: {error.strerror}") from None
        return sorted(
            entry.name for entry in entries if re.fullmatch(MODEL_NAME_PATTERN, entry.name) and entry.is_dir()
        )

    def _has_versions(self, model: str) -> bool:
        try:
            return bool(self.versions(model))
        except StoreError:
            return False

    def _numbered(self, model: str) -> list[os.DirEntry[str]]:
        """List whatever bears a version's number in a model's folder, published or not."""
        try:
            entries = list(os.scandir(self.folder_of(model)))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise StoreError(f"model {model!r}: {error.strerror}") from None
        return [entry for entry in entries if _VERSION.fullmatch(entry.name)]

    def _highest_number(self, model: str) -> int:
        # A number is taken from the moment that a publisher without rename has begun to write it.
        return max((int(entry.name) for entry in self._numbered(model)), default=0)

    def stored(self, model: str, version: int) -> StoredVersion:
        """Say where a version lies that is known to be there; `resolve` looks first."""
        return StoredVersion(model, version, self.root / model / str(version))

    def _belongs(self, model: str, version: int, group_id: str) -> bool:
        if version not in self.versions(model):
            return False
        try:
            group = self.stored(model, version).manifest.group
        except InvalidManifest:
            return False
        return group is not None and group.id == group_id

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the publishers' lock. The kernel frees it when the process ends, however it ends."""
        self.root.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + self._lock_timeout
        with (self.root / LOCK_FILE).open("a") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise StoreBusy(
                            f"store {str(self.root)!r}: another publisher has held it for {self._lock_timeout:g} s"
                        ) from None
                    time.sleep(0.02)
            yield

    @contextmanager
    def _no_stagings_left(self) -> Iterator[None]:
        """Remove what killed publishers left, and what this one leaves if it fails: the lock's holder alone stages."""
        self._remove_stagings()
        try:
            yield
        finally:
            self._remove_stagings()

    def _remove_stagings(self) -> None:
        for left in self.root.glob(f"*/{STAGING_PREFIX}*"):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)

    def _stage(self, draft: Draft) -> Path:
        """Copy a draft into a hidden folder beside its future place, and write it through to the disk."""
        model_folder = self.root / draft.model
        model_folder.mkdir(exist_ok=True)
        sync(self.root)
        staging = model_folder / f"{STAGING_PREFIX}{uuid.uuid4().hex}"
        staging.mkdir()
        for name, expected in draft.manifest.files.items():
            _copy_checked(draft.folder / name, staging / name, expected)
        manifest = staging / MANIFEST_FILE
        manifest.write_text(draft.manifest.to_json(), encoding="utf-8")
        sync(manifest)
        for folder in [*(path for path in staging.rglob("*") if path.is_dir()), staging]:
            sync(folder)
        return staging

    def _reveal(self, staging: Path, model: str, version: int) -> StoredVersion:
        stored = self.stored(model, version)
        staging.rename(stored.path)
        sync(stored.path.parent)
        return stored


def check_model_name(model: str) -> str:
    """Return the name if a store can hold it, else raise `InvalidName`."""
    if not re.fullmatch(MODEL_NAME_PATTERN, model):
        raise InvalidName(
            f"model name {model!r}: expected letters, digits, '.', '_' and '-', starting with a letter or digit, "
            "at most 128 characters"
        )
    return model


def parse_version(version: str | int) -> int:
    """Read a version number, else raise `InvalidName`."""
    if not _VERSION.fullmatch(str(version)):
        raise InvalidName(f"version {version!r}: expected a whole number from 1, or {LATEST!r}")
    return int(version)


def _is_published(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir() and not Path(entry, PUBLISHING_MARK).exists()
    except PermissionError:
        return True  # it is there; its manifest will say that it may not be read


def _copy_checked(source: Path, target: Path, expected: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise IncompleteDraft(f"{source}: {error.strerror or error}") from None
    if sha256_of(target) != expected:
        raise IncompleteDraft(f"{source}: its sha256 differs from the manifest's")
    sync(target)

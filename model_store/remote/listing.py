"""What a listing of a remote store's files means: versions, claims, and the files beside them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from model_store.errors import StoreError
from model_store.manifest import MANIFEST_FILE, MODEL_FILE, PUBLISHING_MARK
from model_store.remote.files import Entry
from model_store.serving import LABELS_FILE, SERVING_FILE
from model_store.store import check_model_name, parse_version

CLAIMS = ".claims"


@dataclass(frozen=True)
class RemoteVersion:
    """The files of one version: path inside its folder → entry."""

    files: Mapping[str, Entry]

    @property
    def is_marked(self) -> bool:
        """Whether a publisher is at work, or was killed there."""
        return PUBLISHING_MARK in self.files

    @property
    def is_published(self) -> bool:
        """Whether readers may see it: the manifest is written last."""
        return MANIFEST_FILE in self.files and not self.is_marked

    @property
    def is_bare(self) -> bool:
        """Whether it is an ONNX file without a manifest."""
        return MODEL_FILE in self.files and MANIFEST_FILE not in self.files and not self.is_marked


@dataclass(frozen=True)
class Listing:
    """A listing, sorted: (model, version) → files; (model, version) → claims' paths; paths beside the versions."""

    versions: Mapping[tuple[str, int], RemoteVersion]
    claims: Mapping[tuple[str, int], tuple[str, ...]]
    beside: Mapping[str, Entry]

    @classmethod
    def of(cls, entries: Mapping[str, Entry]) -> Self:
        """Sort the files of a store; what is no part of one is passed over."""
        versions: dict[tuple[str, int], dict[str, Entry]] = {}
        claims: dict[tuple[str, int], tuple[str, ...]] = {}
        beside: dict[str, Entry] = {}
        for path, entry in sorted(entries.items()):
            match path.split("/"):
                case [model, name] if name in (SERVING_FILE, LABELS_FILE) and _is_model(model):
                    beside[path] = entry
                case [model, name, claim] if name == CLAIMS and (key := _key(model, claim.partition("-")[0])):
                    claims[key] = (*claims.get(key, ()), path)
                case [model, number, *rest] if _stays_inside(rest) and (key := _key(model, number)):
                    versions.setdefault(key, {})["/".join(rest)] = entry
        return cls({key: RemoteVersion(files) for key, files in versions.items()}, claims, beside)

    def free_number(self, models: Iterable[str]) -> int:
        """Find the number above all that any of these models has, or that somebody has claimed."""
        taken = {*self.versions, *self.claims}
        wanted = {*models}
        return 1 + max((number for model, number in taken if model in wanted), default=0)


def _key(model: str, number: str) -> tuple[str, int] | None:
    try:
        return check_model_name(model), parse_version(number)
    except StoreError:
        return None


def _stays_inside(parts: Sequence[str]) -> bool:
    """Tell whether a file's path stays in its folder: an object's key may hold anything, `//` among it."""
    return bool(parts) and {"", ".", ".."}.isdisjoint(parts)


def _is_model(name: str) -> bool:
    return _key(name, "1") is not None

"""What can go wrong with a store, named by cause.

StoreError
├── InvalidName         a model's name or a version that no store could hold
├── UnknownModel        the store has no such model
├── UnknownVersion      the model has no such version
├── AllWithdrawn        each of the model's versions was taken out of service
├── InvalidManifest     manifest.json is missing, is not JSON, or breaks the schema
├── InvalidGolden       golden.npz is missing or unreadable
├── InvalidPredictions  predictions.npz is missing or unreadable
├── InvalidServing      serving.json or labels.json breaks its schema
├── CorruptVersion      a file is missing or its sha256 differs from the manifest
├── IncompleteDraft     what was handed to publish is not a whole model
├── StoreBusy           another publisher held the store for too long
├── WrongStoreUrl       a URL that names no store, or whose package is not installed
├── StoreAway           a remote store does not answer, or refuses
└── ReadOnlyStore       a place in which nothing can be published or changed
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path


class StoreError(Exception):
    """Something is wrong with a model store or with what was asked of it."""


class InvalidName(StoreError):
    """A model name or version that no store could hold."""


class UnknownModel(StoreError):
    """The store has no such model."""

    def __init__(self, model: str, *, known: Iterable[str]) -> None:
        names = ", ".join(sorted(known)) or "none"
        super().__init__(f"unknown model {model!r}; the store has: {names}")


class UnknownVersion(StoreError):
    """The model has no such version."""

    def __init__(self, model: str, version: str | int, *, known: Iterable[int]) -> None:
        numbers = ", ".join(str(number) for number in known) or "none"
        super().__init__(f"model {model!r} has no version {version}; it has: {numbers}")


class AllWithdrawn(StoreError):
    """Each of a model's versions was taken out of service."""

    def __init__(self, model: str, *, known: Sequence[int]) -> None:
        numbers = ", ".join(str(number) for number in known)
        super().__init__(
            f"model {model!r}: every version is withdrawn ({numbers}); name one, such as {model}@{known[-1]}, "
            f"or bring one back: ovenbird store rollback {model} --to {known[-1]}"
        )


class InvalidManifest(StoreError):
    """A manifest that is missing, is not JSON, or breaks the schema."""

    def __init__(self, path: Path | None, problems: Iterable[str]) -> None:
        where = f"{path}: " if path else ""
        super().__init__(where + "; ".join(problems))


class InvalidServing(StoreError):
    """A serving.json or labels.json that is unreadable, is not JSON, or breaks the schema."""

    def __init__(self, path: Path | None, problems: Iterable[str]) -> None:
        where = f"{path}: " if path else ""
        super().__init__(where + "; ".join(problems))


class InvalidGolden(StoreError):
    """A golden file that is missing or cannot be read."""


class InvalidPredictions(StoreError):
    """A file of predictions that is missing or cannot be read."""


class CorruptVersion(StoreError):
    """A file of a published version is missing or differs from its manifest."""


class IncompleteDraft(StoreError):
    """What was handed to `publish` is not a whole model."""


class StoreBusy(StoreError):
    """Another publisher held the store's lock for longer than this one may wait."""


class WrongStoreUrl(StoreError):
    """A URL that names no store, or that needs a package which is not installed."""


class StoreAway(StoreError):
    """A remote store does not answer, refuses, or lacks a file at this moment: it may be tried again."""


class ReadOnlyStore(StoreError):
    """A place in which nothing can be published or changed, such as a store that may only be read."""

"""A folder that holds one model, served under a name of the reader's choice: as KServe mounts what it has fetched.

KServe copies whatever its `storageUri` names to /mnt/models, and asks for the model by the InferenceService's name. So
what lies there may be one version's files, a model's folder with its versions, or a store. Nothing is ever written.
"""

from __future__ import annotations

import os
from pathlib import Path

from model_store.manifest import MODEL_FILE, PUBLISHING_MARK
from model_store.store import Store, StoredVersion, check_model_name

# The version of files that lie in the folder itself, where nothing says which one they are.
ONLY_VERSION = 1


class OneModelStore(Store):
    """A store that has one model, whatever its folder is called.

    Its group, if it was published in one, is not asked for: the others are served elsewhere.

    Args:
        root: the folder; it may be missing.
        name: the model's name.

    Raises:
        InvalidName: the name does not fit a store.
    """

    def __init__(self, root: Path | str, name: str) -> None:
        super().__init__(root)
        self.name = check_model_name(name)

    def __repr__(self) -> str:
        return f"OneModelStore({str(self.root)!r}, {self.name!r})"

    def models(self) -> list[str]:
        """List the one model, once it has a version."""
        return [self.name] if self.versions(self.name) else []

    def versions(self, model: str) -> list[int]:
        """List the model's versions, oldest first; files that lie in the folder itself are version 1."""
        if model != self.name:
            return []
        return [ONLY_VERSION] if self._is_one_version(self.folder_of(model)) else super().versions(model)

    def stored(self, model: str, version: int) -> StoredVersion:
        """Say where a version lies that is known to be there."""
        folder = self.folder_of(model)
        return StoredVersion(model, version, folder if self._is_one_version(folder) else folder / str(version))

    def folder_of(self, model: str) -> Path:
        """Find the model: in the folder itself, in one below it of the model's name, or in the only one below it."""
        if model != self.name:
            return super().folder_of(model)
        if self._is_model(self.root):
            return self.root
        below = [folder for folder in _folders(self.root) if self._is_model(folder)]
        named = [folder for folder in below if folder.name == model]
        return (named or (below if len(below) == 1 else [self.root]))[0]

    def has_whole_group(self, stored: StoredVersion) -> bool:  # noqa: ARG002  (whatever it is)
        """Tell that a version may serve without the others of its group."""
        return True

    def group_of(self, stored: StoredVersion) -> tuple[str, ...]:
        """Name the one model."""
        return (stored.model,)

    def trouble(self) -> str:
        """Say why there is nothing to serve, as far as the folder tells; "" if there is."""
        if self.models():
            return ""
        several = [folder.name for folder in _folders(self.root) if self._is_model(folder)]
        if several:
            found = ", ".join(several[:5]) + (", …" if len(several) > 5 else "")
            return f"{str(self.root)!r} holds several models, and none of them is called {self.name!r}: {found}"
        return f"{str(self.root)!r} holds no model: expected {MODEL_FILE}, or folders called 1, 2, … that hold one"

    def _is_model(self, folder: Path) -> bool:
        return self._is_one_version(folder) or any(_is_number(below.name) for below in _folders(folder))

    @staticmethod
    def _is_one_version(folder: Path) -> bool:
        return (folder / MODEL_FILE).exists() and not (folder / PUBLISHING_MARK).exists()


def _is_number(name: str) -> bool:
    return name.isdecimal() and name.isascii() and not name.startswith("0")


def _folders(root: Path) -> list[Path]:
    """List the folders below one, by name; none where it is missing or may not be read."""
    try:
        return sorted(Path(entry.path) for entry in os.scandir(root) if entry.is_dir())
    except OSError:
        return []

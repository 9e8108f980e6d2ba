from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tiny_models

from model_store import Draft, Store


@dataclass
class Publisher:
    """Another process that publishes; see publisher.py."""

    process: subprocess.Popen[str]

    def start(
        self, store: Store, drafts: Sequence[Draft], *, times: int = 1, kill_at: int = 0, of: Sequence[str] = ()
    ) -> int:
        """Begin to publish; the process id of the one that does it."""
        folders = {draft.model: str(draft.folder) for draft in drafts}
        self._write({"store": str(store.root), "drafts": folders, "times": times, "kill_at": kill_at, "of": of})
        return int(self._read())

    def wait(self) -> int:
        """The exit status of the one that was started."""
        return int(self._read())

    def publish(self, store: Store, drafts: Sequence[Draft], **how: Any) -> int:
        self.start(store, drafts, **how)
        return self.wait()

    def _write(self, job: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()

    def _read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()


@contextlib.contextmanager
def other_publishers(count: int) -> Iterator[list[Publisher]]:
    script = str(Path(__file__).with_name("publisher.py"))
    # One thread: a process with more may not be forked safely.
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    processes = [subprocess.Popen([sys.executable, script], **pipes) for _ in range(count)]
    try:
        yield [Publisher(process) for process in processes]
    finally:
        for process in processes:
            process.communicate(timeout=20)


@pytest.fixture(scope="session")
def publisher() -> Iterator[Publisher]:
    with other_publishers(1) as publishers:
        yield publishers[0]


@pytest.fixture
def four_publishers() -> Iterator[list[Publisher]]:
    with other_publishers(4) as publishers:
        yield publishers


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store that nobody has published into: its folder is not even there."""
    return Store(tmp_path / "store")


@dataclass
class Drafts:
    """Makes drafts in folders of their own; the manifest lies beside the files, for other processes."""

    folder: Path

    def one(self, model: str = "double", content: bytes = b"any bytes", **facts: Any) -> Draft:
        draft = tiny_models.draft(self.folder / model, model, content, **facts)
        (draft.folder / "manifest.json").write_text(draft.manifest.to_json())
        return draft

    def group(self, *models: str, content: bytes = b"any bytes") -> list[Draft]:
        return [self.one(model, content, group={"id": "one job", "members": models}) for model in models]


@pytest.fixture
def drafts(tmp_path: Path) -> Drafts:
    return Drafts(tmp_path / "drafts")

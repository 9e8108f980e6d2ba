"""Which commit a job says that it was run from."""

from __future__ import annotations

import subprocess
from pathlib import Path

from training.commit import current_commit


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org"]
    return subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_the_commit_is_the_one_that_is_checked_out_and_says_if_files_differ(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    assert current_commit(tmp_path) is None

    recipe = tmp_path / "recipe.py"
    recipe.write_text("epochs = 1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert current_commit(tmp_path) == commit

    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "untracked").touch()
    assert current_commit(tmp_path) == commit

    recipe.write_text("epochs = 2")
    assert current_commit(tmp_path) == f"{commit}+changes"


def test_outside_a_repository_there_is_none(tmp_path: Path) -> None:
    assert current_commit(tmp_path) is None

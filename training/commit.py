"""From which commit of the user's own repository a job was run, if it was run from one."""

from __future__ import annotations

import subprocess
from pathlib import Path

CHANGED = "+changes"


def current_commit(folder: Path | None = None) -> str | None:
    """Return the hash of the commit that is checked out around a folder (by default the current one).

    `+changes` follows it if tracked files differ from it; None without git or outside a repository.
    """
    commit = _git("rev-parse", "--verify", "HEAD", folder=folder)
    if not commit:
        return None
    return commit + (CHANGED if _git("status", "--porcelain", "--untracked-files=no", folder=folder) else "")


def _git(*arguments: str, folder: Path | None) -> str:
    try:
        done = subprocess.run(  # noqa: S603  (fixed words, no shell)
            ["git", *arguments],  # noqa: S607  (the user's own git)
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""

"""The run directory: files through which the workers of one service agree; made and emptied by the arbiter.

    desired.json         what all workers shall serve; replaced atomically
    workers/PID          one file for each live worker
    answers/PID.json     what that worker has done, and what it serves

Imports nothing of the service: the arbiter needs it before any worker, and before prometheus_client, is imported.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

LOCK_LOOK_SECONDS = 0.02


def prepare(run_dir: Path) -> None:
    """Make the folders that the workers share, empty; called by the arbiter before it forks."""
    (run_dir / "desired.json").unlink(missing_ok=True)
    for name in ("workers", "answers"):
        shutil.rmtree(run_dir / name, ignore_errors=True)
        (run_dir / name).mkdir(parents=True)


def worker_came(run_dir: Path, pid: int) -> None:
    """Note a worker that follows the others from now on; called by the worker itself."""
    (run_dir / "workers" / str(pid)).touch()


def worker_went(run_dir: Path, pid: int) -> None:
    """Forget a worker that ended; called by the arbiter."""
    (run_dir / "workers" / str(pid)).unlink(missing_ok=True)
    (run_dir / "answers" / f"{pid}.json").unlink(missing_ok=True)


def live(run_dir: Path) -> set[int]:
    """List the process numbers of the live workers."""
    return {int(path.name) for path in (run_dir / "workers").iterdir()}


def answers(run_dir: Path) -> list[dict[str, Any]]:
    """Read what the live workers say of themselves."""
    alive = live(run_dir)
    found = [_read(path) for path in (run_dir / "answers").glob("*.json")]
    return [answer for answer in found if answer is not None and answer["pid"] in alive]


def read_desired(run_dir: Path) -> dict[str, Any] | None:
    """Read what all workers shall serve; None before the first call."""
    return _read(run_dir / "desired.json")


def write_desired(run_dir: Path, desired: Mapping[str, Any]) -> None:
    """Replace what all workers shall serve."""
    _replace(run_dir / "desired.json", desired)


def write_answer(run_dir: Path, pid: int, answer: Mapping[str, Any]) -> None:
    """Replace what one worker says of itself."""
    _replace(run_dir / "answers" / f"{pid}.json", {"pid": pid, **answer})


def _read(path: Path) -> dict[str, Any] | None:
    try:
        stored: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    return stored


def _replace(path: Path, value: Mapping[str, Any]) -> None:
    written = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    written.write_text(json.dumps(dict(value)), encoding="utf-8")
    written.replace(path)


def lock(run_dir: Path, *, timeout: float) -> contextlib.AbstractContextManager[None]:
    """Wait for one's turn among all workers' calls; the kernel frees the lock when its holder ends.

    Raises:
        TimeoutError: others took longer than `timeout` seconds.
    """
    file = (run_dir / "control.lock").open("a")
    deadline = time.monotonic() + timeout
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                file.close()
                raise TimeoutError from None
            time.sleep(LOCK_LOOK_SECONDS)
        else:
            return _held(file)


@contextlib.contextmanager
def _held(file: Any) -> Iterator[None]:
    try:
        yield
    finally:
        file.close()

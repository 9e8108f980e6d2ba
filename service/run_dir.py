"""The run directory: files through which the workers of one service agree; made and emptied by the arbiter.

    desired.json         what all workers shall serve; replaced atomically
    workers/PID          one file for each live worker
    answers/PID.json     what that worker has done, and what it serves
    logging              what all workers log: cells that each of them maps into its memory
    statistics/          what each worker, alive or not, has counted: cells by model and version

Imports nothing of the service: the arbiter needs it before any worker, and before prometheus_client, is imported.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import mmap
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

LOCK_LOOK_SECONDS = 0.02


def prepare(run_dir: Path) -> None:
    """Make the folders that the workers share, empty; called by the arbiter before it forks."""
    for name in ("desired.json", "logging"):
        (run_dir / name).unlink(missing_ok=True)
    for name in ("workers", "answers", "statistics"):
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


def cells(path: Path | None, count: int) -> memoryview[float]:
    """Map a file of so many 64-bit floats into memory, zeros at first; without a path, memory of one's own.

    What one worker writes there, every other one that maps the same file reads at once, each number whole.
    """
    if path is None:
        return memoryview(bytearray(8 * count)).cast("d")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        file.truncate(8 * count)
        return memoryview(mmap.mmap(file.fileno(), 8 * count)).cast("d")


def own_file(folder: Path, *, suffix: str) -> Path:
    """Name this worker's file in a folder where each worker has its own."""
    return folder / f"{os.getpid()}.{suffix}"


def everybodys_cells(folder: Path) -> list[list[float]]:
    """Read the cells of all files in a folder; those of a worker that is just making its file are left out."""
    return [found for path in folder.glob("*") if (found := _read_cells(path))]


def _read_cells(path: Path) -> list[float]:
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return []
        with (
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
            memoryview(mapped) as view,
            view.cast("d") as numbers,
        ):
            return list(numbers)


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

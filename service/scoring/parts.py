"""The output while it grows, so that a kill at any instant loses no row and doubles none.

    answers.parquet.score.json      what is scored, by which model, with which options; and whether it is done
    answers.parquet.parts/          one file for each chunk of the input, complete or absent
    answers.parquet.tmp             the parts that were joined, behind those that are still made
    answers.parquet                 all of them

Everything is written under a temporary name, brought to the disk and renamed. A scoring that is started again does the
parts that are absent, and joins all of them anew. Knows neither models nor rows.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from model_store.disk import sync
from service.scoring.errors import AnotherScoring, CannotWrite

_PART = re.compile(r"part-([0-9]{6,})-([0-9]+)-([0-9]+)")
TEMPORARY = ".tmp"
FRESH = "--fresh starts anew and replaces it"
# So many parts wait to be joined at most: else they pile up, and one processor alone joins them in the end.
MOST_WAITING = 4

# The parts, from the first one on, whenever they are asked for.
Parts = Callable[[], Iterator[Path]]
Join = Callable[[Parts, IO[bytes]], None]


@dataclass(frozen=True)
class Part:
    """A finished part: its number, its rows, and how many of them have a problem instead of an answer."""

    path: Path
    number: int
    rows: int
    bad: int


@dataclass
class Whole:
    """The parts of an output in their order: one thread adds them, another one joins them.

    What changes, under `_changed`: `parts`, those that were added; `_taken`, how many of them were taken; `_ended`,
    whether they are all; `_over`, whether one of the two threads has given up, or both are done.
    """

    parts: list[Part] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _taken: int = 0
    _ended: bool = False
    _over: bool = False

    @property
    def rows(self) -> int:
        """The rows of all parts."""
        return sum(part.rows for part in self.parts)

    @property
    def bad(self) -> int:
        """How many of them have a problem instead of an answer."""
        return sum(part.bad for part in self.parts)

    def add(self, part: Part) -> None:
        """Add the next part; wait while too many were not taken."""
        with self._changed:
            self.parts.append(part)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._over or len(self.parts) - self._taken <= MOST_WAITING)

    def end(self) -> None:
        """Say that all parts were added."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def give_up(self) -> None:
        """Let neither thread wait for the other any more."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def paths(self) -> Iterator[Path]:
        """Go through the parts from the first one on, as they come; raise `CannotWrite` if it is over before."""
        for number in itertools.count():
            if not self._is_there(number):
                return
            yield self.parts[number].path

    def _is_there(self, number: int) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._over or self._ended or number < len(self.parts))
            if self._over:
                raise CannotWrite("not all parts were made")
            self._taken = max(self._taken, min(number + 1, len(self.parts)))
            self._changed.notify_all()
            return number < len(self.parts)


class Output:
    """A file that is written in parts, by one process at a time.

    The mutable state is on the disk; `write` may be called by several threads, each with another number.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = path.with_name(path.name + ".parts")
        self._state = path.with_name(path.name + ".score.json")

    @contextlib.contextmanager
    def opened(self, job: dict[str, Any], *, fresh: bool) -> Iterator[dict[str, Any]]:
        """Hold the output for this job; give what was noted when it was first started, `job` itself if it is new.

        What is there stays as it is until the output is `claimed`.

        Raises:
            AnotherScoring: what is there belongs to another job, or another process is at it.
            CannotWrite: the folder may not be written.
        """
        with _writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._alone():
            yield job if fresh else self._noted(job)

    @contextlib.contextmanager
    def claimed(self, job: dict[str, Any], *, fresh: bool) -> Iterator[None]:
        """Note that the output is this job's while its parts are written; take that back if the first one is not.

        Raises `CannotWrite`.
        """
        with _writing(self._state):
            before = self._state.read_bytes() if self._state.exists() else None
        self._claim(job, fresh=fresh)
        try:
            yield
        except BaseException:
            with contextlib.suppress(CannotWrite, AnotherScoring):
                self._take_back(before)
            raise

    def _claim(self, job: dict[str, Any], *, fresh: bool) -> None:
        # What is replaced need not be a note that can be read.
        if fresh or self._read_state() != {"job": job, "done": None}:
            self._forget()
            self._write_state({"job": job, "done": None})
        with _writing(self.folder):
            self.folder.mkdir(exist_ok=True)

    def _take_back(self, before: bytes | None) -> None:
        if 0 in self.parts() or self.done:
            return
        self._forget()
        # What was to be replaced is still there, and so is to be what is known of it.
        if before is not None and self.path.exists():
            with _writing(self._state):
                _write_and_rename(self._state, lambda file: _write(before, file))

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        # Beside the output and not in the folder of parts, which is removed at the end.
        path = self.path.with_name(f".{self.path.name}.lock")
        with contextlib.ExitStack() as stack:
            with _writing(path):
                lock = stack.enter_context(path.open("w"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Whoever held it before may have removed it meanwhile: then it keeps nobody out.
                mine = path.exists() and os.path.samestat(path.stat(), os.fstat(lock.fileno()))
            except BlockingIOError:
                mine = False
            if not mine:
                raise AnotherScoring(f"{self.path}: another process is writing it just now")
            stack.callback(path.unlink, missing_ok=True)
            yield

    def _noted(self, job: dict[str, Any]) -> dict[str, Any]:
        state = self._read_state()
        if state is None:
            if self.path.exists():
                raise AnotherScoring(f"{self.path}: is there, and was not made by a scoring; {FRESH}")
            return job
        # Whatever was noted: of nothing, nothing can be lost.
        if not self.path.exists() and not self.parts():
            return job
        self._check_same(state["job"], job)
        if not state.get("done") or self.done:
            found: dict[str, Any] = state["job"]
            return found
        if self.path.exists():
            raise AnotherScoring(f"{self.path}: was changed since it was scored; {FRESH}")
        return job

    def _check_same(self, noted: dict[str, Any], job: dict[str, Any]) -> None:
        for name, meaning in (("input", "another input"), ("model", "another model"), ("options", "other options")):
            if noted.get(name) != job[name]:
                raise AnotherScoring(
                    f"{self.path}: was begun with {meaning} ({_difference(noted.get(name), job[name])}); {FRESH}"
                )

    @property
    def done(self) -> dict[str, Any] | None:
        """What was noted at the end; None if it is not done, or the file was taken away or changed since."""
        done = (self._read_state() or {}).get("done")
        if not done or not self.path.exists() or self.path.stat().st_size != done["bytes"]:
            return None
        found: dict[str, Any] = done
        return found

    def parts(self) -> dict[int, Part]:
        """List the finished parts by their numbers."""
        entries = self.folder.iterdir() if self.folder.is_dir() else ()
        found = ((path, _PART.match(path.name)) for path in entries if path.suffix != TEMPORARY)
        parts = [Part(path, *map(int, match.groups())) for path, match in found if match]
        return {part.number: part for part in sorted(parts, key=lambda part: part.number)}

    def write(self, number: int, rows: int, bad: int, write: Callable[[IO[bytes]], None]) -> Part:
        """Write one part: it is there whole, or not at all. Raises `CannotWrite`."""
        path = self.folder / f"part-{number:06}-{rows}-{bad}{self.path.suffix}"
        with _writing(path):
            _write_and_rename(path, write)
        return Part(path, number, rows, bad)

    @contextlib.contextmanager
    def joined(self, join: Join) -> Iterator[Whole]:
        """Join parts in a thread of its own while others are made; when all are, note that it is done, and remove them.

        Raises `CannotWrite`.
        """
        whole = Whole()
        with ThreadPoolExecutor(1, thread_name_prefix="join") as executor:
            try:
                joined = executor.submit(_write_and_rename, self.path, lambda file: join(whole.paths, file))
                # What fails there is said when all parts are made: it is not in vain.
                joined.add_done_callback(lambda _: whole.give_up())
                yield whole
                whole.end()
                with _writing(self.path):
                    joined.result()
            except BaseException:
                whole.give_up()
                raise
        self._finish(whole)

    def _finish(self, whole: Whole) -> None:
        with _writing(self.path):
            sync(self.path.parent)
            done = {"rows": whole.rows, "bad": whole.bad, "bytes": self.path.stat().st_size}
            self._write_state((self._read_state() or {}) | {"done": done})
            self.tidy()

    def tidy(self) -> None:
        """Remove the parts of an output that is done."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _forget(self) -> None:
        with _writing(self.path):
            # The note goes first: parts without one belong to nobody.
            self._state.unlink(missing_ok=True)
            shutil.rmtree(self.folder, ignore_errors=True)
            # The file itself stays until another one takes its place, and is told from it by the missing note.

    def _read_state(self) -> dict[str, Any] | None:
        try:
            state: dict[str, Any] = json.loads(self._state.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise AnotherScoring(f"{self._state}: cannot be read: {error}; {FRESH}") from None
        if not _is_note(state):
            raise AnotherScoring(f"{self._state}: is not the note of a scoring; {FRESH}")
        return state

    def _write_state(self, state: dict[str, Any]) -> None:
        with _writing(self._state):
            text = json.dumps(state, indent=2).encode() + b"\n"
            _write_and_rename(self._state, lambda file: _write(text, file))
            sync(self._state.parent)


def _is_note(state: Any) -> bool:
    if not isinstance(state, dict) or not isinstance(state.get("job"), dict):
        return False
    done = state.get("done")
    return done is None or (isinstance(done, dict) and {"rows", "bad", "bytes"} <= done.keys())


def _difference(noted: Any, now: Any) -> str:
    if not isinstance(noted, dict) or not isinstance(now, dict):
        return f"{noted}, now {now}"
    changed = [name for name in now if noted.get(name) != now[name]]
    return "; ".join(f"{name}: {noted.get(name)!s:.60}, now {now[name]!s:.60}" for name in changed)


def _write_and_rename(path: Path, write: Callable[[IO[bytes]], None]) -> None:
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _write(text: bytes, file: IO[bytes]) -> None:
    file.write(text)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Say in one line why something cannot be written."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        advice = "; make room, and the same command goes on from here" if full else ""
        raise CannotWrite(f"{path}: cannot be written: {error.strerror or error}{advice}") from None

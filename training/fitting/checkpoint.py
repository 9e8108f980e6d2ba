"""How far a fit has come, on disk: a job that was killed goes on where it stood.

A checkpoint is one file, <store>/.checkpoints/<digest of the job>.npz, replaced whole after every epoch. Readers of
a store pass over hidden folders. A lock file beside it lets one process at a time have the job; the system takes
the lock from a process that dies. What nobody has gone on with for `ABANDONED_DAYS` is removed when a job starts.
Knows neither Keras nor ONNX: weights are arrays here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from training.datasets.dataset import Array

FOLDER = ".checkpoints"
FORMAT = 1
SUFFIXES = (".npz", ".new", ".lock")
ABANDONED_DAYS = 30
SECONDS_A_DAY = 24 * 60 * 60
_STATE = "state"


@dataclass
class FitState:
    """Where a fit stands: changed after every epoch by the callbacks, and by `fit` between stages.

    `epoch` counts the epochs of this stage that are done; `best`, `waited` and `is_over` are early stopping's,
    `plateau` and `lowered` those of the schedule of that name; `best_weights` were those of the best epoch of all
    stages; `before` lists how many epochs were done when each further stage began.
    """

    stage: int = 0
    epoch: int = 0
    history: dict[str, list[float]] = field(default_factory=dict)
    seconds: float = 0.0
    best: float | None = None
    waited: int = 0
    is_over: bool = False
    plateau: int = 0
    lowered: int = 0
    before: list[int] = field(default_factory=list)
    best_weights: list[Array] = field(default_factory=list)

    def begin_stage(self, stage: int) -> None:
        """Forget what belongs to the stage before, but for the best that was reached: a stage may spoil it."""
        fresh = FitState(
            stage=stage,
            history=self.history,
            seconds=self.seconds,
            best=self.best,
            best_weights=self.best_weights,
            before=[*self.before, self.epochs],
        )
        self.__dict__.update(fresh.__dict__)

    def add(self, figures: Mapping[str, float]) -> None:
        """Note the figures of an epoch that is done."""
        self.epoch += 1
        for name, value in figures.items():
            self.history.setdefault(name, []).append(float(value))

    def facts(self) -> dict[str, Any]:
        """Give all but the weights, as plain JSON."""
        facts = dataclasses.asdict(dataclasses.replace(self, best_weights=[]))
        del facts["best_weights"]
        return facts

    @property
    def epochs(self) -> int:
        """How many epochs are done, over all stages."""
        return len(self.history.get("loss", ()))


@dataclass(frozen=True)
class Saved:
    """What a checkpoint holds: the state, and the model's and the optimizer's variables."""

    state: FitState
    model: list[Array]
    optimizer: list[Array]


@dataclass
class Checkpoint:
    """One job's checkpoint, claimed by this process until it is discarded or released."""

    path: Path
    _lock: int
    epochs: int = 0

    def __str__(self) -> str:
        return str(self.path)

    @classmethod
    def claim(cls, folder: Path, job: str) -> Checkpoint | None:
        """Take a job's checkpoint for this process; None if another process has it."""
        while True:
            folder.mkdir(parents=True, exist_ok=True)
            lock_path = folder / f"{job}.lock"
            try:
                lock = os.open(lock_path, os.O_CREAT | os.O_RDWR, 0o666)
            except FileNotFoundError:
                continue  # a job that ended removed the folder just now
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                return None
            if _is_at(lock, lock_path):
                return cls(folder / f"{job}.npz", lock)
            os.close(lock)  # a job that ended removed the file just now

    def load(self) -> Saved | None:
        """Read what was saved; None if there is nothing, or nothing whole."""
        try:
            with self.path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                state = json.loads(str(arrays[_STATE]))
                parts = {part: _in_order(arrays, part) for part in ("model", "optimizer", "best")}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        self.epochs = len(state["history"].get("loss", ()))
        return Saved(FitState(**state, best_weights=parts["best"]), parts["model"], parts["optimizer"])

    def save(self, state: FitState, model: Sequence[Array], optimizer: Sequence[Array]) -> None:
        """Replace what was saved; raises `OSError`, and then the one before is still there."""
        arrays = {_STATE: np.array(json.dumps(state.facts()))}
        for part, values in (("model", model), ("optimizer", optimizer), ("best", state.best_weights)):
            arrays |= {f"{part}/{index}": value for index, value in enumerate(values)}
        staging = self.path.with_suffix(".new")
        try:
            with staging.open("wb") as file:
                np.savez(file, allow_pickle=False, **arrays)
            staging.replace(self.path)
        except OSError:
            staging.unlink(missing_ok=True)
            raise
        self.epochs = state.epochs

    def discard(self) -> None:
        """Remove what was saved, and let go of the job."""
        self.forget()
        self.release()

    def release(self) -> None:
        """Let go of the job; what was saved stays."""
        # The lock's file goes while the lock is held: who opened it meanwhile sees that it is gone.
        self.path.with_suffix(".lock").unlink(missing_ok=True)
        os.close(self._lock)
        with contextlib.suppress(OSError):  # something was saved there
            self.path.parent.rmdir()

    def forget(self) -> None:
        """Remove what was saved, but keep the job."""
        self.path.unlink(missing_ok=True)
        self.path.with_suffix(".new").unlink(missing_ok=True)


def remove_abandoned(folder: Path) -> int:
    """Remove what jobs left there whose files are old and which nobody runs; return how many jobs those were."""
    jobs = {path.stem for path in folder.glob("*") if path.suffix in SUFFIXES}
    return sum(_remove_if_abandoned(folder, job) for job in jobs)


def _remove_if_abandoned(folder: Path, job: str) -> bool:
    if not all(_is_old(folder / f"{job}{suffix}") for suffix in SUFFIXES):
        return False
    try:
        claimed = Checkpoint.claim(folder, job)
    except OSError:  # another user's
        return False
    if claimed is None:  # it runs
        return False
    # Another process may have gone on with it just now, and been broken off.
    abandoned = _is_old(claimed.path)
    if abandoned:
        claimed.forget()
    claimed.release()
    return abandoned


def _is_old(path: Path) -> bool:
    """Tell whether a file is there no more, or was not written for long."""
    try:
        return time.time() - path.stat().st_mtime > ABANDONED_DAYS * SECONDS_A_DAY
    except FileNotFoundError:
        return True


def job_digest(facts: Mapping[str, Any]) -> str:
    """Name a job by all that its weights depend on."""
    text = json.dumps({"format": FORMAT, **facts}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _is_at(descriptor: int, path: Path) -> bool:
    """Tell whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _in_order(arrays: Any, part: str) -> list[Array]:
    count = sum(name.startswith(f"{part}/") for name in arrays.files)
    return [arrays[f"{part}/{index}"] for index in range(count)]

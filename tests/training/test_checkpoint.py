"""Checkpoints as files: saved whole, held by one process at a time, gone when they are no longer needed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from model_store import Store
from training.fitting.checkpoint import Checkpoint, FitState, job_digest, remove_abandoned
from training.fitting.safety import digest, guarded
from training.job import prepare

WEIGHTS = [np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros((), np.int64)]


def state() -> FitState:
    return FitState(
        stage=1, epoch=2, history={"loss": [3.0, 0.1 + 0.2]}, best=0.5, waited=1, best_weights=[np.ones(2, np.float32)]
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store" / ".checkpoints"


@pytest.fixture
def checkpoint(folder: Path) -> Checkpoint:
    claimed = Checkpoint.claim(folder, "job")
    assert claimed is not None
    return claimed


def test_what_is_saved_is_loaded_to_the_last_bit(checkpoint: Checkpoint) -> None:
    checkpoint.save(state(), WEIGHTS, [])

    saved = checkpoint.load()

    assert saved is not None
    assert (saved.state.stage, saved.state.epoch, saved.state.history) == (1, 2, {"loss": [3.0, 0.1 + 0.2]})
    assert (saved.state.best, saved.state.waited, saved.state.is_over) == (0.5, 1, False)
    assert [array.tobytes() for array in saved.model] == [array.tobytes() for array in WEIGHTS]
    assert [array.shape for array in saved.model] == [(2, 3), ()]
    assert [array.tolist() for array in saved.state.best_weights] == [[1.0, 1.0]]
    assert saved.optimizer == []
    assert checkpoint.epochs == 2


@pytest.mark.parametrize(
    "spoil", [slice(None, 1000), slice(0), slice(None, None, -1)], ids=["cut off", "empty", "other bytes"]
)
def test_a_spoilt_checkpoint_counts_as_none(checkpoint: Checkpoint, spoil: slice) -> None:
    checkpoint.save(state(), WEIGHTS, [])
    checkpoint.path.write_bytes(checkpoint.path.read_bytes()[spoil])

    assert checkpoint.load() is None


def test_nothing_saved_is_nothing_loaded(checkpoint: Checkpoint) -> None:
    assert checkpoint.load() is None


def test_one_process_at_a_time_has_a_job(checkpoint: Checkpoint, folder: Path) -> None:
    assert Checkpoint.claim(folder, "job") is None
    other = Checkpoint.claim(folder, "other job")
    assert other is not None

    checkpoint.release()

    again = Checkpoint.claim(folder, "job")
    assert again is not None
    again.discard()
    other.discard()
    assert not folder.exists()


def leave(folder: Path, job: str, *, days: float) -> None:
    """Let a job be killed so many days ago: lock, checkpoint, and one that was not written to its end."""
    folder.mkdir(parents=True, exist_ok=True)
    then = time.time() - days * 24 * 60 * 60
    for suffix in (".npz", ".new", ".lock"):
        (folder / f"{job}{suffix}").write_bytes(b"left")
        os.utime(folder / f"{job}{suffix}", (then, then))


def test_what_nobody_went_on_with_for_long_is_removed(folder: Path) -> None:
    leave(folder, "abandoned", days=31)
    leave(folder, "recent", days=29)
    (folder / "killed-at-once.lock").touch()
    os.utime(folder / "killed-at-once.lock", (0, 0))
    leave(folder, "another", days=31)
    os.utime(folder / "another.npz")

    assert remove_abandoned(folder) == 2

    assert {path.stem for path in folder.iterdir()} == {"recent", "another"}
    assert remove_abandoned(folder) == 0
    assert len(list(folder.iterdir())) == 6


def test_what_a_job_that_runs_has_saved_is_kept_however_old_it_is(checkpoint: Checkpoint, folder: Path) -> None:
    checkpoint.save(state(), WEIGHTS, [])
    for path in folder.iterdir():
        os.utime(path, (0, 0))

    assert remove_abandoned(folder) == 0

    assert checkpoint.load() is not None
    assert Checkpoint.claim(folder, "job") is None


def test_a_job_that_starts_clears_away_what_others_left(tmp_path: Path) -> None:
    job = prepare("scratch", "iris", store=tmp_path / "store", name=None, parameters={})
    leave(job.store.root / ".checkpoints", "abandoned", days=31)
    lines: list[str] = []

    with guarded(job, fresh=False, say=lines.append):
        assert [path.stem for path in (job.store.root / ".checkpoints").iterdir()] == [digest(job)]

    assert lines == ["cleaned   checkpoints that nobody went on with for 30 days: 1"]
    assert not (job.store.root / ".checkpoints").exists()


def test_a_folder_that_is_not_there_has_nothing_to_remove(folder: Path) -> None:
    assert remove_abandoned(folder) == 0
    assert not folder.exists()


def test_releasing_keeps_what_was_saved_and_discarding_removes_it(checkpoint: Checkpoint, folder: Path) -> None:
    checkpoint.save(state(), WEIGHTS, [])
    checkpoint.release()
    assert [path.name for path in folder.iterdir()] == ["job.npz"]

    again = Checkpoint.claim(folder, "job")
    assert again is not None
    again.discard()

    assert not folder.exists()


def test_readers_of_a_store_see_no_checkpoint(checkpoint: Checkpoint, folder: Path) -> None:
    checkpoint.save(state(), WEIGHTS, [])

    assert Store(folder.parent).models() == []
    assert list(Store(folder.parent).all_versions()) == []


def test_a_save_that_fails_leaves_the_one_before(checkpoint: Checkpoint, folder: Path) -> None:
    checkpoint.save(state(), WEIGHTS, [])
    (folder / "job.new").mkdir()  # nothing can be written there

    with pytest.raises(OSError, match="directory"):
        checkpoint.save(FitState(), [], [])

    (folder / "job.new").rmdir()
    saved = checkpoint.load()
    assert saved is not None
    assert saved.state.epoch == 2


def test_a_job_is_named_by_all_of_its_facts() -> None:
    names = {job_digest({"recipe": "dnn", "epochs": epochs}) for epochs in (1, 2, 1)}

    assert len(names) == 2
    assert job_digest({"a": 1, "b": 2}) == job_digest({"b": 2, "a": 1})

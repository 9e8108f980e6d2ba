"""What keeps a job safe: its checkpoint, and a cause in one line for whatever ends it. Knows no Keras."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from training.errors import ExportRefused, FitDiverged, Interrupted, OutOfMemory
from training.fitting.checkpoint import ABANDONED_DAYS, FOLDER, Checkpoint, job_digest, remove_abandoned
from training.job import Job


@contextmanager
def guarded(job: Job, *, fresh: bool, say: Callable[[str], None]) -> Iterator[Checkpoint | None]:
    """Hold a job's checkpoint while it runs: removed when the job is done, kept when it is broken off.

    It is None where an equal job runs already, which then keeps the only one. What would fail again in the same way
    removes it, too.

    Raises:
        Interrupted: Ctrl-C; says how to go on.
        OutOfMemory: for what Python and TensorFlow raise then.
    """
    checkpoint = claim(job, fresh=fresh, say=say)
    try:
        yield checkpoint
    except (FitDiverged, ExportRefused):
        _discard(checkpoint)
        raise
    except BaseException as error:
        if checkpoint:
            checkpoint.release()
        raise _cause(error, job, checkpoint) from None
    _discard(checkpoint)


def claim(job: Job, *, fresh: bool, say: Callable[[str], None]) -> Checkpoint | None:
    """Take the job's checkpoint, emptied for a job that shall start anew, and clear away those of others."""
    folder = job.store.root / FOLDER
    checkpoint = Checkpoint.claim(folder, digest(job))
    if checkpoint is None:
        say("parallel  an equal job is running: this one keeps no checkpoint")
    elif fresh:
        checkpoint.forget()
    if removed := remove_abandoned(folder):
        say(f"cleaned   checkpoints that nobody went on with for {ABANDONED_DAYS} days: {removed}")
    return checkpoint


def digest(job: Job) -> str:
    """Name the job by all that its fit depends on, and by the model's name."""
    return job_digest(
        {
            "model": job.name,
            "recipe": job.recipe.name,
            "parameters": job.parameters.as_json(),
            "fit": job.fit.as_json(),
            "file": dict(job.file),
            "dataset": [job.dataset.name, job.dataset.sha256, job.dataset.sizes],
        }
    )


def _discard(checkpoint: Checkpoint | None) -> None:
    if checkpoint:
        checkpoint.discard()


def _cause(error: BaseException, job: Job, checkpoint: Checkpoint | None) -> BaseException:
    if isinstance(error, KeyboardInterrupt):
        epochs = checkpoint.epochs if checkpoint else 0
        return Interrupted(
            f"interrupted; the same command {f'goes on after epoch {epochs}' if epochs else 'starts anew'}"
        )
    # TensorFlow's error is known by its name, since this must not import TensorFlow.
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return OutOfMemory(job.fit.batch_size)
    return error

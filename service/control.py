"""Loading and unloading on request (control mode `explicit`), in every worker or in none.

With several workers a run directory carries the agreement (`service/run_dir.py`).
A call writes a new revision and waits, a bounded time, for the answer of every live worker; if one fails, the
revision before is restored everywhere. With one worker there is nothing to agree on.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from model_store import StoreError
from model_store.serving import Selection, VersionPolicy
from service import run_dir as files
from service.errors import ControlRefused, ServiceError
from service.repository import Repository, State, VersionStatus
from service.telemetry.logs import LOGGER

LOOK_SECONDS = 0.05
AGREE_SECONDS = 120.0
# The first worker may have to download what the others then find; the start as a whole has the bound of the settings.
START_SECONDS = 600.0


@dataclass(frozen=True)
class Desired:
    """What all workers shall serve: model → versions and labels."""

    revision: int = 0
    models: Mapping[str, Selection] = field(default_factory=dict)

    @classmethod
    def read(cls, run_dir: Path) -> Desired | None:
        """Read what the workers have agreed on; None before the first time."""
        stored = files.read_desired(run_dir)
        if stored is None:
            return None
        models = {
            name: Selection(tuple(selected["versions"]), selected["labels"], selected["policy"])
            for name, selected in stored["models"].items()
        }
        return cls(stored["revision"], models)

    def write(self, run_dir: Path) -> None:
        """Tell all workers."""
        files.write_desired(run_dir, asdict(self))

    def with_model(self, name: str, wanted: Selection) -> Desired:
        """Ask for versions of a model."""
        return Desired(self.revision + 1, {**self.models, name: wanted})

    def without_model(self, name: str) -> Desired:
        """Ask for a model to go."""
        return Desired(self.revision + 1, {known: wanted for known, wanted in self.models.items() if known != name})

    def restored(self, after: Desired) -> Desired:
        """Ask for this state again, after another one failed."""
        return Desired(after.revision + 1, self.models)


class Control:
    """Carries out load and unload calls in one process, or in all that share a run directory.

    What changes: `_revision`, the last one that this process has carried out, `_errors` of doing so, and `_told`,
    what the other workers know of it; on the event loop only.
    """

    def __init__(
        self, repository: Repository, *, explicit: bool, run_dir: Path | None = None, worker: int | None = None
    ) -> None:
        self._repository = repository
        self._explicit = explicit
        self._run_dir = run_dir
        self._worker = worker or os.getpid()
        self._revision = 0
        self._errors: dict[str, str] = {}
        self._told: tuple[int, list[VersionStatus]] | None = None
        self._follower: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load the models: what the control mode says, or what other workers agreed on before this one came."""
        if self._run_dir is None:
            await self._repository.start()
            return
        # One worker after the other: what the first one loads, the others load too, whatever is published meanwhile.
        with await self._turn(self._run_dir, START_SECONDS):
            await self._start_as_agreed(self._run_dir)
        self._follower = asyncio.create_task(self._follow(self._run_dir))

    async def _start_as_agreed(self, run_dir: Path) -> None:
        agreed = Desired.read(run_dir)
        await self._repository.start(names=None if agreed is None else ())
        if self._explicit and agreed is None:
            Desired(1, self._repository.served()).write(run_dir)
        await self._look(run_dir)
        # Only now do others wait for this worker: it cannot answer as long as it waits for its turn itself.
        files.worker_came(run_dir, self._worker)

    async def stop(self) -> None:
        """Stop following."""
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.gather(self._follower, return_exceptions=True)

    async def load(self, name: str, policy: VersionPolicy | None = None) -> None:
        """Serve those versions of a model that the store's serving.json or this policy names, in every worker.

        Raises:
            UnknownModel: the store has no such model.
            ControlRefused: a worker could not; then none has it, or all have what they had.
        """
        try:
            wanted = await self._repository.selection(name, policy)
        except StoreError as error:
            raise ControlRefused(str(error)) from None
        if self._run_dir is None:
            await self._repository.load(name, wanted)
        else:
            await self._agree(self._run_dir, lambda desired: desired.with_model(name, wanted))

    async def unload(self, name: str) -> None:
        """Unload a model, in every worker; one that is not loaded stays so. Raises as `load`."""
        if name not in self._repository.names():
            await self._repository.check_in_store(name)
        if self._run_dir is None:
            self._repository.unload(name)
        else:
            await self._agree(self._run_dir, lambda desired: desired.without_model(name))

    def index(self) -> list[VersionStatus]:
        """List what serves or was to: each version in the least ready state of any live worker, and the reason."""
        own = self._repository.index()
        if self._run_dir is None:
            return own
        others = [VersionStatus(**entry) for answer in files.answers(self._run_dir) for entry in answer["index"]]
        return merged([*own, *others])

    def whole_index(self) -> list[VersionStatus]:
        """List every version in the store, also those that nobody asked for. Reads the disk."""
        listed = self.index()
        known = {(status.name, status.version) for status in listed}
        others = [status for status in self._repository.others() if (status.name, status.version) not in known]
        return sorted([*listed, *others], key=lambda status: (status.name, status.version))

    async def _agree(self, run_dir: Path, change: Callable[[Desired], Desired]) -> None:
        with await self._turn(run_dir):
            before = Desired.read(run_dir) or Desired()
            wanted = change(before)
            wanted.write(run_dir)
            errors = await self._wait_for_all(run_dir, wanted.revision)
            if errors:
                restored = before.restored(wanted)
                restored.write(run_dir)
                await self._wait_for_all(run_dir, restored.revision)
                raise ControlRefused("; ".join(errors))

    async def _turn(self, run_dir: Path, seconds: float = AGREE_SECONDS) -> contextlib.AbstractContextManager[None]:
        try:
            return await asyncio.to_thread(files.lock, run_dir, timeout=seconds)
        except TimeoutError:
            raise ControlRefused("another worker's start, load or unload is taking too long") from None

    async def _wait_for_all(self, run_dir: Path, revision: int) -> list[str]:
        """Wait until every live worker has answered this revision; return what went wrong, and where."""
        deadline = time.monotonic() + AGREE_SECONDS
        while True:
            answered = {answer["pid"]: answer for answer in files.answers(run_dir) if answer["revision"] >= revision}
            missing = files.live(run_dir) - answered.keys()
            if not missing:
                break
            if time.monotonic() > deadline:
                return [f"worker {pid}: no answer within {AGREE_SECONDS:g} s" for pid in sorted(missing)]
            await asyncio.sleep(LOOK_SECONDS)
        return [f"worker {pid}: {reason}" for pid, answer in answered.items() for reason in answer["errors"].values()]

    async def _follow(self, run_dir: Path) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self._look(run_dir)
            except Exception:  # one look that fails must not end the following
                LOGGER.exception("following the other workers failed; what is loaded serves on")

    async def _look(self, run_dir: Path) -> None:
        """Carry out a new revision, and tell what is served here if that has changed."""
        desired = Desired.read(run_dir)
        if desired is not None and desired.revision > self._revision:
            await self._carry_out(desired)
        index = self._repository.index()
        if (self._revision, index) != self._told:
            self._told = (self._revision, index)
            self._tell(run_dir, index)

    async def _carry_out(self, desired: Desired) -> None:
        errors = {}
        for name in self._repository.served().keys() - desired.models.keys():
            self._repository.unload(name)
        for name, selected in desired.models.items():
            try:
                await self._repository.load(name, selected)
            except (ServiceError, StoreError) as error:
                errors[name] = str(error)
        self._revision, self._errors = desired.revision, errors

    def _tell(self, run_dir: Path, index: list[VersionStatus]) -> None:
        answer = {
            "revision": self._revision,
            "errors": self._errors,
            "index": [asdict(status) for status in index],
        }
        files.write_answer(run_dir, self._worker, answer)


_READINESS: tuple[State, ...] = ("UNAVAILABLE", "LOADING", "UNLOADING", "READY")


def merged(statuses: list[VersionStatus]) -> list[VersionStatus]:
    """Keep of each version the least ready status."""
    least: dict[tuple[str, int], VersionStatus] = {}
    for status in statuses:
        key = (status.name, status.version)
        if key not in least or _READINESS.index(status.state) < _READINESS.index(least[key].state):
            least[key] = status
    return [least[key] for key in sorted(least)]

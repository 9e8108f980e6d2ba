"""Runs waiting requests together on one event loop, without locks.

One batcher belongs to one model version and to one loop, and is touched only from that loop. What changes is
`_queue` (the waiting tickets), its sums of rows and bytes, and `_running` (the batches in threads, at most so many as
there are instances). Requests that arrive in one turn of the loop become one batch; while as many run as may, the next
gathers.
"""

from __future__ import annotations

import asyncio
import bisect
import dataclasses
import functools
import itertools
import math
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from service.errors import DeadlineExceeded, InferenceFailed, QueueFull, ServiceError
from service.scheduler import policy
from service.scheduler.forecast import Forecast
from service.tensors import Array, Arrays, bytes_of, pieces, rows_of

Outputs = dict[str, Array]
Run = Callable[[Arrays], Outputs]

# How often deadlines are looked at while a batch runs in a thread.
SWEEP_SECONDS = 0.05

# A batch that takes no longer runs in the loop itself: handing it to a thread and back costs a third of that.
INLINE_SECONDS = 200e-6


class Observer(Protocol):
    """Is told what happens; called on the hot path, so it must be quick."""

    def waiting(self, rows: int) -> None:
        """Show that so many rows wait now."""

    def batch(
        self,
        *,
        rows: int,
        queue_seconds: Sequence[float],
        input_seconds: float,
        infer_seconds: float,
        output_seconds: float,
    ) -> None:
        """Record a batch that ran: its rows, how long each request of it had waited, and its times.

        The times are those of joining the requests' rows, of running the model, and of cutting its outputs.
        """


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one batcher may hold and run at once, and within how many seconds it should answer."""

    max_batch_size: int
    max_queue_rows: int
    max_queue_bytes: int
    objective_seconds: float = math.inf


@dataclass(slots=True, eq=False)
class _Ticket:
    inputs: Arrays
    rows: int
    size: int
    key: Hashable
    arrival: float
    deadline: float
    rank: int
    answer: asyncio.Future[Outputs]

    @property
    def abandoned(self) -> bool:
        return self.answer.done()


@dataclass(frozen=True, slots=True, eq=False)
class _Running:
    """A batch in a thread, and since when."""

    batch: Sequence[_Ticket]
    rows: int
    since: float


class Batcher:
    """Batches the requests for one model.

    Args:
        run: computes a batch; may be called from a thread of `executor`.
        limits: what may wait and run at once; `max_batch_size` means nothing if not `batched`.
        instances: how many batches may run at once, each in a thread of `executor`.
        batched: whether rows of several requests may share a run; if not, each request runs alone and uncut.
        predict_seconds: the run time that was measured for so many rows; a batch that is expected to be short
            (`inline_seconds`) runs in the loop itself, others in the executor.
        observer: is told of batches and of the queue.
    """

    def __init__(
        self,
        run: Run,
        *,
        limits: Limits,
        executor: Executor,
        observer: Observer,
        instances: int = 1,
        batched: bool = True,
        predict_seconds: Callable[[int], float] = lambda _: math.inf,
        inline_seconds: float = INLINE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run = run
        self.limits = limits if batched else dataclasses.replace(limits, max_batch_size=1)
        self._executor = executor
        self._observer = observer
        self._instances = instances
        self._batched = batched
        self._forecast = Forecast(predict_seconds)
        self._inline_seconds = inline_seconds
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._queue: deque[_Ticket] = deque()
        self._waiting_rows = 0
        self._waiting_bytes = 0
        self._running: list[_Running] = []
        self._awake = False
        self._sweeper: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Batcher: {self._waiting_rows} rows wait, {len(self._running)} batches run>"

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing runs."""
        return not self._queue and not self._running

    async def submit(self, inputs: Arrays, *, timeout: float, priority: int = 0) -> Outputs:
        """Compute the outputs of one request, together with others' rows; see `ask`."""
        return await self.ask(inputs, timeout=timeout, priority=priority)

    def ask(self, inputs: Arrays, *, timeout: float, priority: int = 0) -> asyncio.Future[Outputs]:
        """Let one request wait for its turn; return the future of its outputs. Cancelling that abandons the request.

        Args:
            inputs: arrays whose first dimension is the batch (if the model is batched), all of equal length.
            timeout: seconds from now after which the request is not run any more.
            priority: 1 goes before 2, and so on; 0, the default, comes after all of them.

        Raises:
            QueueFull: too much waits already, or it would wait too long. At once; the others come through the future.
            DeadlineExceeded: it waited too long; it was not run, or its result came too late.
            ServiceError: what `run` raised for this request.
        """
        rows, key = _rows_and_key(inputs) if self._batched else (1, object())
        size = bytes_of(inputs)
        now, rank = self._clock(), priority or policy.LAST
        if self._waiting_rows:
            self._check_room(rows, size, rank, now)
        deadline = now + timeout
        # Kept, since asking for it asks the kernel for the process's number up to Python 3.11.
        loop = self._loop = self._loop or asyncio.get_running_loop()
        if rows <= self.limits.max_batch_size:
            answer = loop.create_future()
            self._enqueue(_Ticket(inputs, rows, size, key, now, deadline, rank, answer), loop)
            return answer
        answers = []
        for cut in pieces(rows, self.limits.max_batch_size):
            piece = {name: array[cut] for name, array in inputs.items()}
            answers.append(loop.create_future())
            count = cut.stop - cut.start
            self._enqueue(_Ticket(piece, count, bytes_of(piece), key, now, deadline, rank, answers[-1]), loop)
        whole = loop.create_task(_together(answers))
        # Not in the task itself: one that is cancelled before its first step runs nothing.
        whole.add_done_callback(lambda _: _cancel(answers))
        return whole

    def check_room(self) -> None:
        """Raise `QueueFull` if not even one row without a priority would be let in now: its body need not be read."""
        if self._waiting_rows:
            self._check_room(1, 0, policy.LAST, self._clock())

    def _check_room(self, rows: int, size: int, rank: int, now: float) -> None:
        limits = self.limits
        if not policy.has_room(
            rows=rows,
            size=size,
            waiting_rows=self._waiting_rows,
            waiting_bytes=self._waiting_bytes,
            max_rows=limits.max_queue_rows,
            max_bytes=limits.max_queue_bytes,
        ):
            raise QueueFull(
                f"{self._waiting_rows} rows ({self._waiting_bytes} bytes) wait already; "
                f"the limits are {limits.max_queue_rows} rows and {limits.max_queue_bytes} bytes",
                retry_after=_whole_seconds(self._seconds_to_clear(self._waiting_rows, now)),
            )
        if limits.objective_seconds < math.inf:
            self._check_objective(rows, rank, now)

    def _check_objective(self, rows: int, rank: int, now: float) -> None:
        ahead = (
            self._waiting_rows
            if rank == policy.LAST
            else sum([ticket.rows for ticket in self._queue if ticket.rank <= rank])
        )
        # It will wait about as long as the first in the queue has, if that is more than was measured to be needed.
        waited = now - self._queue[0].arrival + self._forecast.measured(min(rows, self.limits.max_batch_size))
        expected, objective = max(waited, self._seconds_to_clear(ahead + rows, now)), self.limits.objective_seconds
        if ahead and objective < expected < math.inf:
            raise QueueFull(
                f"the answer is to be expected after {expected:.3g} seconds, later than the objective of {objective:g}",
                retry_after=_whole_seconds(expected - objective),
            )

    def _seconds_to_clear(self, rows: int, now: float) -> float:
        """Expect how long it takes until a batch may begin, and then so many rows."""
        until_free = 0.0
        if self._is_full:
            until_free = min([self._forecast.left_of_batch(one.rows, since=now - one.since) for one in self._running])
        queue = self._forecast.of_queue(rows, max_batch_size=self.limits.max_batch_size)
        return until_free + queue / min(self._instances, max(1, math.ceil(rows / self.limits.max_batch_size)))

    @property
    def _is_full(self) -> bool:
        return len(self._running) >= self._instances

    def _enqueue(self, ticket: _Ticket, loop: asyncio.AbstractEventLoop) -> None:
        queue = self._queue
        if queue and queue[-1].rank > ticket.rank:
            # The queue stands in the order in which it is to run.
            queue.insert(bisect.bisect_right(queue, ticket.rank, key=lambda waiting: waiting.rank), ticket)
        else:
            queue.append(ticket)
        self._waiting_rows += ticket.rows
        self._waiting_bytes += ticket.size
        # One call for all requests that arrive in this turn of the loop: they become one batch.
        if not self._awake and not self._is_full:
            self._wake(loop)

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        self._awake = True
        loop.call_soon(self._start_next_batch)

    def _start_next_batch(self) -> None:
        self._awake = False
        while self._queue and not self._is_full:
            batch = self._take_batch()
            self._observer.waiting(self._waiting_rows)
            if not batch:
                return
            rows = sum([ticket.rows for ticket in batch])
            if self._forecast.measured(rows) > self._inline_seconds:
                self._run_in_thread(_Running(batch, rows, self._clock()))
            else:
                _give_answers(self._run_batch(batch))
                # The loop serves its other work before the next batch.
                if self._queue:
                    self._wake(asyncio.get_running_loop())
                return

    def _take_batch(self) -> list[_Ticket]:
        """Take the next batch off the queue; answer what is too late and forget what was abandoned."""
        queue = self._queue
        plan = policy.plan(queue, now=self._clock(), max_batch_size=self.limits.max_batch_size)
        taken = plan.taken
        looked_at = [queue.popleft() for _ in range(max(taken, default=-1) + 1)]
        if len(taken) < len(looked_at):
            left = sorted(set(range(len(looked_at))).difference(taken), reverse=True)
            queue.extendleft(looked_at[position] for position in left)
        self._waiting_rows -= sum([looked_at[position].rows for position in taken])
        self._waiting_bytes -= sum([looked_at[position].size for position in taken])
        for position in plan.expired:
            _answer_late(looked_at[position])
        return [looked_at[position] for position in plan.run]

    def _run_in_thread(self, run: _Running) -> None:
        loop = asyncio.get_running_loop()
        self._running.append(run)
        if self._sweeper is None:
            self._sweeper = loop.call_later(SWEEP_SECONDS, self._sweep)
        done = loop.run_in_executor(self._executor, self._run_batch, run.batch)
        done.add_done_callback(functools.partial(self._finish, run))

    def _finish(self, run: _Running, done: asyncio.Future[list[tuple[_Ticket, Outputs | Exception]]]) -> None:
        self._running.remove(run)
        if self._sweeper is not None and not self._running:
            self._sweeper.cancel()
            self._sweeper = None
        failure = None if done.cancelled() else done.exception()
        if done.cancelled() or failure is not None:
            error = InferenceFailed(f"the batch could not be run: {failure or 'the service is stopping'}")
            _give_answers([(ticket, error) for ticket in run.batch])
        else:
            _give_answers(done.result())
        # At once, not in the loop's next turn: the model would stand idle meanwhile.
        self._start_next_batch()

    def _sweep(self) -> None:
        """Answer what is too late while a long batch runs, running or waiting; look again as long as it runs."""
        now = self._clock()
        for ticket in itertools.chain(*[run.batch for run in self._running], self._queue):
            if ticket.deadline <= now:
                _answer_late(ticket)
        self._forget_abandoned()
        self._sweeper = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)

    def _forget_abandoned(self) -> None:
        """Give the room of what nobody waits for any more to others, before a batch comes by."""
        kept = [ticket for ticket in self._queue if not ticket.abandoned]
        if len(kept) < len(self._queue):
            self._queue = deque(kept)
            self._waiting_rows = sum([ticket.rows for ticket in kept])
            self._waiting_bytes = sum([ticket.size for ticket in kept])

    def _run_batch(self, batch: Sequence[_Ticket]) -> list[tuple[_Ticket, Outputs | Exception]]:
        """Run tickets as one batch; if it fails, halve it until each bad request fails alone."""
        started = self._clock()
        try:
            inputs = _joined([ticket.inputs for ticket in batch])
            joined = self._clock()
            outputs = self._run(inputs)
            ran = self._clock()
            rows = [ticket.rows for ticket in batch]
            results = self._cut(outputs, rows)
        except Exception as error:  # whatever `run` raises belongs to a request, never to the loop
            if len(batch) == 1:
                return [(batch[0], error if isinstance(error, ServiceError) else InferenceFailed(str(error)))]
            half = len(batch) // 2
            return self._run_batch(batch[:half]) + self._run_batch(batch[half:])
        self._observer.batch(
            rows=sum(rows),
            queue_seconds=[started - ticket.arrival for ticket in batch],
            input_seconds=joined - started,
            infer_seconds=ran - joined,
            output_seconds=self._clock() - ran,
        )
        return list(zip(batch, results, strict=True))

    def _cut(self, outputs: Outputs, rows: Sequence[int]) -> list[Outputs]:
        """Give each request its rows of the outputs; raise `InferenceFailed` unless there are as many as went in."""
        if not self._batched:
            return [outputs]
        expected = sum(rows)
        for name, array in outputs.items():
            if not array.ndim or array.shape[0] != expected:
                raise InferenceFailed(f"output {name!r} has shape {list(array.shape)} for a batch of {expected} rows")
        return _cut(outputs, rows)


def _whole_seconds(seconds: float) -> int:
    """Round up for Retry-After; 1 where nothing is known."""
    return max(1, math.ceil(seconds)) if math.isfinite(seconds) else 1


def _rows_and_key(inputs: Arrays) -> tuple[int, Hashable]:
    """Count a request's rows, and tell what requests must have in common to run together: their shapes otherwise."""
    if len(inputs) == 1:
        (array,) = inputs.values()
        shape = array.shape
        return shape[0], shape[1:]
    return rows_of(inputs), tuple([(name, array.shape[1:]) for name, array in inputs.items()])


async def _together(answers: Sequence[asyncio.Future[Outputs]]) -> Outputs:
    """Join the answers to the pieces of one request."""
    parts = await asyncio.gather(*answers)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _cancel(answers: Iterable[asyncio.Future[Outputs]]) -> None:
    for answer in answers:
        answer.cancel()


def _give_answers(answers: Iterable[tuple[_Ticket, Outputs | Exception]]) -> None:
    for ticket, result in answers:
        if ticket.answer.done():
            continue
        if isinstance(result, Exception):
            ticket.answer.set_exception(result)
        else:
            ticket.answer.set_result(result)


def _answer_late(ticket: _Ticket) -> None:
    if not ticket.answer.done():
        waited = ticket.deadline - ticket.arrival
        ticket.answer.set_exception(DeadlineExceeded(f"the request was not answered within {waited:.3g} seconds"))


def _joined(parts: Sequence[Arrays]) -> Arrays:
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _cut(outputs: Outputs, rows: Sequence[int]) -> list[Outputs]:
    if len(rows) == 1:
        return [outputs]
    answers = []
    start = 0
    for count in rows:
        stop = start + count
        answers.append({name: array[start:stop] for name, array in outputs.items()})
        start = stop
    return answers

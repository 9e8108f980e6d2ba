"""The batcher on a real event loop, with a small function as the model."""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import DeadlineExceeded, InferenceFailed, InputRejected, QueueFull
from service.scheduler.batcher import Batcher, Limits
from service.tensors import Arrays


class Recorder:
    """An observer that keeps what it was told."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def waiting(self, rows: int) -> None:
        self.rows = rows

    def batch(self, *, rows: int, queue_seconds: Sequence[float], **times: float) -> None:
        assert set(times) == {"input_seconds", "infer_seconds", "output_seconds"}
        assert all(seconds >= 0 for seconds in (*queue_seconds, *times.values()))
        self.batches.append(rows)


def double(inputs: Arrays) -> dict[str, Any]:
    return {"y": inputs["x"] * 2}


def refuse_negative(inputs: Arrays) -> dict[str, Any]:
    if (inputs["x"] < 0).any():
        raise InputRejected("negative")
    return double(inputs)


def held_back() -> tuple[Callable[[Arrays], dict[str, Any]], threading.Event, list[float]]:
    """A model that doubles when it is let go on, the event that lets it, and the values that it has seen."""
    go_on, seen = threading.Event(), []

    def run(inputs: Arrays) -> dict[str, Any]:
        seen.extend(inputs["x"].ravel().tolist())
        assert go_on.wait(5)
        return double(inputs)

    return run, go_on, seen


def rows(*values: float, width: int = 1) -> dict[str, Any]:
    return {"x": np.repeat(np.array(values, np.float32)[:, None], width, axis=1)}


def with_batcher(
    work: Callable[[Batcher], Any],
    run: Callable[[Arrays], dict[str, Any]] = double,
    *,
    max_batch_size: int = 8,
    max_queue_rows: int = 1000,
    max_queue_bytes: int = 2**30,
    objective_seconds: float = math.inf,
    observer: Recorder | None = None,
    **options: Any,
) -> Any:
    """Run a coroutine function with a batcher on a loop of its own."""

    async def main() -> Any:
        limits = Limits(
            max_batch_size=max_batch_size,
            max_queue_rows=max_queue_rows,
            max_queue_bytes=max_queue_bytes,
            objective_seconds=objective_seconds,
        )
        with ThreadPoolExecutor(options.get("instances", 1)) as executor:
            return await work(
                Batcher(run, limits=limits, executor=executor, observer=observer or Recorder(), **options)
            )

    return asyncio.run(main(), debug=False)


IN_LOOP = {"predict_seconds": lambda _: 0.0}
IN_THREAD = {"predict_seconds": lambda _: 1.0}
IN_THREADS = {"instances": 3, **IN_THREAD}
both_ways = pytest.mark.parametrize("way", [IN_LOOP, IN_THREAD], ids=["in-the-loop", "in-a-thread"])
all_ways = pytest.mark.parametrize(
    "way", [IN_LOOP, IN_THREAD, IN_THREADS], ids=["in-the-loop", "in-a-thread", "in-three-threads"]
)


@both_ways
def test_requests_of_one_turn_run_as_one_batch_and_each_gets_its_rows(way: dict[str, Any]) -> None:
    recorder = Recorder()

    async def work(batcher: Batcher) -> Any:
        return await asyncio.gather(*(batcher.submit(rows(n, n + 0.5), timeout=5) for n in range(4)))

    answers = with_batcher(work, observer=recorder, **way)

    assert [answer["y"].ravel().tolist() for answer in answers] == [[2 * n, 2 * n + 1] for n in range(4)]
    assert recorder.batches == [8]


@both_ways
def test_a_large_request_is_cut_and_joined_in_order(way: dict[str, Any]) -> None:
    recorder = Recorder()

    answer = with_batcher(
        lambda batcher: batcher.submit(rows(*range(21)), timeout=5), observer=recorder, max_batch_size=8, **way
    )

    assert answer["y"].ravel().tolist() == [2 * n for n in range(21)]
    assert recorder.batches == [8, 8, 5]


def test_while_a_batch_runs_in_a_thread_the_next_gathers() -> None:
    recorder, running, go_on = Recorder(), threading.Event(), threading.Event()

    def run(inputs: Arrays) -> dict[str, Any]:
        running.set()
        assert go_on.wait(5)
        return double(inputs)

    async def work(batcher: Batcher) -> None:
        first = asyncio.create_task(batcher.submit(rows(1), timeout=5))
        await asyncio.to_thread(running.wait, 5)
        others = [asyncio.create_task(batcher.submit(rows(n), timeout=5)) for n in range(5)]
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.gather(first, *others)

    with_batcher(work, run, observer=recorder, **IN_THREAD)

    assert recorder.batches == [1, 5]


def test_as_many_batches_run_at_once_as_there_are_instances() -> None:
    """Three batches meet at a barrier, which no fewer pass; a fourth would break it."""
    barrier, lock, running, most = threading.Barrier(3), threading.Lock(), [0], [0]

    def run(inputs: Arrays) -> dict[str, Any]:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        barrier.wait(5)
        with lock:
            running[0] -= 1
        return double(inputs)

    async def work(batcher: Batcher) -> Any:
        return await asyncio.gather(*(batcher.submit(rows(n), timeout=5) for n in range(9)))

    answers = with_batcher(work, run, max_batch_size=1, **IN_THREADS)

    assert [answer["y"].item() for answer in answers] == [2 * n for n in range(9)]
    assert most == [3]


@both_ways
def test_a_bad_request_fails_alone(way: dict[str, Any]) -> None:
    async def work(batcher: Batcher) -> Any:
        values = [1, 2, -3, 4, 5, -6, 7]
        return await asyncio.gather(*(batcher.submit(rows(n), timeout=5) for n in values), return_exceptions=True)

    answers = with_batcher(work, refuse_negative, **way)

    kinds = ["bad" if isinstance(answer, InputRejected) else answer["y"].item() for answer in answers]
    assert kinds == [2, 4, "bad", 8, 10, "bad", 14]


@both_ways
def test_an_error_that_the_model_was_not_meant_to_raise_becomes_ours(way: dict[str, Any]) -> None:
    def run(_: Arrays) -> dict[str, Any]:
        raise ZeroDivisionError("inside")

    with pytest.raises(InferenceFailed, match="inside"):
        with_batcher(lambda batcher: batcher.submit(rows(1), timeout=5), run, **way)


@both_ways
def test_a_model_that_returns_other_than_a_row_for_a_row_is_found_out(way: dict[str, Any]) -> None:
    with pytest.raises(InferenceFailed, match=r"output 'y' has shape \[1, 1\] for a batch of 2 rows"):
        with_batcher(
            lambda batcher: batcher.submit(rows(1, 2), timeout=5), lambda inputs: {"y": inputs["x"][:1]}, **way
        )


def test_rows_of_different_shapes_never_meet() -> None:
    recorder = Recorder()

    async def work(batcher: Batcher) -> Any:
        return await asyncio.gather(*(batcher.submit(rows(n, width=1 + n % 2), timeout=5) for n in range(6)))

    answers = with_batcher(work, observer=recorder, **IN_LOOP)

    assert [answer["y"].shape for answer in answers] == [(1, 1), (1, 2)] * 3
    assert recorder.batches == [3, 3]


def test_a_model_without_a_batch_axis_runs_requests_alone_and_uncut() -> None:
    recorder = Recorder()

    async def work(batcher: Batcher) -> Any:
        inputs = {"x": np.arange(50, dtype=np.float32)}
        return await asyncio.gather(*(batcher.submit(inputs, timeout=5) for _ in range(3)))

    answers = with_batcher(work, lambda inputs: {"y": inputs["x"].sum()}, batched=False, observer=recorder, **IN_LOOP)

    assert [answer["y"] for answer in answers] == [1225] * 3
    assert recorder.batches == [1, 1, 1]


@pytest.mark.parametrize("bound", [{"max_queue_rows": 4}, {"max_queue_bytes": 16}], ids=["rows", "bytes"])
def test_a_full_queue_refuses_with_a_time_to_come_back(bound: dict[str, int]) -> None:
    run, go_on, _ = held_back()

    async def work(batcher: Batcher) -> Any:
        running = asyncio.create_task(batcher.submit(rows(0), timeout=5))
        await asyncio.sleep(0.01)
        waiting = [asyncio.create_task(batcher.submit(rows(n), timeout=5)) for n in range(4)]
        await asyncio.sleep(0)
        with pytest.raises(QueueFull) as refused:
            await batcher.submit(rows(9), timeout=5)
        if "max_queue_rows" in bound:
            with pytest.raises(QueueFull):
                batcher.check_room()
        go_on.set()
        return refused.value, await asyncio.gather(running, *waiting)

    error, answers = with_batcher(work, run, **bound, **IN_THREAD)

    assert error.retry_after >= 1
    assert len(answers) == 5


def test_what_waits_too_long_is_answered_while_the_model_still_runs_and_is_never_run() -> None:
    run, go_on, seen = held_back()

    async def work(batcher: Batcher) -> Any:
        running = asyncio.create_task(batcher.submit(rows(1), timeout=5))
        await asyncio.sleep(0.01)
        with pytest.raises(DeadlineExceeded, match=r"not answered within 0\.1 seconds"):
            await batcher.submit(rows(2), timeout=0.1)
        go_on.set()
        await running
        return await batcher.submit(rows(3), timeout=5)

    with_batcher(work, run, **IN_THREAD)

    assert seen == [1, 3]


def test_requests_with_a_priority_go_first_and_those_without_last_each_in_their_order() -> None:
    run, go_on, seen = held_back()

    async def work(batcher: Batcher) -> None:
        running = asyncio.create_task(batcher.submit(rows(0), timeout=5))
        await asyncio.sleep(0.01)
        priorities = [0, 2, 1, 0, 2, 1]
        waiting = [
            asyncio.create_task(batcher.submit(rows(number), timeout=5, priority=priority))
            for number, priority in enumerate(priorities, 1)
        ]
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.gather(running, *waiting)

    with_batcher(work, run, max_batch_size=1, **IN_THREAD)

    assert seen == [0, 3, 6, 2, 5, 1, 4]


def test_a_run_that_takes_too_long_does_not_hold_its_request_for_ever() -> None:
    run, go_on, _ = held_back()

    async def work(batcher: Batcher) -> None:
        with pytest.raises(DeadlineExceeded):
            await batcher.submit(rows(1), timeout=0.1)
        go_on.set()

    with_batcher(work, run, **IN_THREAD)


def test_a_request_whose_client_left_is_not_run() -> None:
    run, go_on, seen = held_back()

    async def work(batcher: Batcher) -> None:
        running = asyncio.create_task(batcher.submit(rows(1), timeout=5))
        await asyncio.sleep(0.01)
        leaving = asyncio.create_task(batcher.submit(rows(2), timeout=5))
        await asyncio.sleep(0.01)
        leaving.cancel()
        go_on.set()
        await running
        assert batcher.idle or (await batcher.submit(rows(3), timeout=5))

    with_batcher(work, run, **IN_THREAD)

    assert 2 not in seen


@pytest.mark.parametrize("count", [1, 20], ids=["small", "cut-in-pieces"])
def test_a_request_whose_future_is_cancelled_is_not_run(count: int) -> None:
    run, go_on, seen = held_back()

    async def work(batcher: Batcher) -> None:
        running = batcher.ask(rows(0), timeout=5)
        await asyncio.sleep(0.01)
        leaving = batcher.ask(rows(*range(100, 100 + count)), timeout=5)
        leaving.cancel()
        go_on.set()
        await running
        await batcher.submit(rows(1), timeout=5)

    with_batcher(work, run, **IN_THREAD)

    assert seen == [0, 1]


def test_the_room_of_those_who_left_is_free_before_the_model_is() -> None:
    run, go_on, seen = held_back()

    async def work(batcher: Batcher) -> None:
        running = batcher.ask(rows(0), timeout=50)
        await asyncio.sleep(0.01)
        gone = [batcher.ask(rows(n), timeout=50) for n in (1, 2)]
        with pytest.raises(QueueFull):
            batcher.ask(rows(3), timeout=50)
        for answer in gone:
            answer.cancel()
        async with asyncio.timeout(5):
            while "0 rows wait" not in repr(batcher):
                await asyncio.sleep(0.01)
        stays = batcher.ask(rows(4), timeout=50)
        go_on.set()
        await asyncio.gather(running, stays)

    with_batcher(work, run, max_queue_rows=2, **IN_THREAD)

    assert seen == [0, 4]


@pytest.mark.parametrize(
    ("priority", "accepted"), [pytest.param(0, 2, id="no-priority"), pytest.param(1, 4, id="first-of-all")]
)
def test_what_would_be_answered_later_than_the_objective_is_refused_at_once(priority: int, accepted: int) -> None:
    """A batch of one row runs for one second; the clock stands still."""
    run, go_on, _ = held_back()

    async def work(batcher: Batcher) -> Any:
        answers = [batcher.ask(rows(0), timeout=50)]
        await asyncio.sleep(0.01)
        answers += [batcher.ask(rows(n), timeout=50, priority=0) for n in (1, 2)]
        with pytest.raises(QueueFull, match=r"after 4 seconds, later than the objective of 3$") as refused:
            batcher.ask(rows(3), timeout=50)
        for n in range(4, 7):
            with contextlib.suppress(QueueFull):
                answers.append(batcher.ask(rows(n), timeout=50, priority=priority))
        go_on.set()
        await asyncio.gather(*answers)
        return len(answers) - 1, refused.value.retry_after

    assert with_batcher(work, run, max_batch_size=1, objective_seconds=3.0, clock=lambda: 0.0, **IN_THREAD) == (
        accepted,
        1,
    )


def test_where_requests_wait_longer_than_was_measured_the_next_are_refused() -> None:
    """Nothing is measured to take long, but the first in the queue has waited for longer than the objective."""
    run, go_on, _ = held_back()
    now = [0.0]

    async def work(batcher: Batcher) -> None:
        answers = [batcher.ask(rows(0), timeout=50)]
        await asyncio.sleep(0.01)
        answers += [batcher.ask(rows(n), timeout=50) for n in range(3)]
        now[0] = 5.0
        with pytest.raises(QueueFull, match=r"after 5 seconds, later than the objective of 3$"):
            batcher.ask(rows(3), timeout=50)
        go_on.set()
        await asyncio.gather(*answers)
        await batcher.submit(rows(4), timeout=50)

    options = {"predict_seconds": lambda _: 0.001, "inline_seconds": 0.0}
    with_batcher(work, run, objective_seconds=3.0, clock=lambda: now[0], **options)


def test_a_request_that_finds_nobody_waiting_is_never_refused() -> None:
    async def work(batcher: Batcher) -> Any:
        batcher.check_room()
        return await batcher.submit(rows(*range(20)), timeout=5)

    assert len(with_batcher(work, objective_seconds=0.001, **IN_THREAD)["y"]) == 20


def test_the_time_to_come_back_is_that_of_what_runs_and_of_what_waits() -> None:
    """Three seconds for a batch of eight: one runs, and two wait."""
    run, go_on, _ = held_back()

    async def work(batcher: Batcher) -> Any:
        answers = [batcher.ask(rows(*range(8)), timeout=50)]
        await asyncio.sleep(0.01)
        answers += [batcher.ask(rows(*range(8)), timeout=50) for _ in range(2)]
        with pytest.raises(QueueFull) as refused:
            batcher.ask(rows(0), timeout=50)
        go_on.set()
        await asyncio.gather(*answers)
        return refused.value.retry_after

    measured = {"predict_seconds": lambda count: 3.0 if count == 8 else 1.0}
    assert with_batcher(work, run, max_queue_rows=16, clock=lambda: 0.0, **measured) == 9


requests = st.lists(
    st.tuples(st.integers(1, 12), st.integers(1, 3), st.booleans(), st.integers(0, 3)), min_size=1, max_size=40
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 12), st.integers(1, 3)), max_size=30), st.integers(1, 20), st.integers(1, 200))
def test_no_more_waits_than_may_whatever_comes(asked: list[Any], max_rows: int, max_bytes: int) -> None:
    """What is let in fits into the bounds, or found the queue empty; what fits is let in; all that is, is answered."""

    async def work(batcher: Batcher) -> None:
        waiting: list[Any] = []
        answers = []
        for count, width in asked:
            inputs = rows(*range(count), width=width)
            fits = not waiting or (
                sum(map(len, waiting)) + count <= max_rows
                and sum(array.nbytes for array in (*waiting, inputs["x"])) <= max_bytes
            )
            try:
                answers.append(batcher.ask(inputs, timeout=50))
            except QueueFull:
                assert not fits
            else:
                assert fits
                waiting.append(inputs["x"])
        for values, answer in zip(waiting, await asyncio.gather(*answers), strict=True):
            assert np.array_equal(answer["y"], values * 2)

    with_batcher(work, max_queue_rows=max_rows, max_queue_bytes=max_bytes, **IN_LOOP)


@all_ways
@settings(max_examples=60, deadline=None)
@given(requests, st.integers(1, 10))
def test_rows_never_mix_whatever_comes(way: dict[str, Any], asked: list[Any], max_batch_size: int) -> None:
    """Requests of random sizes and shapes, some bad, arriving over several turns of the loop: each gets its own."""

    async def ask(batcher: Batcher, number: int, count: int, width: int, bad: bool, turns: int) -> Any:
        for _ in range(turns):
            await asyncio.sleep(0)
        values = number * 100 + np.arange(count)
        return await batcher.submit(rows(*(-values - 1 if bad else values), width=width), timeout=30)

    async def work(batcher: Batcher) -> Any:
        return await asyncio.gather(
            *(ask(batcher, number, *request) for number, request in enumerate(asked)), return_exceptions=True
        )

    answers = with_batcher(work, refuse_negative, max_batch_size=max_batch_size, **way)

    for number, ((count, width, bad, _), answer) in enumerate(zip(asked, answers, strict=True)):
        if bad:
            assert isinstance(answer, InputRejected)
        else:
            expected = np.repeat((number * 100 + np.arange(count))[:, None] * 2, width, axis=1)
            assert np.array_equal(answer["y"], expected)

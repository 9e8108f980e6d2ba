"""The batching policy, a pure function: no loop, no clock, no sleep."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from service.scheduler.policy import Plan, has_room, plan
from service.tensors import pieces


@dataclass
class Request:
    rows: int = 1
    deadline: float = 100.0
    key: str = "same"
    abandoned: bool = False


def test_all_that_wait_run_together() -> None:
    assert plan([Request(), Request(), Request(2)], now=0, max_batch_size=8) == Plan(run=(0, 1, 2))


def test_an_empty_queue_runs_nothing() -> None:
    assert plan([], now=0, max_batch_size=8) == Plan(run=())


def test_a_batch_never_holds_more_rows_than_it_may() -> None:
    assert plan([Request(3), Request(3), Request(2)], now=0, max_batch_size=5) == Plan(run=(0, 2))


def test_the_oldest_runs_even_if_it_is_larger_than_a_batch() -> None:
    assert plan([Request(9), Request(1)], now=0, max_batch_size=5) == Plan(run=(0,))


def test_only_rows_of_one_shape_run_together() -> None:
    queue = [Request(key="a"), Request(key="b"), Request(key="a")]

    assert plan(queue, now=0, max_batch_size=8) == Plan(run=(0, 2))


def test_what_is_too_late_is_answered_and_never_run() -> None:
    queue = [Request(deadline=1), Request(deadline=9), Request(deadline=5)]

    assert plan(queue, now=5, max_batch_size=8) == Plan(run=(1,), expired=(0, 2))


def test_what_nobody_waits_for_is_forgotten() -> None:
    queue = [Request(abandoned=True), Request()]

    assert plan(queue, now=0, max_batch_size=8) == Plan(run=(1,), abandoned=(0,))


queues = st.lists(
    st.builds(
        Request,
        rows=st.integers(1, 20),
        deadline=st.floats(0, 10),
        key=st.sampled_from("ab"),
        abandoned=st.booleans(),
    ),
    max_size=30,
)


@given(queues, st.floats(0, 10), st.integers(1, 32))
def test_whatever_waits(queue: list[Request], now: float, max_batch_size: int) -> None:
    chosen = plan(queue, now=now, max_batch_size=max_batch_size)

    alive = [i for i, request in enumerate(queue) if not request.abandoned and request.deadline > now]
    assert all(queue[i].abandoned for i in chosen.abandoned)
    assert all(queue[i].deadline <= now for i in chosen.expired)
    assert set(chosen.run) <= set(alive)
    # Work-conserving, and the oldest first: something runs whenever something can.
    assert chosen.run[:1] == tuple(alive[:1])
    assert len({queue[i].key for i in chosen.run}) <= 1
    assert len(chosen.run) <= 1 or sum(queue[i].rows for i in chosen.run) <= max_batch_size
    assert list(chosen.run) == sorted(set(chosen.run))


@given(queues, st.integers(1, 32))
def test_nothing_waits_for_ever(queue: list[Request], max_batch_size: int) -> None:
    waiting = list(queue)
    for _ in range(len(queue)):
        chosen = plan(waiting, now=5, max_batch_size=max_batch_size)
        taken = {*chosen.run, *chosen.expired, *chosen.abandoned}
        waiting = [request for i, request in enumerate(waiting) if i not in taken]

    assert waiting == []


@given(st.integers(1, 1000), st.integers(1, 100))
def test_pieces_cover_every_row_once_and_none_is_too_large(rows: int, max_batch_size: int) -> None:
    cut = pieces(rows, max_batch_size)

    assert [row for piece in cut for row in range(rows)[piece]] == list(range(rows))
    assert all(0 < piece.stop - piece.start <= max_batch_size for piece in cut)


def test_a_queue_is_bounded_in_rows_and_in_bytes_but_takes_anything_when_empty() -> None:
    def room(**changes: int) -> bool:
        asked = {"rows": 1, "size": 10, "waiting_rows": 5, "waiting_bytes": 50, "max_rows": 10, "max_bytes": 100}
        return has_room(**(asked | changes))

    assert room()
    assert room(rows=5, size=50)
    assert not room(rows=6)
    assert not room(size=51)
    assert room(rows=10**6, size=10**9, waiting_rows=0, waiting_bytes=0)

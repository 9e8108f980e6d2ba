"""Who may use the GPU: many that run, or one that captures."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from service.runtime.turns import Turns

LONG = 30


def test_several_run_at_once() -> None:
    turns, both = Turns(), threading.Barrier(2)

    def run() -> None:
        with turns.running():
            both.wait(LONG)

    with ThreadPoolExecutor(2) as threads:
        for done in [threads.submit(run) for _ in range(2)]:
            done.result(LONG)


def test_who_captures_is_alone() -> None:
    turns, running, capturing = Turns(), set(), set()
    seen: list[tuple[int, int]] = []

    def take(number: int) -> None:
        for _ in range(50):
            mine, turn = (capturing, turns.capturing()) if number % 3 == 0 else (running, turns.running())
            with turn:
                mine.add(number)
                seen.append((len(running), len(capturing)))
                mine.remove(number)

    with ThreadPoolExecutor(6) as threads:
        for done in [threads.submit(take, number) for number in range(6)]:
            done.result(LONG)

    assert len(seen) == 300
    assert all(captures == 0 or (captures, runs) == (1, 0) for runs, captures in seen)
    assert repr(turns) == "<Turns: 0 run, 0 capture or wait to>"


def test_a_turn_ends_where_its_work_fails() -> None:
    turns = Turns()

    for turn in (turns.running, turns.capturing):
        try:
            with turn():
                raise ZeroDivisionError
        except ZeroDivisionError:
            pass

    with turns.capturing():
        assert repr(turns) == "<Turns: 0 run, 1 capture or wait to>"

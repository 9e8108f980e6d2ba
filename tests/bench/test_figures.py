"""Rounds become medians, ratios become verdicts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.figures import GOALS, Figure, Goal, median_round, medians
from bench.report import goals

ONE = Figure("ovenbird", "784-128-10", "json", 8, 64, 100.0, 20.0, 0.001, 0.002, 1000, 30.0)


def test_rounds_of_a_case_become_their_median_and_errors_add_up() -> None:
    rounds = [ONE, replace(ONE, requests_per_second=300.0, errors=2), replace(ONE, requests_per_second=110.0, errors=1)]
    alone = Figure("onnxruntime alone", "784-128-10", "arrays", 100, 1, 7.0, 3.0)

    together = medians([rounds[0], alone, *rounds[1:]])

    assert together == [replace(ONE, requests_per_second=110.0, errors=3), alone]
    assert together[0].rows_per_second == 880


def test_the_round_with_the_median_processor_time_is_taken_whole() -> None:
    rounds = [
        replace(ONE, cpu_microseconds=cpu, rows_per_batch=rows) for cpu, rows in ((30, 1.0), (10, 2.0), (20, 3.0))
    ]

    assert median_round(rounds) == rounds[2]
    assert median_round(rounds[:2]) == rounds[0]


@pytest.mark.parametrize(
    ("goal", "value", "verdict"),
    [
        (Goal("speed", 10, 16), 9.9, "missed"),
        (Goal("speed", 10, 16), 10, "reached"),
        (Goal("speed", 10, 16), 16, "aim reached"),
        (Goal("cost", 2.2, 1.6), 2.3, "missed"),
        (Goal("cost", 2.2, 1.6), 2.2, "reached"),
        (Goal("cost", 2.2, 1.6), 1.5, "aim reached"),
    ],
)
def test_a_goal_is_reached_from_its_own_side(goal: Goal, value: float, verdict: str) -> None:
    assert goal.verdict(value) == verdict


def test_the_table_shows_the_median_and_the_span_of_what_was_measured() -> None:
    (line,) = goals({"floor": [1.5, 2.5, 2.0]})[2:]

    assert line == f"| {GOALS['floor'].what} | ≤ 2.2 | 1.6 | **2** | 1.5 to 2.5 | reached |"

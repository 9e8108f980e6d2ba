"""What the scheduler expects of run times: no clock."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.scheduler.forecast import Forecast


def seconds(rows: int) -> float:
    return 1.0 + rows / 10


def test_a_queue_takes_its_full_batches_and_the_rest() -> None:
    assert Forecast(seconds).of_queue(25, max_batch_size=10) == pytest.approx(2.0 + 2.0 + 1.5)
    assert Forecast(seconds).of_queue(20, max_batch_size=10) == pytest.approx(4.0)
    assert Forecast(seconds).of_queue(0, max_batch_size=10) == 0.0


def test_of_a_batch_is_left_what_has_not_passed_and_of_none_nothing() -> None:
    forecast = Forecast(seconds)

    assert forecast.left_of_batch(10, since=0.5) == pytest.approx(1.5)
    assert forecast.left_of_batch(10, since=9) == 0.0
    assert forecast.left_of_batch(0, since=0) == 0.0


def test_where_nothing_was_measured_nothing_is_expected() -> None:
    assert Forecast(lambda _: math.inf).of_queue(5, max_batch_size=10) == math.inf


@given(st.integers(0, 1000), st.integers(0, 1000), st.integers(1, 64))
def test_more_rows_never_take_less(rows: int, more: int, max_batch_size: int) -> None:
    forecast = Forecast(seconds)

    fewer = forecast.of_queue(rows, max_batch_size=max_batch_size)

    assert 0 <= fewer <= forecast.of_queue(rows + more, max_batch_size=max_batch_size) + 1e-9

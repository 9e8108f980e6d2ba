"""The reckoned queue against textbooks, and against the simulation of one model."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.capacity.queueing import waiting
from bench.simulation.policies import Greedy
from bench.simulation.simulate import poisson, simulate


@pytest.mark.parametrize("load", [0.1, 0.5, 0.9])
def test_one_request_at_a_time_waits_as_pollaczek_and_khinchine_say(load: float) -> None:
    seconds = 0.02

    found = waiting(load / seconds, lambda _: seconds, 1)

    assert found.mean == pytest.approx(seconds * (1 + load / (2 * (1 - load))), rel=1e-3)
    assert found.busy == pytest.approx(load, rel=1e-3)
    assert found.mean_batch == pytest.approx(1)


@pytest.mark.parametrize(
    ("rate", "largest", "row"),
    [
        pytest.param(1000, 64, 40e-6, id="nearly-alone"),
        pytest.param(15000, 64, 40e-6, id="batches-form"),
        pytest.param(1500, 8, 400e-6, id="small-batches"),
        pytest.param(1900, 8, 400e-6, id="near-saturation"),
    ],
)
def test_batches_and_latencies_are_those_of_the_simulation(rate: float, largest: int, row: float) -> None:
    def seconds(count: int) -> float:
        return 100e-6 + row * count

    found = waiting(rate, seconds, largest)

    seen = simulate(poisson(rate, 100_000, np.random.default_rng(1)), Greedy(largest), seconds)
    assert found.p50 == pytest.approx(seen.p50, rel=0.07)
    assert found.p99 == pytest.approx(seen.p99, rel=0.1)
    assert found.mean_batch == pytest.approx(seen.mean_batch, rel=0.05)


def test_more_than_can_be_answered_is_overload() -> None:
    found = waiting(101, lambda _: 0.01, 1)

    assert found.is_overloaded
    assert math.isinf(found.p99)


@settings(max_examples=25, deadline=None)
@given(
    load=st.floats(0.05, 0.85),
    batch=st.floats(0, 1e-2),
    row=st.floats(1e-5, 1e-2),
    largest=st.integers(1, 32),
)
def test_waiting_grows_with_the_load_and_is_never_shorter_than_a_run(
    load: float, batch: float, row: float, largest: int
) -> None:
    def seconds(count: int) -> float:
        return batch + row * count

    most = largest / seconds(largest)
    less, more = waiting(load * most, seconds, largest), waiting(1.1 * load * most, seconds, largest)

    assert seconds(1) * (1 - 1e-9) <= less.p50 <= less.p99
    # Quantiles are read off at a dozen moments of a batch.
    assert more.mean >= less.mean * (1 - 1e-2)
    assert 0 < less.busy <= more.busy * (1 + 1e-6) <= 1 + 1e-6
    assert 1 - 1e-9 <= less.mean_batch <= largest + 1e-9

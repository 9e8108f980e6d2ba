"""The simulated clock of the comparison of policies, on cases that one can reckon by hand."""

from __future__ import annotations

import numpy as np
import pytest

from bench.simulation.policies import AIMD, Delay, Greedy, Policy, Preferred
from bench.simulation.simulate import bursts, poisson, simulate


def batch_seconds(rows: int) -> float:
    return 1.0 + 0.1 * rows


@pytest.mark.parametrize(
    ("policy", "batches", "last_answer"),
    [
        # Four requests at 0 s, one at 0.5 s, one at 10 s.
        pytest.param(Greedy(8), 3, 11.1, id="greedy"),
        pytest.param(Greedy(2), 4, 11.1, id="greedy-of-two"),
        pytest.param(Delay(8, 0.6), 2, 11.7, id="delay"),
        pytest.param(Delay(4, 0.6), 3, 11.7, id="delay-ended-by-a-full-batch"),
        pytest.param(Preferred((2, 4), 0.6), 3, 11.7, id="preferred"),
        pytest.param(AIMD(objective=1.25, most=8), 4, 11.1, id="aimd"),
    ],
)
def test_each_policy_runs_what_it_says(policy: Policy, batches: int, last_answer: float) -> None:
    arrivals = np.array([0, 0, 0, 0, 0.5, 10])

    outcome = simulate(arrivals, policy, batch_seconds)

    assert len(arrivals) / outcome.mean_batch == pytest.approx(batches)
    assert len(arrivals) / outcome.per_second == pytest.approx(last_answer)


@pytest.mark.parametrize("draw", [poisson, bursts])
def test_as_many_arrive_as_were_asked_for(draw: object) -> None:
    times = draw(1000.0, 50_000, np.random.default_rng(0))  # type: ignore[operator]

    assert len(times) / times[-1] == pytest.approx(1000, rel=0.1)
    assert (np.diff(times) >= 0).all()

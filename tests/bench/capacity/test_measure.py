"""Costs of a real service, measured for a second each, and what is expected beside what is seen."""

from __future__ import annotations

import numpy as np
import pytest
from system_parts import require_program

from bench.capacity.compare import compare, least_disturbed, table
from bench.capacity.costs import Costs
from bench.capacity.measure import STARTERS, Plan, measure
from bench.capacity.records import Seen
from bench.capacity.surge import Surge

COSTS = Costs(request_seconds=60e-6, batch_seconds=180e-6, row_seconds=140e-6, largest_batch=8)


@pytest.mark.system
def test_a_model_is_measured_in_the_real_service() -> None:
    require_program("wrk")

    found = measure(["wine-dnn"], Plan(seconds=1, rounds=1, clients=(1, 16)))

    costs = Costs.read(found["models"]["wine-dnn"])
    assert costs.capacity() > 100
    assert costs.worker_bytes > 30e6
    assert len(found["models"]["wine-dnn"]["points"]) == 4
    beside = found["replica"]
    assert beside["models"] == len(list(STARTERS.iterdir()))
    assert beside["scrape_series"] > 10 * beside["models"]
    assert beside["seconds_to_ready"] > 0


def test_what_was_seen_stands_beside_what_was_expected() -> None:
    found = compare("wine-dnn", COSTS, [40.0], seconds=1.0, rounds=1, counts=(2,))

    (one,) = least_disturbed(found)
    assert (one.workers, one.failures) == (2, 0)
    assert one.stretch >= 1
    assert one.batch >= 1
    assert one.model_p50 == pytest.approx(COSTS.cycle(1), rel=0.01)
    assert one.stretched_p50 >= one.model_p50
    assert "| wine-dnn | 2 | 40 |" in table([one])


def test_a_surge_is_over_when_the_last_slow_window_is() -> None:
    arrived = np.arange(0.0, 100.0, 0.5)
    latencies = np.where((arrived >= 60) & (arrived < 70), 2.0, 0.01)

    surge = Surge.of(30.0, Seen(arrived + latencies, latencies, 0, 0, 200, 0.0, ((0.0, 1),)), since=60.0)

    assert surge.recovered == 10
    assert surge.late == pytest.approx(20 / 80)
    assert dict(surge.series)[65.0] == 2.0
    assert dict(surge.series)[70.0] == 0.01

"""The simulated fleet: what textbooks say, what can be reckoned by hand, and that no request is ever forgotten."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.capacity.balancers import BALANCERS, LeastConnections, RoundRobin
from bench.capacity.changes import Autoscaler, Outage, rolling_restart, steps
from bench.capacity.fleet import simulate
from bench.capacity.records import Fleet, Seen
from bench.simulation.policies import Greedy
from bench.simulation.simulate import bursts, poisson
from bench.simulation.simulate import simulate as simulate_one


def a_second(_: int) -> float:
    return 1.0


def test_requests_that_take_random_times_wait_as_in_an_m_m_1_queue() -> None:
    random = np.random.default_rng(2)
    fleet = Fleet(replicas=1, seconds=lambda _: random.exponential(1.0), largest=1)

    seen = simulate(fleet, RoundRobin(), poisson(0.5, 60_000, np.random.default_rng(1)))

    assert seen.latencies.mean() == pytest.approx(1 / (1 - 0.5), rel=0.03)
    assert seen.busy_seconds / seen.answered_at[-1] == pytest.approx(0.5, rel=0.03)


def test_two_servers_with_one_core_wait_as_in_an_m_d_1_queue() -> None:
    fleet = Fleet(replicas=2, seconds=a_second, largest=1, cores=1)

    seen = simulate(fleet, LeastConnections(), poisson(0.6, 60_000, np.random.default_rng(1)))

    assert seen.latencies.mean() == pytest.approx(1 + 0.6 / (2 * (1 - 0.6)), rel=0.03)


@pytest.mark.parametrize("draw", [poisson, bursts])
def test_one_replica_is_the_simulation_of_one_model(draw: object) -> None:
    def seconds(count: int) -> float:
        return 1e-4 + 4e-5 * count

    times = draw(8000.0, 20_000, np.random.default_rng(1))  # type: ignore[operator]

    seen = simulate(Fleet(replicas=1, seconds=seconds, largest=16), RoundRobin(), times)

    alone = simulate_one(times, Greedy(16), seconds)
    assert seen.mean_batch == pytest.approx(alone.mean_batch, rel=0.01)
    assert seen.quantile(0.99) == pytest.approx(alone.p99, rel=0.05)


def test_looking_at_the_replicas_beats_chance_and_turns_lie_between() -> None:
    times = poisson(8.0, 30_000, np.random.default_rng(1))
    fleet = Fleet(replicas=10, seconds=a_second, largest=1)

    p99 = {name: simulate(fleet, make(), times).quantile(0.99) for name, make in BALANCERS.items()}

    assert p99["least connections"] < p99["two choices"] < p99["random"]
    assert p99["round robin"] < p99["random"]


def test_a_crash_loses_what_was_held_and_what_is_sent_until_it_is_noticed() -> None:
    # Of one request a second, each a second long, every other one goes to the replica that dies at 10.5 s.
    fleet = Fleet(
        replicas=2, seconds=a_second, largest=1, notice=4.0, outages=[Outage(replica=0, start=10.5, seconds=60)]
    )

    seen = simulate(fleet, RoundRobin(), [float(second) for second in range(30)])

    # One at most is held, and 11 to 14 s send two there.
    assert seen.lost in (2, 3)
    assert len(seen.latencies) == 30 - seen.lost
    assert seen.replicas == ((0.0, 2), (14.5, 1), (70.5, 2))


def test_a_lost_request_that_is_sent_again_is_answered_by_another() -> None:
    fleet = Fleet(
        replicas=2,
        seconds=a_second,
        largest=1,
        notice=4.0,
        retries=1,
        outages=[Outage(replica=0, start=10.5, seconds=60)],
    )

    seen = simulate(fleet, RoundRobin(), [float(second) for second in range(30)])

    assert seen.lost == 0
    assert len(seen.latencies) == 30


def test_a_rolling_restart_loses_nothing_and_leaves_one_less_at_a_time() -> None:
    turns = rolling_restart(3, start=5, seconds=10)
    fleet = Fleet(replicas=3, seconds=a_second, largest=4, outages=turns)

    seen = simulate(fleet, LeastConnections(), poisson(1.0, 60, np.random.default_rng(1)))

    assert seen.lost == 0
    assert min(count for _, count in seen.replicas) == 2
    assert seen.replicas[-1] == (35.0, 3)


def test_what_finds_a_full_queue_is_refused() -> None:
    fleet = Fleet(replicas=1, seconds=a_second, largest=1, queue=2)

    seen = simulate(fleet, RoundRobin(), [0.0, 0.1, 0.2, 0.3, 0.4])

    assert (len(seen.latencies), seen.refused, seen.lost) == (3, 2, 0)


def test_an_autoscaler_follows_a_surge_late_and_lets_go_later() -> None:
    scaler = Autoscaler(target=0.6, period=15, start=30, least=2, patience=60)
    surge = steps([(60, 10), (120, 50), (240, 10)], np.random.default_rng(1))
    fleet = Fleet(replicas=2, seconds=lambda count: 0.05 * count, largest=4, autoscaler=scaler)

    seen = simulate(fleet, LeastConnections(), surge)

    grown = [moment for moment, count in seen.replicas if count > 2]
    # It looks at 75 s for the first time after the surge began, and what it adds takes 30 s.
    assert grown[0] == 105
    assert max(count for _, count in seen.replicas) >= 4
    assert seen.replicas[-1][1] == 2
    assert len(seen.latencies) == len(surge)


@settings(max_examples=60, deadline=None)
@given(
    arrivals=st.lists(st.floats(0, 20), max_size=60).map(sorted),
    replicas=st.integers(1, 4),
    largest=st.integers(1, 4),
    queue=st.integers(1, 8),
    cores=st.integers(0, 3),
    retries=st.integers(0, 2),
    balancer=st.sampled_from(sorted(BALANCERS)),
    outages=st.lists(
        st.builds(
            Outage,
            replica=st.integers(0, 3),
            start=st.floats(0, 20),
            seconds=st.floats(0, 10),
            drained=st.booleans(),
        ),
        max_size=4,
    ),
)
def test_every_arrival_is_answered_refused_or_lost(
    arrivals: list[float], replicas: int, largest: int, queue: int, cores: int, retries: int, balancer: str,
    outages: list[Outage],
) -> None:  # fmt: skip
    fleet = Fleet(
        replicas=replicas, seconds=lambda count: 0.5 + 0.1 * count, largest=largest, queue=queue, cores=cores,
        notice=1.0, retries=retries, outages=outages,
    )  # fmt: skip

    seen: Seen = simulate(fleet, BALANCERS[balancer](), arrivals)

    assert len(seen.latencies) + seen.refused + seen.lost == len(arrivals)
    assert (seen.latencies >= 0.6 - 1e-9).all()
    assert outages or not seen.lost
    assert seen.batches <= len(seen.latencies) <= largest * seen.batches

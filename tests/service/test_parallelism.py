"""How many threads a run takes and how many runs go on at once: the choice, and what is made of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import tiny_models
from hypothesis import given
from hypothesis import strategies as st
from service_process import RunningService, running

from model_store import Serving, Store
from service import live_model
from service.live_model import LiveModel
from service.runtime.parallelism import Parallelism, as_good_as_the_best, ways
from service.settings import Settings
from service.telemetry.metrics import Metrics

counts = st.integers(1, 300)


@given(counts)
def test_every_way_uses_the_processors_and_none_uses_more(processors: int) -> None:
    found = ways(processors)

    assert found[0] == Parallelism(processors, 1)
    assert found[-1] == Parallelism(1, processors)
    assert all(processors / 2 < way.threads * way.instances <= processors for way in found)
    assert [way.threads for way in found] == sorted({way.threads for way in found}, reverse=True)


@given(counts, counts, counts)
def test_what_is_given_is_kept(processors: int, threads: int, instances: int) -> None:
    assert ways(processors, threads=threads, instances=instances) == [Parallelism(threads, instances)]
    assert [way.threads for way in ways(processors, threads=threads)] == [threads]
    assert [way.instances for way in ways(processors, instances=instances)] == [instances]
    for (way,) in (ways(processors, threads=threads), ways(processors, instances=instances)):
        assert way.threads >= 1
        assert way.instances >= 1
        assert way.threads * way.instances <= max(processors, threads, instances)


@pytest.mark.parametrize(
    ("speeds", "chosen"),
    [([100.0], 0), ([60.0, 100.0], 1), ([95.0, 100.0], 0), ([100.0, 50.0], 0), ([10.0, 92.0, 100.0], 1)],
)
def test_among_the_fastest_the_one_whose_runs_take_most_threads_is_chosen(speeds: list[float], chosen: int) -> None:
    assert as_good_as_the_best(speeds) == chosen


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = tmp_path_factory.mktemp("parallelism") / "store"
    tiny_models.publish_affine(store)
    tiny_models.publish_affine(store, "slow", slow=20)
    return Store(store)


def load(store: Store, name: str, *, processors: int, serving: Serving | None = None) -> LiveModel:
    return live_model.load(
        store.resolve(name), Settings(), Metrics(), processors=processors, serving=serving or Serving()
    )


def test_a_short_run_takes_one_thread_and_the_loops(store: Store) -> None:
    assert load(store, "double", processors=8).parallelism == Parallelism(1, 1)


def test_a_long_run_is_given_all_processors_in_one_way_or_another(store: Store) -> None:
    assert load(store, "slow", processors=2).parallelism in (Parallelism(2, 1), Parallelism(1, 2))


def test_a_models_own_numbers_stand(store: Store) -> None:
    assert load(store, "slow", processors=2, serving=Serving(instances=3)).parallelism == Parallelism(1, 3)
    assert load(store, "slow", processors=4, serving=Serving(threads=2)).parallelism == Parallelism(2, 2)


@pytest.fixture(scope="module")
def service(store: Store) -> Iterator[RunningService]:
    with running(Path(store.root), control="none", instances=3) as service:
        yield service


def test_the_configuration_says_what_was_chosen(service: RunningService) -> None:
    told = httpx.get(f"{service.url}/v2/models/slow/config").json()

    assert told["instance_group"][0]["count"] == 3
    assert told["parameters"]["threads"]["string_value"] == "1"

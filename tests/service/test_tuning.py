"""What a model's own run times decide: how many rows run together, and what is refused for a latency objective."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import tiny_models
from service_process import RunningService, affine_body, running

from model_store import Serving, Store
from service import live_model
from service.live_model import LiveModel
from service.settings import Settings
from service.telemetry.metrics import Metrics


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = tmp_path_factory.mktemp("tuning") / "store"
    tiny_models.publish_affine(store)
    tiny_models.publish_affine(store, "slow", slow=20)
    tiny_models.publish_text(store)
    tiny_models.put(store, "one-row", tiny_models.negative([1, 3]))
    return Store(store)


def load(store: Store, name: str, serving: Serving | None = None, **settings: int) -> LiveModel:
    return live_model.load(
        store.resolve(name), Settings(**settings), Metrics(), processors=1, serving=serving or Serving()
    )


def test_as_many_rows_run_together_as_pay(store: Store) -> None:
    model = load(store, "double")

    assert model.batcher.limits.max_batch_size == model.cost.useful_rows() > 1


def test_the_settings_come_before_what_was_measured_and_the_models_own_before_them(store: Store) -> None:
    assert load(store, "double", max_batch_size=8).batcher.limits.max_batch_size == 8
    assert load(store, "double", Serving(max_batch_size=4), max_batch_size=8).batcher.limits.max_batch_size == 4


def test_a_run_time_that_depends_on_more_than_the_rows_keeps_batches_modest(store: Store) -> None:
    assert load(store, "lower").batcher.limits.max_batch_size <= 64


def test_without_a_batch_axis_there_is_nothing_to_run_together(store: Store) -> None:
    assert load(store, "one-row").batcher.limits.max_batch_size == 1


def test_an_objective_that_no_batch_meets_leaves_batches_of_one_row(store: Store) -> None:
    model = load(store, "slow", Serving(p99_ms=1))

    assert model.batcher.limits.max_batch_size == 1
    assert model.batcher.limits.objective_seconds == 0.001


def test_a_model_may_be_without_the_services_objective(store: Store) -> None:
    model = load(store, "slow", Serving(p99_ms=0), p99_ms=1)

    assert model.batcher.limits.max_batch_size > 1
    assert model.batcher.limits.objective_seconds == float("inf")


def test_under_load_what_would_wait_longer_than_the_objective_is_told_to_come_back(store: Store) -> None:
    """Forty ask at once for what takes some milliseconds, and 1 ms is the objective."""
    with running(Path(store.root), p99_ms=1, control="none") as service:
        answers = ask_at_once(service, "slow", 40)
        afterwards = httpx.post(f"{service.url}/v2/models/slow/infer", json=affine_body([1, 2, 3]))

    refused = [answer for answer in answers if answer.status_code != 200]
    assert 0 < len(refused) < 40
    for answer in refused:
        assert answer.status_code == 429
        assert "later than the objective of 0.001" in answer.json()["error"]
        assert int(answer.headers["Retry-After"]) >= 1
    assert afterwards.json()["outputs"][0]["data"] == [2, 4, 6]


def ask_at_once(service: RunningService, model: str, count: int) -> list[httpx.Response]:
    with ThreadPoolExecutor(count) as pool, service.client() as client:
        return list(
            pool.map(lambda n: client.post(f"/v2/models/{model}/infer", json=affine_body([n, n, n])), range(count))
        )

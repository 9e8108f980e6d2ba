from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import tiny_models
from service_process import FRONTS, RunningService, running

from model_store import Store, steering


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """double, slow, lower, lookup, brightness, colour, people, table (version 1 is stable); bare: named and others."""
    store = tmp_path_factory.mktemp("tiny") / "store"
    tiny_models.publish_affine(store)
    tiny_models.publish_affine(store, "slow", slow=20)
    tiny_models.publish_text(store)
    tiny_models.publish_lookup(store)
    tiny_models.publish_brightness(store)
    tiny_models.publish_brightness(store, "colour", channels=3)
    tiny_models.publish_people(store)
    tiny_models.publish_table(store)
    steering.set_label(Store(store), "table", "stable", 1)
    tiny_models.put(store, "named", tiny_models.named())
    tiny_models.put(store, "one-row", tiny_models.negative([1, 3]))
    tiny_models.put(store, "one-picture", tiny_models.brightness(rows=1))
    tiny_models.put(store, "no-rows", tiny_models.negative([3]))
    tiny_models.put(store, "scalar", tiny_models.negative([]))
    tiny_models.put(store, "turned", tiny_models.turned())
    return store


@pytest.fixture(scope="session", params=list(FRONTS))
def service(request: pytest.FixtureRequest, tiny_store: Path) -> Iterator[RunningService]:
    """The same service through both routes: the asyncio front, and the Flask application under a plain WSGI worker."""
    limits = {"max_json_bytes": 200_000, "max_binary_bytes": 400_000, "max_batch_size": 64}
    with running(tiny_store, command=FRONTS[request.param], **limits) as service:
        yield service


@pytest.fixture
def client(service: RunningService) -> Iterator[httpx.Client]:
    with service.client() as client:
        yield client

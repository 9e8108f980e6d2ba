"""What a job says to a store behind a URL before it trains, and where it says that the model is."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_models

from model_store import StoreAway, open_store
from training.cli_parts import outcome
from training.errors import UnusableStore
from training.job import open_store as open_for_job

pytest.importorskip("fsspec")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVENBIRD_CACHE", str(tmp_path / "cache"))


def test_a_store_behind_a_url_takes_models_and_keeps_checkpoints_in_its_cache(tmp_path: Path) -> None:
    store = open_for_job(f"file://{tmp_path}/remote", may_publish_starters=False)

    assert store.location == f"file://{tmp_path}/remote"
    assert store.root.parent == tmp_path / "cache"
    assert str(tiny_models.publish_affine(store)) == "double@1"


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        pytest.param("https://127.0.0.1:1/models", UnusableStore, "can be read, not written", id="read-only"),
        pytest.param("s3://key:hunter2@bucket", UnusableStore, "credentials do not belong into the URL", id="secret"),
        pytest.param("s3://bucket/models", StoreAway, "store 's3://bucket/models': ", id="away"),
    ],
)
def test_what_cannot_take_a_model_is_refused_before_anything_is_trained(
    url: str, error: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("aiohttp" if url.startswith("https") else "s3fs")
    for name, value in {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ACCESS_KEY_ID": "a",
                        "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)

    with pytest.raises(error, match=message) as refused:
        open_for_job(url, may_publish_starters=False)

    assert "hunter2" not in str(refused.value)


def test_the_outcome_names_the_place_in_the_store_not_in_the_cache(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/remote"
    dataset = {"name": "made-up", "sha256": "0" * 64, "license": "none", "sizes": {"test": 2}}
    stored = tiny_models.publish(open_store(url), "double", tiny_models.affine(), recipe="dnn", dataset=dataset)

    lines = outcome([stored], url).splitlines()

    assert lines[0] == f"published  {url}/double/1"
    assert f"serve it   ovenbird serve --store {url}" in lines

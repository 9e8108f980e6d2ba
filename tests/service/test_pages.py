"""The pages for people, by what their HTML says."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import tiny_models
from flask.testing import FlaskClient

from model_store import Store
from model_store.manifest import REPORT_FILE
from service.app import create_app
from service.settings import Settings

PAGE = b"<h1>main</h1>"
HTML = {"Accept": "text/html"}


def publish_group(store: Store, scratch: Path) -> None:
    """Publish `main`, which has a report, and `part`, which has none."""
    group = {"id": "one", "members": ["main", "part"]}
    page = scratch / "main" / REPORT_FILE
    page.parent.mkdir(parents=True)
    page.write_bytes(PAGE)
    model = tiny_models.affine()
    store.publish(*(tiny_models.draft(scratch / name, name, model, group=group) for name in group["members"]))


def client_of(store: Store, *models: str) -> FlaskClient:
    return create_app(Settings(store=str(store.root), control="explicit", load=models)).test_client()


@pytest.fixture
def grouped(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    publish_group(store, tmp_path)
    return store


@pytest.mark.parametrize("step", ["", "/versions/1"])
def test_a_part_of_a_group_shows_the_report_of_the_main_model(grouped: Store, step: str) -> None:
    client = client_of(grouped, "main", "part")

    assert client.get(f"/v2/models/part{step}/report").data == PAGE
    assert 'href="v2/models/part/report"' in client.get("/", headers=HTML).text


@pytest.mark.parametrize("change", ["removed", "replaced"])
def test_a_part_whose_main_model_is_gone_has_no_report(grouped: Store, change: str) -> None:
    client = client_of(grouped, "main", "part")
    shutil.rmtree(grouped.root / "main/1")
    if change == "replaced":
        tiny_models.publish_affine(grouped, "main")

    assert client.get("/v2/models/part/report").status_code == 404
    assert "part/report" not in client.get("/", headers=HTML).text


def test_a_picture_is_asked_about_with_a_file_of_the_readers_own(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    tiny_models.publish_brightness(store)

    page = client_of(store, "brightness").get("/", headers=HTML).text

    assert "curl --data-binary @picture.png http://localhost/v2/models/brightness/predict" in page

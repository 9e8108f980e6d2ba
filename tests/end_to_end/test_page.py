"""The page for people, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import tiny_models
from PIL import Image
from service_process import RunningService, running, wait_for
from system_parts import require_program

from model_store import Store, steering
from model_store.serving import VersionPolicy

QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip


@pytest.mark.system
def test_the_page_shows_what_serves_and_why_something_does_not(tmp_path: Path) -> None:
    chromium = require_program("chromium", "chromium-browser", "google-chrome")
    from playwright.sync_api import sync_playwright

    tiny_models.publish_affine(tmp_path / "store")
    tiny_models.publish_text(tmp_path / "store")
    broken = tiny_models.publish_affine(tmp_path / "store", "broken")
    broken.onnx_path.write_bytes(b"no longer a model")

    with running(tmp_path / "store") as service, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        page = browser.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(service.url)
        text = page.inner_text("body")
        page.screenshot(path=tmp_path / "page.png")
        page.click("text=double")
        page.wait_for_url("**/v2/models/double")
        metadata = page.inner_text("body")
        browser.close()

    assert complaints == []
    assert "2 models served" in text
    assert "CPUExecutionProvider" in text
    assert f"{service.url}/v2/models/double/predict" in text
    assert "Not serving" in text
    assert "model.onnx: sha256 is" in text
    assert '"name":"double"' in metadata.replace(" ", "")


@pytest.mark.system
@pytest.mark.parametrize("script", [True, False], ids=["with-script", "without"])
@pytest.mark.parametrize("width", [1200, 390])
def test_the_description_has_a_form_to_try_each_model(tmp_path: Path, script: bool, width: int) -> None:
    chromium = require_program("chromium", "chromium-browser", "google-chrome")
    from playwright.sync_api import sync_playwright

    tiny_models.publish_affine(tmp_path / "store")
    tiny_models.publish_brightness(tmp_path / "store")
    tiny_models.publish_table(tmp_path / "store")
    files = [tmp_path / name for name in ("dark.png", "bright.png")]
    for value, file in enumerate(files):
        Image.new("L", (6, 4), 255 * value).save(file)

    with running(tmp_path / "store") as service, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        page = browser.new_page(viewport={"width": width, "height": 800}, java_script_enabled=script)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{service.url}/")
        page.click("text=how to ask")
        page.wait_for_url("**/docs")
        page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true })")
        needed = page.evaluate("document.documentElement.scrollWidth")
        labels = [field.evaluate("field => field.labels.length") for field in page.locator("input, textarea").all()]
        pictures = page.locator("section", has=page.locator("#brightness"))
        pictures.get_by_label("Pictures").set_input_files(files)
        pictures.get_by_role("button", name="Ask").click()
        if script:
            pictures.get_by_role("row", name="bright 100.0 %").wait_for()
            answers = pictures.locator("output").inner_text()
            table = page.locator("section", has=page.locator("#table"))
            for column, value in {"width": "1", "height": "2", "depth": "3.5"}.items():
                table.get_by_label(column).fill(value)
            table.get_by_role("button", name="Ask").click()
            table.get_by_text("y [2,4,7]").wait_for()
        else:
            page.wait_for_url("**/predict")
            answers = page.inner_text("body")
        browser.close()

    assert needed <= width, "the page scrolls sideways"
    assert labels == [1] * 5
    assert "dark.png" in answers
    assert all(url.startswith(service.url) for url in asked)


@contextmanager
def page_of(store: Store) -> Iterator[tuple[RunningService, Any]]:
    """Serve a store, and open its page in a browser; nothing in it may complain."""
    chromium = require_program("chromium", "chromium-browser", "google-chrome")
    from playwright.sync_api import sync_playwright

    with running(store.root, poll_interval=0.2) as service, sync_playwright() as playwright:
        page = playwright.chromium.launch(executable_path=chromium, args=QUIET).new_page()
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(service.url)
        yield service, page
        assert complaints == []


@pytest.mark.system
def test_each_version_that_serves_is_shown_and_asked_by_its_own_path(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    for factor in (1, 2, 3):
        tiny_models.publish_affine(store, factor=factor)
    steering.set_policy(store, "double", VersionPolicy.parse("latest:2"))
    steering.set_label(store, "double", "stable", 1)
    tiny_models.publish_brightness(store)

    with page_of(store) as (service, page):
        shown = page.locator("article", has_text="double").all_inner_texts()
        page.locator("article", has_text="stable").get_by_text("try it").click()
        first = page.locator("section", has=page.locator("[id='double@1']"))
        first.get_by_label("Rows of numbers").fill("1,2,3")
        first.get_by_role("button", name="Ask").click()
        first.get_by_text("y [1,2,3]").wait_for()
        closed = page.locator("section > details:not([open]) h3").all_inner_texts()
        first.get_by_label("Rows of numbers").fill("1,2")
        first.get_by_role("button", name="Ask").click()
        first.locator("output.wrong", has_text="expected 3").wait_for()

    names = [text.split("·")[0].split() for text in shown]
    assert names == [
        ["double", "version", "3", "default"], ["double", "version", "2"], ["double", "version", "1", "stable"]
    ]  # fmt: skip
    for text, path in zip(shown, ["double", "double/versions/2", "double/versions/1"], strict=True):
        assert f"{service.url}/v2/models/{path}/predict" in text
    assert closed == ["brightness", "double", "double"]


@pytest.mark.system
def test_the_page_says_what_is_wrong_with_a_model_that_serves_all_the_same(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    tiny_models.publish_affine(store)

    with page_of(store) as (service, page):
        (store.root / "double" / "serving.json").write_text('{"max_batch_sice": 3}')
        wait_for(lambda: service.index()["double", 1]["reason"], "a reason in the index")
        page.reload()
        shown = page.inner_text("article")

    assert "serving.json: max_batch_sice: Extra inputs are not permitted" in shown


@pytest.mark.system
def test_an_answer_of_many_numbers_is_folded(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    tiny_models.put(store.root, "wide", tiny_models.affine(width=20))

    with page_of(store) as (service, page):
        page.goto(f"{service.url}/docs")
        page.get_by_label("Rows of numbers").fill(",".join(["1"] * 20))
        page.get_by_role("button", name="Ask").click()
        page.get_by_text("y: 20 values").wait_for()
        visible = page.locator("output pre").is_visible()

    assert not visible


@pytest.mark.system
def test_boxes_are_listed_and_drawn_over_the_picture_that_was_sent(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    tiny_models.publish_detector(store)
    Image.new("L", (60, 40), 255).save(tmp_path / "bright.png")
    Image.new("L", (60, 40), 0).save(tmp_path / "dark.png")

    with page_of(store) as (_, page):
        page.click("text=how to ask")
        page.get_by_label("Pictures").set_input_files([tmp_path / "bright.png", tmp_path / "dark.png"])
        page.get_by_role("button", name="Ask").click()
        page.get_by_role("row", name="cat 100.0 % 10, 0, 45, 20").wait_for()
        page.get_by_role("img", name="bright.png with 1 box").wait_for()
        answers = page.locator("output").inner_text()
        page.screenshot(path=tmp_path / "boxes.png", full_page=True)

    assert "nothing found" in answers

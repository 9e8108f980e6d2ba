"""The page for people, in a real browser."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_models
from PIL import Image
from service_process import running
from system_parts import require_program

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
        page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true })")
        needed = page.evaluate("document.documentElement.scrollWidth")
        labels = [field.evaluate("field => field.labels.length") for field in page.locator("input, textarea").all()]
        pictures = page.locator("section", has=page.locator("h2#brightness"))
        pictures.get_by_label("Pictures").set_input_files(files)
        pictures.get_by_role("button", name="Ask").click()
        if script:
            answers = pictures.get_by_text("bright.png: bright 100.0 %").inner_text()
            table = page.locator("section", has=page.locator("h2#table"))
            for column, value in {"width": "1", "height": "2", "depth": "3.5"}.items():
                table.get_by_label(column).fill(value)
            table.get_by_role("button", name="Ask").click()
            table.get_by_text('{"y":[2,4,7]}').wait_for()
        else:
            page.wait_for_url("**/predict")
            answers = page.inner_text("body")
        browser.close()

    assert needed <= width, "the page scrolls sideways"
    assert labels == [1] * 5
    assert "dark.png" in answers
    assert all(url.startswith(service.url) for url in asked)

"""The page for people, in a real browser."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_models
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

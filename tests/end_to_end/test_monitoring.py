"""/metrics as Prometheus itself sees it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import httpx
import pytest
import tiny_models
from service_process import affine_body, free_port, running, wait_for
from system_parts import require_program


@pytest.mark.system
@pytest.mark.parametrize("workers", [1, 2])
def test_prometheus_finds_nothing_to_complain_of(tmp_path: Path, workers: int) -> None:
    promtool = require_program("promtool")
    tiny_models.publish_affine(tmp_path / "store")

    with running(tmp_path / "store", workers=workers) as service:
        httpx.post(f"{service.url}/v2/models/double/infer", json=affine_body([1, 2, 3]))
        httpx.post(f"{service.url}/v2/models/double/infer", json={})
        text = httpx.get(f"{service.url}/metrics").text
    shown = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)

    assert (shown.returncode, shown.stdout + shown.stderr) == (0, "")


@pytest.mark.system
def test_prometheus_scrapes_exactly_what_was_asked(tmp_path: Path) -> None:
    prometheus = require_program("prometheus")
    tiny_models.publish_affine(tmp_path / "store")
    port = free_port()

    with running(tmp_path / "store", workers=2) as service:
        for _ in range(30):
            httpx.post(f"{service.url}/v2/models/double/infer", json=affine_body([1, 2, 3], [4, 5, 6]))
        configuration = tmp_path / "prometheus.yml"
        configuration.write_text(
            "scrape_configs: [{job_name: ovenbird, scrape_interval: 1s, "
            f"static_configs: [{{targets: ['127.0.0.1:{service.port}']}}]}}]\n"
        )
        options = [f"--config.file={configuration}", f"--storage.tsdb.path={tmp_path / 'data'}",
                   f"--web.listen-address=127.0.0.1:{port}"]  # fmt: skip
        scraper = subprocess.Popen([prometheus, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:

            def query(expression: str) -> float | None:
                answer = httpx.get(f"http://127.0.0.1:{port}/api/v1/query", params={"query": expression})
                # While Prometheus starts it answers 503, in plain words.
                found = answer.json()["data"]["result"] if answer.is_success else ()
                return float(found[0]["value"][1]) if found else None

            found = wait_for(
                lambda: query('ovenbird_requests_total{model="double",version="1"}'), "a scrape", seconds=40
            )
            rows = query("sum(ovenbird_rows_total)")
            seconds = query("histogram_quantile(0.5, sum by (le) (ovenbird_request_seconds_bucket))")
        finally:
            scraper.terminate()
            scraper.wait(20)

    assert (found, rows) == (30, 60)
    assert seconds is not None
    assert 0 < seconds < 1

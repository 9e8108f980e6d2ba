"""What Prometheus makes of a running service under load: every panel has data, every rule can be evaluated."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import tiny_models
import yaml
from service_process import RunningService, affine_body, free_port, running, wait_for
from system_parts import require_program

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy/prometheus/rules.yaml"
DASHBOARD = json.loads((ROOT / "deploy/grafana/dashboard.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
VARIABLES = {"$__rate_interval": "1m", "$job": "ovenbird", "$instance": ".*", "$model": ".*"}


class Prometheus:
    """A real one, asked over HTTP."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/api/v1"

    def query(self, expression: str) -> list[dict[str, Any]]:
        answer = httpx.get(f"{self.url}/query", params={"query": expression})
        # While Prometheus starts it answers 503, in plain words.
        if answer.status_code == 503:
            return []
        assert answer.status_code == 200, f"{expression}\n{answer.text}"
        return list(answer.json()["data"]["result"])

    def rules(self) -> list[dict[str, Any]]:
        groups = httpx.get(f"{self.url}/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]


@contextlib.contextmanager
def scraping(service: RunningService, folder: Path) -> Iterator[Prometheus]:
    program, port = require_program("prometheus"), free_port()
    configuration = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [
            {"job_name": "ovenbird", "static_configs": [{"targets": [f"127.0.0.1:{service.port}"]}]},
        ],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(configuration))
    options = [f"--config.file={folder / 'prometheus.yaml'}", f"--storage.tsdb.path={folder / 'data'}",
               f"--web.listen-address=127.0.0.1:{port}"]  # fmt: skip
    process = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield Prometheus(port)
    finally:
        process.terminate()
        process.wait(20)


def expressions(panel: dict[str, Any]) -> list[str]:
    return [resolved(target["expr"]) for target in panel["targets"]]


def resolved(expression: str) -> str:
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    return expression


@pytest.mark.system
def test_every_panel_shows_data_and_every_rule_works(tmp_path: Path) -> None:
    store = tmp_path / "store"
    tiny_models.publish_affine(store)
    tiny_models.publish_affine(store, "spoilt")
    (store / "spoilt/1/model.onnx").write_bytes(b"something else")
    asked = [expression for panel in PANELS for expression in expressions(panel)]

    with running(store, workers=2) as service, scraping(service, tmp_path) as prometheus:

        def silent() -> list[str]:
            httpx.post(f"{service.url}/v2/models/double/infer", json=affine_body([1, 2, 3], [4, 5, 6]))
            httpx.post(f"{service.url}/v2/models/double/infer", json={})
            return [expression for expression in asked if not prometheus.query(expression)]

        with contextlib.suppress(AssertionError):
            wait_for(lambda: not silent(), "data in every panel", seconds=40)
        without_data = silent()
        refused = wait_for(
            lambda: prometheus.query('ALERTS{alertname="OvenbirdModelRefused"}'), "an alert of the spoilt model"
        )
        rules = prometheus.rules()

    assert without_data == []
    assert [alert["metric"]["model"] for alert in refused] == ["spoilt"]
    assert {rule["name"]: rule.get("lastError") for rule in rules if rule["health"] != "ok"} == {}
    pending = {rule["name"] for rule in rules if rule["type"] == "alerting" and rule["state"] != "inactive"}
    assert pending == {"OvenbirdModelRefused"}


def test_the_dashboard_is_whole() -> None:
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    names = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD))) - {"__rate_interval", "__all"}

    assert len(numbers) == len(set(numbers))
    assert used == names
    assert all(panel["description"] and panel["title"] for panel in PANELS)
    assert DASHBOARD["uid"] == "ovenbird"


def test_no_two_panels_lie_on_each_other() -> None:
    taken: set[tuple[int, int]] = set()

    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells

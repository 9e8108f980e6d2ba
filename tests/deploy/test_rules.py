"""deploy/prometheus/rules.yaml: the alerts fire when they should, name real metrics, and say what to do."""

from __future__ import annotations

import inspect
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from system_parts import require_program

from service import errors
from service.telemetry.metrics import Metrics
from service.web.problems import status_of

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy/prometheus/rules.yaml"
GROUPS = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
ENTRIES: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = [rule for rule in ENTRIES if "alert" in rule]


def promtool(*words: str | Path) -> tuple[int, str]:
    program = require_program("promtool")
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False, cwd=ROOT)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.system
def test_each_alert_fires_when_it_should_and_only_then() -> None:
    code, said = promtool("test", "rules", "tests/deploy/rules_test.yaml")

    assert code == 0, said


@pytest.mark.system
def test_prometheus_takes_the_configuration(tmp_path: Path) -> None:
    # There the rules lie where the container has them.
    written = (ROOT / "deploy/prometheus/prometheus.yaml").read_text(encoding="utf-8")
    configuration = tmp_path / "prometheus.yaml"
    configuration.write_text(written.replace("/etc/prometheus/rules.yaml", str(RULES)))

    code, said = promtool("check", "config", configuration)

    assert (code, f"{len(ENTRIES)} rules found" in said) == (0, True), said


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_each_alert_says_what_is_wrong_and_what_to_do(alert: dict[str, Any]) -> None:
    notes = alert["annotations"]

    assert alert["labels"]["severity"] in ("critical", "warning")
    assert notes["summary"].endswith(".")
    assert len(notes["description"].split()) > 15
    assert f"alertname: {alert['alert']}" in (ROOT / "tests/deploy/rules_test.yaml").read_text(encoding="utf-8")


def test_every_alert_is_listed_with_its_severity() -> None:
    readme = (ROOT / "deploy/prometheus/README.md").read_text(encoding="utf-8")

    listed = re.findall(r"^\| `(\w+)` \| (\w+) \|", readme, re.MULTILINE)

    assert sorted(listed) == sorted((alert["alert"], alert["labels"]["severity"]) for alert in ALERTS)


def test_the_rules_name_metrics_that_there_are() -> None:
    # A histogram without children shows no samples, but its family's name is told.
    families = list(text_string_to_metric_families(Metrics().text().decode()))
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
    known = {family.name + suffix for family in families for suffix in suffixes[family.type]}
    recorded = {rule["record"] for rule in ENTRIES if "record" in rule}

    asked = {name for rule in ENTRIES for name in re.findall(r"[\w:]*ovenbird_\w+(?::\w+)?", rule["expr"])}

    assert asked - recorded - known == set()


def test_what_counts_as_the_services_own_fault_is_what_is_answered_500_503_and_504() -> None:
    classes = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind is not errors.ServiceError]
    kinds = [kind for kind in classes if issubclass(kind, errors.ServiceError)]
    # Without a message, which each kind builds in its own way: the class alone decides.
    own = {kind.__name__ for kind in kinds if status_of(kind.__new__(kind)) in (500, 503, 504)}

    for rule in ENTRIES:
        if rule.get("record") == "model:ovenbird_service_errors:rate5m":
            (listed,) = re.findall(r'kind=~"([^"]*)"', rule["expr"])
            assert set(listed.split("|")) == own

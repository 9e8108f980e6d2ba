"""What the autoscalers and the alerts ask Prometheus for, against the service's metrics and Prometheus's arithmetic."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from manifests import KUBERNETES, of_kind, render
from prometheus_client import CollectorRegistry
from system_parts import require_program

from service.telemetry.metrics import Metrics

pytestmark = pytest.mark.system

OF_EACH_POD = ("ovenbird_requests_in_flight", "ovenbird_queue_p95_seconds")
PODS = ("a", "b")


def series() -> set[str]:
    """The names of all time series that the service's /metrics may hold."""
    registry = CollectorRegistry()
    Metrics(registry)
    endings = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
    return {family.name + ending for family in registry.collect() for ending in endings[family.type]}


def queries() -> dict[str, str]:
    """What the autoscalers ask Prometheus for."""
    (scaled,) = of_kind(render("keda"), "ScaledObject")
    adapter = yaml.safe_load((KUBERNETES / "components" / "autoscale-adapter" / "adapter-rules.yaml").read_text())
    filled = {"<<.GroupBy>>": "namespace, pod", "<<.LabelMatchers>>": 'namespace="ovenbird"'}
    found = {trigger["name"]: trigger["metadata"]["query"] for trigger in scaled["spec"]["triggers"]}
    for rule in adapter:
        query = rule["metricsQuery"].replace("<<.Series>>", rule["seriesQuery"].partition("{")[0])
        for name, value in filled.items():
            query = query.replace(name, value)
        found[rule["name"]["as"]] = query
    return found


def test_autoscalers_ask_for_metrics_that_there_are() -> None:
    asked = {name for query in queries().values() for name in re.findall(r"ovenbird_\w+", query)}
    (scaler,) = of_kind(render("adapter"), "HorizontalPodAutoscaler")
    own = {metric["pods"]["metric"]["name"] for metric in scaler["spec"]["metrics"] if metric["type"] == "Pods"}

    assert asked == {
        "ovenbird_request_seconds_sum",
        "ovenbird_queue_seconds_bucket",
        "ovenbird_worker_start_seconds",
    }
    assert asked <= series()
    assert own == queries().keys() - {"in-flight", "queue-time"}


def samples(*values: float, each: bool) -> list[dict[str, Any]]:
    names = [f'{{namespace="ovenbird", pod="{pod}"}}' if each else "{}" for pod in PODS]
    return [{"labels": name, "value": value} for name, value in zip(names, values, strict=False)]


def evaluated(scratch: Path, growth: dict[str, int], expected: dict[str, list[float]]) -> str:
    """Evaluate queries over counters that grow so much in 15 s in each pod; return what is not as expected."""
    given = [
        {"series": name.replace("{", f'{{namespace="ovenbird", pod="{pod}", model="m", '), "values": f"0+{count}x8"}
        for name, count in growth.items()
        for pod in PODS
    ]
    checks = [
        {
            "expr": f"round({query}, 0.001)",
            "eval_time": "2m",
            "exp_samples": samples(*expected[name], each=name in OF_EACH_POD),
        }
        for name, query in queries().items()
        if name in expected
    ]
    test = {"interval": "15s", "input_series": given, "promql_expr_test": checks}
    file = scratch / "test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [], "evaluation_interval": "15s", "tests": [test]}))
    done = subprocess.run(
        [require_program("promtool"), "test", "rules", file], capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def growth(requests: int) -> dict[str, int]:
    """Requests of half a second; of their waits 90 % end within 10 ms, all within 100 ms."""
    waited = {'le="0.01"': requests * 9 // 10, 'le="0.1"': requests, 'le="+Inf"': requests}
    return {"ovenbird_request_seconds_sum{}": requests // 2} | {
        f"ovenbird_queue_seconds_bucket{{{bound}}}": count for bound, count in waited.items()
    }


def test_autoscalers_read_requests_in_flight_and_their_wait(tmp_path: Path) -> None:
    """40 requests a second in each of two pods."""
    expected = {
        "in-flight": [40.0],
        "queue-time": [55.0],
        "ovenbird_requests_in_flight": [20.0, 20.0],
        "ovenbird_queue_p95_seconds": [0.055, 0.055],
    }

    assert evaluated(tmp_path, growth(600), expected) == ""
    assert "got: {} 4E+01" in evaluated(tmp_path, growth(600), expected | {"in-flight": [41.0]})


def test_autoscalers_read_nothing_where_nobody_asks(tmp_path: Path) -> None:
    expected = {"in-flight": [0.0], "queue-time": [0.0], "ovenbird_requests_in_flight": [0.0, 0.0]}

    assert evaluated(tmp_path, growth(0), expected | {"ovenbird_queue_p95_seconds": []}) == ""


def test_keda_reads_zero_before_the_first_request_and_nothing_of_a_namespace_without_pods(tmp_path: Path) -> None:
    """KEDA takes nothing for an error: a wrong namespace shows, instead of never scaling."""
    (scaled,) = of_kind(render("keda"), "ScaledObject")
    (strict,) = [each["metadata"] for each in scaled["spec"]["triggers"] if each["name"] == "in-flight"]
    started = {"ovenbird_worker_start_seconds{}": 0}

    assert evaluated(tmp_path, started, {"in-flight": [0.0], "queue-time": [0.0]}) == ""
    assert evaluated(tmp_path, {}, {"in-flight": [], "queue-time": [0.0]}) == ""
    assert strict["ignoreNullValues"] == "false"


def test_the_operators_rules_are_those_of_prometheus() -> None:
    (resource,) = of_kind(render("keda"), "PrometheusRule")
    rules = yaml.safe_load((KUBERNETES.parent / "prometheus" / "rules.yaml").read_text())

    assert resource["spec"] == rules, "run python deploy/kubernetes/prometheus_rule.py"

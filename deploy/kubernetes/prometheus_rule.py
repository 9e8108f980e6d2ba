"""Writes components/monitoring/prometheus-rule.yaml: Prometheus's own rules, as the Prometheus operator reads them.

    python deploy/kubernetes/prometheus_rule.py

The rules have one home, deploy/prometheus/rules.yaml; Kustomize cannot put a file's YAML into another's. A test
compares the two.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

HERE = Path(__file__).parent
RULES = HERE.parent / "prometheus" / "rules.yaml"
RESOURCE = HERE / "components" / "monitoring" / "prometheus-rule.yaml"

HEAD = """\
# Written by deploy/kubernetes/prometheus_rule.py from deploy/prometheus/rules.yaml: change the rules there.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: ovenbird
  labels:
    app.kubernetes.io/name: ovenbird
    app.kubernetes.io/component: service
    # Prometheus takes the rules that its ruleSelector names; kube-prometheus-stack's is this label.
    release: kube-prometheus-stack
spec:
"""


def resource(rules: str) -> str:
    """Write the custom resource that holds a file of rules."""
    return HEAD + textwrap.indent(rules, "  ")


if __name__ == "__main__":
    RESOURCE.write_text(resource(RULES.read_text(encoding="utf-8")), encoding="utf-8")

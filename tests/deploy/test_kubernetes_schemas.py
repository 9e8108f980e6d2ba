"""Every field of the manifests exists and has the right type: by the schemas of Kubernetes and of the operators."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path

import jsonschema_rs
import kubernetes_validate
import pytest
from manifests import RENDERINGS, Resource, of_kind, render
from system_parts import require_file

pytestmark = pytest.mark.system

OLDEST = "1.30"
NEWEST = "1.36"

# Of an operator's resource: the file of its schema in a folder of such files.
CUSTOM = {
    "ServiceMonitor": "servicemonitor_v1.json",
    "PrometheusRule": "prometheusrule_v1.json",
    "ScaledObject": "scaledobject_v1alpha1.json",
    "ClusterServingRuntime": "clusterservingruntime_v1alpha1.json",
    "InferenceService": "inferenceservice_v1beta1.json",
}
BESIDE = Path(__file__).parents[3] / "shared" / "schemas"


def schema_of(kind: str) -> jsonschema_rs.Draft7Validator:
    folder = Path(os.environ.get("CRD_SCHEMAS") or BESIDE)
    path = require_file(
        folder / CUSTOM[kind], f"the schema of {kind} is absent: set CRD_SCHEMAS to a folder with {CUSTOM[kind]}"
    )
    schema = json.loads(path.read_text())
    if kind == "PrometheusRule":
        # Its pattern is one of Go's, which other readers of patterns refuse.
        del schema["properties"]["spec"]["properties"]["groups"]["items"]["properties"]["partial_response_strategy"]
    return jsonschema_rs.Draft7Validator(closed(schema))


def closed(schema: object) -> object:
    """Refuse fields that a schema does not name, as the cluster's API drops them without a word."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: closed(part) for name, part in schema.items()}
    is_open = "x-kubernetes-preserve-unknown-fields" in schema or "additionalProperties" in schema
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object" and not is_open:
        inner["additionalProperties"] = False
    return inner


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("name", RENDERINGS)
def test_kubernetes_knows_every_field(name: str, version: str) -> None:
    for resource in render(name):
        if resource["kind"] not in CUSTOM:
            kubernetes_validate.validate(resource, version, strict=True)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("keda", "ServiceMonitor"),
        ("keda", "PrometheusRule"),
        ("keda", "ScaledObject"),
        ("kserve-runtime", "ClusterServingRuntime"),
        ("kserve-example", "InferenceService"),
    ],
)
def test_the_operators_know_every_field(name: str, kind: str) -> None:
    (resource,) = of_kind(render(name), kind)
    schema = schema_of(kind)
    misspelt: Resource = copy.deepcopy(resource)
    misspelt["spec"]["misspelt"] = 1

    assert [f"{error.instance_path}: {error.message}" for error in schema.iter_errors(resource)] == []
    assert not schema.is_valid(misspelt)


def test_a_misspelt_field_would_be_found() -> None:
    (deployment,) = of_kind(render("base"), "Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}

    with pytest.raises(kubernetes_validate.ValidationError, match="readynessProbe"):
        kubernetes_validate.validate(deployment, OLDEST, strict=True)

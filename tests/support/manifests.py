"""The manifests of deploy/kubernetes as Kustomize renders them, and what is asked of them again and again."""

from __future__ import annotations

import copy
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from system_parts import require_program

KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"

Resource = dict[str, Any]

# What can be applied: a name for the test, the folders, and the components on top of them.
RENDERINGS: dict[str, tuple[str, ...]] = {
    "base": ("base",),
    "cpu": ("cpu",),
    "gpu": ("gpu",),
    "gpu-keda": ("gpu", "components/autoscale-keda"),
    "s3": ("base", "components/store-s3"),
    "keda": ("base", "components/store-volume", "components/monitoring", "components/autoscale-keda"),
    "adapter": ("base", "components/store-volume", "components/monitoring", "components/autoscale-adapter"),
    "training-once": ("training/once",),
    "training-nightly": ("training/nightly",),
    "training-machines": ("training/machines",),
    "store-command": ("training/store-command",),
    "kserve-runtime": ("kserve/runtime",),
    "kserve-example": ("kserve/example",),
}
SERVICE = ("base", "cpu", "gpu", "gpu-keda", "s3", "keda", "adapter")
TRAINING = ("training-once", "training-nightly", "training-machines")
KSERVE = ("kserve-runtime", "kserve-example")


def kustomize(kustomization: str) -> list[Resource]:
    """Render a kustomization.yaml as if it lay in a folder of its own in deploy/kubernetes."""
    program = require_program("kubectl", "kustomize")
    with tempfile.TemporaryDirectory() as scratch:
        # Kustomize takes folders by their relative paths only.
        here = os.path.relpath(KUBERNETES, Path(scratch).resolve())
        Path(scratch, "kustomization.yaml").write_text(kustomization.replace("../", f"{here}/"))
        command = [program, "kustomize" if program.endswith("kubectl") else "build", scratch]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return [resource for resource in yaml.safe_load_all(done.stdout) if resource]


@lru_cache
def _rendered(name: str) -> list[Resource]:
    overlay, *components = (f"../{folder}" for folder in RENDERINGS[name])
    return kustomize(yaml.safe_dump({"resources": [overlay], "components": components}))


def render(name: str) -> list[Resource]:
    """All resources of one rendering, for the caller to change at will."""
    return copy.deepcopy(_rendered(name))


def of_kind(resources: list[Resource], kind: str) -> list[Resource]:
    return [resource for resource in resources if resource["kind"] == kind]


def named(resources: list[Resource], kind: str, name: str) -> Resource | None:
    return next((found for found in of_kind(resources, kind) if found["metadata"]["name"] == name), None)


@dataclass(frozen=True)
class Pods:
    """The pods that a resource makes: `labels` as they will have them, `spec` as it is written."""

    owner: Resource
    labels: Mapping[str, str]
    spec: dict[str, Any]

    @property
    def containers(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.spec["containers"]
        return found

    def ports(self) -> dict[str, int]:
        """The named ports: name → number."""
        return {
            port["name"]: port["containerPort"]
            for container in self.containers
            for port in container.get("ports", ())
            if "name" in port
        }


def pods(resources: list[Resource]) -> list[Pods]:
    """All pods of a rendering, those that KServe makes of a runtime among them."""
    return list(_pods(resources))


def _pods(resources: list[Resource]) -> Iterator[Pods]:
    for resource in resources:
        name, spec = resource["metadata"]["name"], resource.get("spec", {})
        match resource["kind"]:
            case "Deployment":
                yield _of_template(resource, spec["template"], {"pod-template-hash": "0"})
            case "Job":
                yield _of_template(resource, spec["template"], {"batch.kubernetes.io/job-name": name})
            case "CronJob":
                template = spec["jobTemplate"]["spec"]["template"]
                yield _of_template(resource, template, {"batch.kubernetes.io/job-name": f"{name}-0"})
            case "ClusterServingRuntime":
                yield Pods(resource, {}, spec)


def _of_template(owner: Resource, template: dict[str, Any], added: dict[str, str]) -> Pods:
    """Kubernetes's controllers add labels of their own to those of the template."""
    return Pods(owner, template["metadata"]["labels"] | added, template["spec"])


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a selector, with or without `matchLabels`, chooses what has these labels."""
    assert set(selector) != {"matchExpressions"}
    wanted: Mapping[str, str] = selector.get("matchLabels", selector)
    return bool(wanted) and wanted.items() <= labels.items()


def environment(container: Mapping[str, Any], resources: list[Resource]) -> dict[str, str]:
    """The variables that a container gets, but for those of secrets and of fields."""
    found: dict[str, str] = {}
    for source in container.get("envFrom", ()):
        if "configMapRef" in source:
            settings = named(resources, "ConfigMap", source["configMapRef"]["name"])
            assert settings, f"no ConfigMap {source['configMapRef']['name']}"
            found |= settings["data"]
    return found | {entry["name"]: entry["value"] for entry in container.get("env", ()) if "value" in entry}


_UNITS = {"": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}


def quantity(text: str | int) -> float:
    """Read Kubernetes's numbers: 768Mi, 20m, "1"."""
    digits = str(text).rstrip("".join({letter for unit in _UNITS for letter in unit}))
    return float(digits) * _UNITS[str(text)[len(digits) :]]

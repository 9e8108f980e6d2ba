"""What one manifest calls by name exists in another: labels, ports, volumes, settings. No schema looks at that."""

from __future__ import annotations

import itertools
import re
from typing import Any

import kubernetes_validate
import pytest
import yaml
from manifests import (
    KSERVE,
    KUBERNETES,
    RENDERINGS,
    SERVICE,
    TRAINING,
    Pods,
    Resource,
    environment,
    kustomize,
    named,
    of_kind,
    pods,
    render,
    selects,
)

pytestmark = pytest.mark.system

OF_PODS = [name for name in RENDERINGS if name != "kserve-example"]
README = KUBERNETES / "README.md"
# Jobs, in the namespace and on the claim of cpu/ or gpu/.
JOBS = [*TRAINING, "store-command"]
OURS = [*SERVICE, *JOBS]


def selectors(resources: list[Resource]) -> list[tuple[str, dict[str, Any]]]:
    """Every selector of pods, with where it stands."""
    found = [
        (f"Service {each['metadata']['name']}", each["spec"]["selector"]) for each in of_kind(resources, "Service")
    ]
    for kind in ("Deployment", "PodDisruptionBudget"):
        found += [(kind, each["spec"]["selector"]) for each in of_kind(resources, kind)]
    for policy in of_kind(resources, "NetworkPolicy"):
        found.append(("NetworkPolicy", policy["spec"]["podSelector"]))
        rules = [*policy["spec"].get("ingress", ()), *policy["spec"].get("egress", ())]
        peers = [peer for rule in rules for peer in (*rule.get("from", ()), *rule.get("to", ()))]
        found += [("NetworkPolicy's peer", peer["podSelector"]) for peer in peers]
    for made in pods(resources):
        spread = made.spec.get("topologySpreadConstraints", ())
        apart = made.spec.get("affinity", {}).get("podAntiAffinity", {})
        preferred = apart.get("preferredDuringSchedulingIgnoredDuringExecution", ())
        found += [("topologySpreadConstraints", each["labelSelector"]) for each in spread]
        found += [("podAntiAffinity", each["podAffinityTerm"]["labelSelector"]) for each in preferred]
    return found


def unknown_labels(resources: list[Resource]) -> list[str]:
    made = pods(resources)
    return [where for where, selector in selectors(resources) if not any(selects(selector, one.labels) for one in made)]


@pytest.mark.parametrize("name", OURS)
def test_every_selector_chooses_the_pods(name: str) -> None:
    resources = render(name)

    assert len(selectors(resources)) >= 2
    assert unknown_labels(resources) == []


def test_a_selector_that_chooses_nothing_would_be_found() -> None:
    resources = render("base")
    (service,) = of_kind(resources, "Service")
    service["spec"]["selector"]["app.kubernetes.io/component"] = "servise"

    assert unknown_labels(resources) == ["Service ovenbird"]


@pytest.mark.parametrize("name", OF_PODS)
def test_every_mount_has_a_volume_and_every_volume_a_mount(name: str) -> None:
    for made in pods(render(name)):
        volumes = [volume["name"] for volume in made.spec["volumes"]]
        mounts = [mount["name"] for container in made.containers for mount in container["volumeMounts"]]

        assert sorted(mounts) == sorted(volumes)


@pytest.mark.parametrize("name", OURS)
def test_claims_settings_and_accounts_exist(name: str) -> None:
    resources = render(name) if name in SERVICE else [*render("cpu"), *render(name)]
    for made in pods(resources):
        claims = [volume.get("persistentVolumeClaim") for volume in made.spec["volumes"]]
        sources = [source for container in made.containers for source in container.get("envFrom", ())]

        assert named(resources, "ServiceAccount", made.spec["serviceAccountName"])
        assert all(named(resources, "PersistentVolumeClaim", claim["claimName"]) for claim in claims if claim)
        assert all(
            named(resources, "ConfigMap", each["configMapRef"]["name"]) for each in sources if "configMapRef" in each
        )
        assert all(each["secretRef"]["optional"] for each in sources if "secretRef" in each)


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_everything_lies_in_one_namespace(name: str) -> None:
    resources = render(name)
    (namespace,) = of_kind(resources, "Namespace")
    inside = {each["metadata"].get("namespace") for each in resources if each is not namespace}

    assert inside == {namespace["metadata"]["name"]}
    # Pods that ask for more rights than ours are refused there.
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("name", JOBS)
def test_to_delete_a_jobs_folder_spares_the_models(name: str) -> None:
    resources = render(name)

    assert {each["kind"] for each in resources} & {"Namespace", "PersistentVolumeClaim"} == set()
    assert {each["metadata"]["namespace"] for each in resources} == {"ovenbird"}


def test_what_the_readme_deletes_of_the_service_is_all_but_the_models() -> None:
    command = re.search(r"kinds=(\S+)\n +kubectl .* delete \$kinds -l (\S+)=(\S+)\n", README.read_text())
    assert command
    kinds, label, value = command.groups()
    deleted = {
        each["kind"].lower()
        for each in render("cpu")
        if each["metadata"].get("labels", {}).get(label) == value and each["kind"].lower() in kinds.split(",")
    }

    assert deleted == {each["kind"].lower() for each in render("cpu")} - {"namespace", "persistentvolumeclaim"}
    assert deleted == set(kinds.split(","))


@pytest.mark.parametrize("name", SERVICE)
def test_every_port_that_is_named_is_one_of_the_pods(name: str) -> None:
    resources = render(name)
    (made,) = pods(resources)
    (container,) = made.containers
    probes = [container[probe]["httpGet"]["port"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")]
    (service,) = of_kind(resources, "Service")
    (policy,) = of_kind(resources, "NetworkPolicy")
    targets = [port["targetPort"] for port in service["spec"]["ports"]]
    opened = [port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]]

    assert {*probes, *targets, *opened} == set(made.ports()) == {"http"}


@pytest.mark.parametrize("name", ["keda", "adapter"])
def test_prometheus_finds_the_service_and_its_port(name: str) -> None:
    resources = render(name)
    (monitor,) = of_kind(resources, "ServiceMonitor")
    (service,) = of_kind(resources, "Service")
    (endpoint,) = monitor["spec"]["endpoints"]

    assert selects(monitor["spec"]["selector"], service["metadata"]["labels"])
    assert endpoint["port"] in [port["name"] for port in service["spec"]["ports"]]
    # The alerts look at jobs whose name has this in it.
    assert "ovenbird" in service["metadata"]["labels"][monitor["spec"]["jobLabel"]]


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("base", []),
        ("cpu", ["HorizontalPodAutoscaler"]),
        ("gpu", []),
        ("gpu-keda", ["ScaledObject"]),
        ("keda", ["ScaledObject"]),
        ("adapter", ["HorizontalPodAutoscaler"]),
    ],
)
def test_one_autoscaler_at_most_scales_the_deployment(name: str, kinds: list[str]) -> None:
    resources = render(name)
    found = [each for each in resources if each["kind"] in ("HorizontalPodAutoscaler", "ScaledObject")]
    metrics = [metric for each in found for metric in each["spec"].get("metrics", ())]
    (made,) = pods(resources)

    assert [each["kind"] for each in found] == kinds
    assert all(named(resources, "Deployment", each["spec"]["scaleTargetRef"]["name"]) for each in found)
    assert all(
        metric["containerResource"]["container"] in [container["name"] for container in made.containers]
        for metric in metrics
        if "containerResource" in metric
    )


@pytest.mark.parametrize("name", OURS)
def test_images_have_a_version_where_they_are_applied(name: str) -> None:
    images = {container["image"] for made in pods(render(name)) for container in made.containers}
    expected = {"cpu": "ovenbird:0.1.0", "gpu": "ovenbird-gpu:0.1.0", "gpu-keda": "ovenbird-gpu:0.1.0"}
    expected |= {"store-command": "ovenbird:0.1.0"}

    assert images == {expected.get(name, "ovenbird-training:0.1.0" if name in TRAINING else "ovenbird")}


def block(first: str) -> str:
    """The indented block of the README that begins with this line."""
    _, found, rest = README.read_text().partition(f"    {first}\n")
    assert found, first
    lines = itertools.takewhile(lambda line: line.startswith("    "), rest.splitlines())
    return "\n".join([first, *(line[4:] for line in lines)])


def test_the_readmes_overlay_renders() -> None:
    resources = kustomize(block("# ours/kustomization.yaml"))
    (made,) = pods(resources)
    (container,) = made.containers
    settings = environment(container, resources)

    assert container["image"] == "registry.example.com/ovenbird:0.1.0"
    assert (settings["OVENBIRD_P99_MS"], settings["OVENBIRD_PORT"]) == ("50", "8000")
    assert {"ScaledObject", "ServiceMonitor", "PrometheusRule"} <= {resource["kind"] for resource in resources}


def test_the_readmes_policy_lets_in_two_namespaces_alone() -> None:
    resources = kustomize(f"{block('# ours/kustomization.yaml')}\n{block('patches:')}")
    (policy,) = of_kind(resources, "NetworkPolicy")
    (rule,) = policy["spec"]["ingress"]
    (made,) = pods(resources)
    (way_out, *_) = policy["spec"]["egress"]

    kubernetes_validate.validate(policy, "1.30", strict=True)
    assert [set(peer) for peer in rule["from"]] == [{"namespaceSelector"}] * 2
    assert [port["port"] for port in rule["ports"]] == list(made.ports())
    assert way_out["ports"][0]["port"] == 53


@pytest.mark.parametrize("file", ["components/store-s3/way-out.yaml", "training/common/network-policy.yaml"])
def test_the_rules_for_workload_identity_are_right_once_they_are_taken(file: str) -> None:
    text = (KUBERNETES / file).read_text()
    taken = yaml.safe_load(re.sub(r"(?m)^    # (?=- |  )", "    ", text))
    blocks = [
        (peer["ipBlock"]["cidr"], port["port"])
        for rule in taken["spec"]["egress"]
        for peer in rule.get("to", ())
        for port in rule.get("ports", ())
    ]

    kubernetes_validate.validate(taken | {"spec": {"podSelector": {}} | taken["spec"]}, "1.30", strict=True)
    assert {("169.254.169.254/32", 80), ("169.254.169.252/32", 988), ("169.254.170.23/32", 80)} <= set(blocks)
    # Nobody has them who did not ask for them.
    assert "ipBlock" not in str(yaml.safe_load(text))


def test_in_another_namespace_kedas_queries_can_follow() -> None:
    overlay = block("# ours/kustomization.yaml").replace("namespace: ovenbird", "namespace: elsewhere")
    (scaled,) = of_kind(kustomize(f"{overlay}\n{block('replacements:')}"), "ScaledObject")
    queries = [trigger["metadata"]["query"] for trigger in scaled["spec"]["triggers"]]

    assert scaled["metadata"]["namespace"] == "elsewhere"
    assert [re.findall('namespace="(.*?)"', query) for query in queries] == [["elsewhere"] * 2, ["elsewhere"]]


def test_kserves_example_asks_for_the_runtime_and_its_format() -> None:
    (runtime,) = render("kserve-runtime")
    (service,) = render("kserve-example")
    model = service["spec"]["predictor"]["model"]

    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["modelFormat"] in [
        {key: known[key] for key in ("name", "version")} for known in runtime["spec"]["supportedModelFormats"]
    ]
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]


# https://kubernetes.io/docs/concepts/security/pod-security-standards/, "Restricted"
def unrestricted(made: Pods) -> list[str]:
    """What the namespace's Pod Security would refuse, and what we ask for beyond it."""
    found = []
    of_pod = made.spec.get("securityContext", {})
    for container in made.containers:
        own = of_pod | container["securityContext"]
        wanted = {
            "runAsNonRoot": True, "runAsUser": 10001, "runAsGroup": 10001, "seccompProfile": {"type": "RuntimeDefault"},
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
        found += [name for name, value in wanted.items() if own.get(name) != value]
    found += [name for name in ("hostNetwork", "hostPID", "hostIPC", "initContainers") if name in made.spec]
    allowed = ("emptyDir", "persistentVolumeClaim")
    return found + [each["name"] for each in made.spec["volumes"] if not any(kind in each for kind in allowed)]


@pytest.mark.parametrize("name", OF_PODS)
def test_pods_have_no_more_rights_than_they_need(name: str) -> None:
    (made,) = pods(render(name))

    assert unrestricted(made) == []
    # KServe gives its pods an account of its own.
    assert name in KSERVE or made.spec["automountServiceAccountToken"] is False

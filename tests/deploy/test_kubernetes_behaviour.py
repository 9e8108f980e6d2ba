"""The manifests against the service itself: its routes, its settings, its metrics, its limits in time and memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_models
from click.testing import CliRunner
from manifests import (
    KSERVE,
    SERVICE,
    TRAINING,
    Pods,
    Resource,
    environment,
    of_kind,
    pods,
    quantity,
    render,
)
from werkzeug.exceptions import NotFound

from model_store import Store
from model_store.cli import main as ovenbird
from service.app import create_app
from service.cli import serve
from service.settings import Settings
from training.cli import train
from training.fitting.machines import Place, read_place

pytestmark = pytest.mark.system

SERVING = [*SERVICE, "kserve-runtime"]
# service/gunicorn_conf.py gives the workers so much longer than the setting before it kills them.
ARBITER_SECONDS = 5


def the_pods(name: str) -> tuple[Pods, dict[str, Any], list[Resource]]:
    resources = render(name)
    (made,) = pods(resources)
    return made, made.containers[0], resources


def settings_of(name: str) -> Settings:
    """The service's settings in a rendering; what it does not know is an error, as when it starts."""
    _, container, resources = the_pods(name)
    command, *arguments = [argument.replace("{{.Name}}", "digits") for argument in container["args"]]
    assert command == "serve"
    given = serve.make_context("serve", arguments).params
    set_there = {key: value for key, value in given.items() if value not in (None, ())}
    return Settings.from_env(environment(container, resources), **set_there)


@pytest.mark.parametrize("name", SERVING)
def test_the_service_knows_its_settings(name: str) -> None:
    settings = settings_of(name)
    _, container, _ = the_pods(name)
    (port,) = container["ports"]
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]

    assert (settings.host, settings.port, settings.workers) == ("0.0.0.0", port["containerPort"], 1)
    # None, behind a URL, where KServe mounts it, or where the manifest does.
    assert settings.store in ("", "s3://models/store", "/mnt/models", *mounts)
    assert settings.cache in ("", *mounts)


@pytest.mark.parametrize("name", SERVING)
def test_what_probes_and_scrapes_ask_for_is_answered(name: str, tmp_path: Path) -> None:
    _, container, resources = the_pods(name)
    probes = [container[probe]["httpGet"]["path"] for probe in container if probe.endswith("Probe")]
    scraped = [end["path"] for each in of_kind(resources, "ServiceMonitor") for end in each["spec"]["endpoints"]]
    annotated = [
        each["spec"]["annotations"]["prometheus.kserve.io/path"] for each in of_kind(resources, "ClusterServingRuntime")
    ]
    routes = create_app(Settings(store=str(tmp_path))).url_map.bind("localhost")

    assert len(probes) >= 2
    for path in (*probes, *scraped, *annotated):
        routes.match(path.replace("{{.Name}}", "digits"))
    with pytest.raises(NotFound):
        routes.match("/v2/health/alive")


@pytest.mark.parametrize("name", SERVING)
def test_the_grace_covers_the_whole_drain(name: str) -> None:
    made, container, _ = the_pods(name)
    owner = render("kserve-example")[0]["spec"]["predictor"] if name in KSERVE else made.spec
    command, seconds = container["lifecycle"]["preStop"]["exec"]["command"]

    assert command == "sleep"
    drain = float(seconds) + settings_of(name).graceful_timeout + ARBITER_SECONDS
    assert drain < owner["terminationGracePeriodSeconds"] <= drain + 30


@pytest.mark.parametrize("name", SERVING)
def test_a_start_may_take_as_long_as_the_models_may(name: str) -> None:
    _, container, resources = the_pods(name)
    probe = container["startupProbe"]
    patience = probe["periodSeconds"] * probe["failureThreshold"]
    deadlines = [each["spec"]["progressDeadlineSeconds"] for each in of_kind(resources, "Deployment")]

    assert settings_of(name).load_timeout < patience
    assert all(patience < deadline for deadline in deadlines)


@pytest.mark.parametrize("name", SERVICE)
def test_a_new_pod_is_ready_before_an_old_one_goes(name: str) -> None:
    (deployment,) = of_kind(render(name), "Deployment")

    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}


@pytest.mark.parametrize("name", [*SERVING, *TRAINING, "store-command"])
def test_limits_are_not_below_requests(name: str) -> None:
    _, container, _ = the_pods(name)
    asked, most = container["resources"]["requests"], container["resources"]["limits"]

    assert {"cpu", "memory"} <= asked.keys() <= most.keys()
    assert {part: quantity(asked[part]) <= quantity(most[part]) for part in asked} == dict.fromkeys(asked, True)


@pytest.mark.parametrize("name", [*SERVING, *TRAINING])
def test_full_volumes_on_disk_do_not_get_a_pod_evicted(name: str) -> None:
    made, container, _ = the_pods(name)
    scratch = [volume["emptyDir"] for volume in made.spec["volumes"] if "emptyDir" in volume]
    on_disk = [quantity(each["sizeLimit"]) for each in scratch if each.get("medium") != "Memory"]
    limit = container["resources"]["limits"].get("ephemeral-storage")

    assert on_disk
    # KServe adds a volume for the model, as large as it is: its runtime sets no limit.
    assert sum(on_disk) <= quantity(limit) if limit else name in KSERVE


@pytest.mark.parametrize("name", SERVING)
def test_what_may_wait_fits_into_the_memory(name: str) -> None:
    settings, (_, container, _) = settings_of(name), the_pods(name)
    memory = quantity(container["resources"]["limits"]["memory"])

    # Half of it is for the models, onnxruntime and Python.
    assert 4 * settings.max_binary_bytes + settings.max_queue_bytes <= memory / 2


def test_a_gpu_is_asked_for_and_nothing_else_will_do() -> None:
    made, container, _ = the_pods("gpu")
    settings = settings_of("gpu")

    assert (settings.provider, settings.workers) == (("cuda",), 1)
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert [each["key"] for each in made.spec["tolerations"]] == ["nvidia.com/gpu"]


@pytest.mark.parametrize("name", TRAINING)
def test_training_knows_its_command_and_the_store(name: str) -> None:
    made, container, resources = the_pods(name)
    command, *arguments = container["args"]
    given = train.make_context("train", list(arguments)).params
    variables = environment(container, resources)
    (store,) = [volume["name"] for volume in made.spec["volumes"] if "persistentVolumeClaim" in volume]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}

    assert (command, given["recipe"], given["data"]) == ("train", "cnn", "mnist")
    assert variables["OVENBIRD_STORE"] == mounts[store]
    assert any(variables["KERAS_HOME"].startswith(mount) for mount in mounts.values())


def test_the_store_job_rolls_back_on_the_claim_that_the_service_reads(tmp_path: Path) -> None:
    made, container, resources = the_pods("store-command")
    claims = {volume["name"]: volume.get("persistentVolumeClaim") for volume in made.spec["volumes"]}
    (mount,) = [each for each in container["volumeMounts"] if each["name"] == "store"]
    tiny_models.publish_affine(tmp_path, "mnist-cnn")
    tiny_models.publish_affine(tmp_path, "mnist-cnn")

    done = CliRunner().invoke(ovenbird, container["args"], env={"OVENBIRD_STORE": str(tmp_path)})

    assert done.exit_code == 0, done.output
    assert Store(tmp_path).select("mnist-cnn").versions == (1,)
    assert claims["store"] == {"claimName": "model-store"}
    assert environment(container, resources)["OVENBIRD_STORE"] == mount["mountPath"]
    assert not mount.get("readOnly")
    # Run twice, it would go back by two versions.
    assert made.owner["spec"]["backoffLimit"] == 0


def test_the_service_reads_the_store_that_training_writes() -> None:
    claims = {
        volume["persistentVolumeClaim"]["claimName"]
        for name in ("cpu", "gpu", *TRAINING)
        for volume in the_pods(name)[0].spec["volumes"]
        if "persistentVolumeClaim" in volume
    }
    (mount,) = [each for each in the_pods("cpu")[1]["volumeMounts"] if each["name"] == "store"]

    assert claims == {"model-store"}
    assert mount["readOnly"]


def test_every_machine_of_a_fit_knows_its_place() -> None:
    made, container, resources = the_pods("training-machines")
    (service,) = of_kind(resources, "Service")
    job, name = made.owner["spec"], made.owner["metadata"]["name"]
    order = [entry["name"] for entry in container["env"]]
    template = environment(container, resources)["TF_CONFIG"]
    places = [
        read_place({"TF_CONFIG": template.replace("$(JOB_COMPLETION_INDEX)", str(index))})
        for index in range(job["completions"])
    ]
    (port,) = service["spec"]["ports"]
    # An indexed job's pods are called JOB-INDEX, below the Service of their subdomain.
    hosts = tuple(f"{name}-{index}.{service['metadata']['name']}:{port['port']}" for index in range(job["completions"]))

    assert places == [Place(hosts, index) for index in range(job["completions"])]
    assert (job["completionMode"], job["parallelism"]) == ("Indexed", job["completions"])
    assert made.spec["subdomain"] == service["metadata"]["name"]
    assert (service["spec"]["clusterIP"], service["spec"]["publishNotReadyAddresses"]) == ("None", True)
    # Kubernetes fills in variables that stand before the one that names them.
    assert order.index("JOB_COMPLETION_INDEX") < order.index("TF_CONFIG")

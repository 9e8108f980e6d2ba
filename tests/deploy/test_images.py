"""The images, built and run for real: small, hardened, stopped without losing a request; training feeds the service.

`make images-test` runs this; it takes minutes and gigabytes, so that `make test` does without.
"""

from __future__ import annotations

import http.client
import json
import math
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import tiny_models
from containers import BASE_IMAGE, HARDENED, Container, Docker, docker_engine, ensure_base
from service_process import affine_body, infer_body, wait_for
from system_parts import require_program

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.environ.get("IMAGES") != "1", reason="builds images for minutes: make images-test"),
]

PUBLISHED = ["--publish", "127.0.0.1::8000"]
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    with docker_engine(tmp_path_factory.mktemp("docker")) as engine:
        ensure_base(engine, tmp_path_factory.mktemp("base"))
        yield engine


@pytest.fixture(scope="module")
def image(docker: Docker) -> str:
    return docker.build("Dockerfile", "ovenbird:test", "--build-arg=VERSION=1.2.3")


@pytest.fixture(scope="module")
def training_image(docker: Docker) -> str:
    return docker.build("Dockerfile.training", "ovenbird-training:test")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A folder of one model that other users may read."""
    tiny_models.publish_affine(tmp_path / "store")
    for path in (tmp_path, *tmp_path.rglob("*")):
        path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
    return tmp_path / "store"


def serving(store: Path | str) -> list[str]:
    mounted = ["--volume", f"{store}:/models:ro", "--env", "OVENBIRD_STORE=/models"]
    return [*HARDENED, *PUBLISHED, "--memory", "512m", *mounted]


def is_ready(container: Container) -> bool:
    assert container.state()["Running"], container.docker("logs", container.name)
    return httpx.get(f"{container.url}/v2/health/ready").status_code == 200


def test_the_service_image_adds_less_than_350_mb_to_its_base(docker: Docker, image: str) -> None:
    size, base = (docker.inspect(name)["Size"] / MEGABYTE for name in (image, BASE_IMAGE))

    print(f"{size:.0f} MB, of which {base:.0f} MB are the base")
    assert size - base < 350


def test_it_runs_hardened_and_predicts(docker: Docker, image: str, store: Path) -> None:
    with docker.container(image, options=serving(store)) as container:
        wait_for(lambda: is_ready(container), "the service in the container", seconds=60)
        answer = httpx.post(f"{container.url}/v2/models/double/infer", json=affine_body([1, 2, 3]))
        health = wait_for(
            lambda: health if (health := container.state()["Health"]["Status"]) != "starting" else None,
            "the health check", seconds=60,
        )  # fmt: skip
        status = dict(line.split(":\t") for line in container.shell("cat /proc/1/status").splitlines() if ":\t" in line)
        wrote = container.shell("touch /x; touch /srv/x; touch /models/x; touch /tmp/x && echo scratch")
        left = container.shell("ls /opt/venv/bin | grep pip; find /opt /run -name ca.crt; env | grep TELEMETRY | sort")

    assert answer.json()["outputs"][0]["data"] == [2, 4, 6]
    assert health == "healthy"
    assert status["Uid"].split() == ["10001"] * 4
    assert (int(status["CapEff"], 16), status["NoNewPrivs"]) == (0, "1")
    assert wrote.count("Read-only file system") == 3
    assert wrote.endswith("scratch")
    assert left.splitlines() == ["ORT_DISABLE_TELEMETRY=1", "ORT_TELEMETRY_DISABLED=1"]


def test_a_container_that_is_stopped_answers_the_request_that_has_begun(
    docker: Docker, image: str, store: Path
) -> None:
    body = json.dumps(affine_body([1, 2, 3])).encode()

    with docker.container(image, options=serving(store)) as container:
        wait_for(lambda: is_ready(container), "the service in the container", seconds=60)
        connection = http.client.HTTPConnection(urlsplit(container.url).netloc, timeout=30)
        connection.putrequest("POST", "/v2/models/double/infer")
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body[:20])
        url = container.url
        stopping = threading.Thread(target=docker, args=("stop", "--time", "40", container.name))
        stopping.start()
        wait_for(lambda: not answers(url), "the service to take no more connections", seconds=30)
        connection.send(body[20:])
        answer = connection.getresponse()
        found = json.loads(answer.read())
        stopping.join()
        state = container.state()

    assert (answer.status, found["outputs"][0]["data"]) == (200, [2, 4, 6])
    assert (state["ExitCode"], state["OOMKilled"]) == (0, False)


def answers(url: str) -> bool:
    try:
        httpx.get(f"{url}/v2/health/live")
    except httpx.TransportError:
        return False
    return True


def test_the_image_says_what_is_in_it(docker: Docker, image: str) -> None:
    labels = docker.inspect(image)["Config"]["Labels"]
    listed = json.loads(docker("run", "--rm", "--entrypoint=cat", image, "/opt/venv/share/sbom/ovenbird.cdx.json"))
    ask = "import importlib.metadata as m; print(*sorted(f'{d.name}=={d.version}' for d in m.distributions()))"
    installed = docker("run", "--rm", "--entrypoint=python", image, "-c", ask).split()

    assert labels["org.opencontainers.image.version"] == "1.2.3"
    assert listed["bomFormat"] == "CycloneDX"
    own = listed["metadata"]["component"]
    assert sorted(f"{part['name']}=={part['version']}" for part in (*listed["components"], own)) == installed


def test_what_the_training_container_publishes_the_service_container_serves(
    docker: Docker, image: str, training_image: str
) -> None:
    with docker.volume() as volume, docker.container(image, options=serving(volume)) as service:
        wait_for(lambda: is_ready(service), "the service in the container", seconds=60)
        said = docker(
            "run", "--rm", *HARDENED, "--memory", "3g", "--volume", f"{volume}:/models", training_image,
            "train", "dnn", "--data", "digits", "--set", "epochs=8", "--store", "/models",
        )  # fmt: skip
        wait_for(
            lambda: httpx.get(f"{service.url}/v2/models/digits-dnn/ready").status_code == 200, "the model", seconds=60
        )
        metadata = httpx.get(f"{service.url}/v2/models/digits-dnn").json()
        (taken,) = metadata["inputs"]
        shape = [1, *taken["shape"][1:]]
        body = infer_body(taken["name"], [0] * math.prod(shape), shape=shape, datatype=taken["datatype"])
        answer = httpx.post(f"{service.url}/v2/models/digits-dnn/infer", json=body)

    assert "published  /models/digits-dnn/1" in said
    assert metadata["versions"] == ["1"]
    assert answer.status_code == 200


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.training"])
def test_hadolint_finds_nothing(name: str) -> None:
    linted = subprocess.run(
        [require_program("hadolint"), Path(__file__).parents[2] / "deploy/docker" / name],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert (linted.returncode, linted.stdout) == (0, "")

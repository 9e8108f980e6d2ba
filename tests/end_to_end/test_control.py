"""Loading and unloading on request: one call means every worker, or none."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import tiny_models
import tritonclient.http as triton
from service_process import OVENBIRD, RunningService, affine_body, running, wait_for


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    tiny_models.publish_affine(folder, "double")
    tiny_models.publish_affine(folder, "triple", factor=3)
    return folder


@pytest.fixture(params=[1, 3], ids=["one-worker", "three-workers"])
def service(request: pytest.FixtureRequest, store: Path) -> Iterator[RunningService]:
    with running(store, control="explicit", load="double", workers=request.param) as service:
        ready = {"model": "double", "state": "READY"}
        wait_for(lambda: service.metric("ovenbird_model_state", **ready) == request.param, "all workers to be ready")
        yield service


def call(service: RunningService, model: str, verb: str, **options: object) -> httpx.Response:
    return httpx.post(f"{service.url}/v2/repository/models/{model}/{verb}", timeout=60, **options)  # type: ignore[arg-type]


def statuses(service: RunningService, model: str, *, times: int = 30) -> set[int]:
    """Ask often enough, each time over a new connection, that every worker has its turn."""
    url = f"{service.url}/v2/models/{model}/infer"
    return {httpx.post(url, json=affine_body([1, 2, 3])).status_code for _ in range(times)}


def factors(service: RunningService, model: str, *, times: int = 30) -> set[float]:
    url = f"{service.url}/v2/models/{model}/infer"
    return {httpx.post(url, json=affine_body([1, 2, 3])).json()["outputs"][0]["data"][0] for _ in range(times)}


def test_only_what_was_named_serves_at_first(service: RunningService) -> None:
    assert statuses(service, "double") == {200}
    assert statuses(service, "triple") == {404}


def test_the_index_shows_what_can_be_loaded_and_the_error_says_how(service: RunningService) -> None:
    entry = service.index()["triple", 1]
    refused = httpx.post(f"{service.url}/v2/models/triple/infer", json=affine_body([1, 2, 3]))

    assert (entry["state"], entry["reason"]) == ("UNAVAILABLE", "not loaded")
    assert refused.json()["error"].endswith("control is explicit: load it first")


def test_a_loaded_model_serves_in_every_worker_when_the_call_returns(service: RunningService) -> None:
    answer = call(service, "triple", "load")

    assert (answer.status_code, answer.json()) == (200, {})
    assert factors(service, "triple") == {3}


def test_an_unloaded_model_is_gone_from_every_worker_when_the_call_returns(service: RunningService) -> None:
    answer = call(service, "double", "unload", json={"parameters": {"unload_dependents": True}})

    assert (answer.status_code, answer.json()) == (200, {})
    # 503 as long as it finishes what it was given, 404 from then on.
    assert statuses(service, "double") <= {404, 503}
    wait_for(lambda: statuses(service, "double") == {404}, "it to be unloaded")


def test_a_new_version_serves_when_its_model_is_loaded_again_and_not_before(
    service: RunningService, store: Path
) -> None:
    tiny_models.publish_affine(store, "double", factor=5)
    before = factors(service, "double")

    call(service, "double", "load")

    assert (before, factors(service, "double")) == ({2}, {5})
    assert service.wait_for_state("double", 1, "UNAVAILABLE")["reason"] == "not chosen by the version policy latest:1"


def test_a_version_that_cannot_serve_is_refused_with_the_reason_and_the_old_one_serves_on(
    service: RunningService, store: Path
) -> None:
    bad = tiny_models.publish_affine(store, "double", factor=5)
    bad.onnx_path.write_bytes(b"overwritten")

    answer = call(service, "double", "load")

    assert answer.status_code == 400
    assert "version 2 of model 'double' cannot serve" in answer.json()["error"]
    assert factors(service, "double") == {2}


def test_a_mended_version_can_be_loaded(service: RunningService, store: Path) -> None:
    bad = tiny_models.publish_affine(store, "double", factor=5)
    good = bad.onnx_path.read_bytes()
    bad.onnx_path.write_bytes(b"overwritten")
    call(service, "double", "load")
    bad.onnx_path.write_bytes(good)

    assert call(service, "double", "load").status_code == 200
    assert factors(service, "double") == {5}


@pytest.mark.parametrize(
    ("model", "verb", "body", "status", "message"),
    [
        pytest.param("nobody", "load", b"", 404, "unknown model 'nobody'", id="load-unknown"),
        pytest.param("nobody", "unload", b"", 404, "unknown model 'nobody'", id="unload-unknown"),
        pytest.param(
            "triple", "load", b'{"version_policy": {}}', 400, "version_policy: not known here", id="not-nested"
        ),
        pytest.param("triple", "load", b"{", 400, "not JSON", id="not-json"),
        pytest.param("triple", "load", b"[]", 400, "expected an empty body or a JSON object", id="list"),
        pytest.param("triple", "load", b'{"parameters": 1}', 400, "expected a JSON object", id="parameters"),
        pytest.param("triple", "load", b'{"parameters": {"config": {}}}', 400, "object in a string", id="config"),
        pytest.param(
            "triple",
            "load",
            b'{"parameters": {"config": "{\\"backend\\": \\"x\\"}"}}',
            400,
            "only name and version_policy can be set here: backend",
            id="config-that-is-not-supported",
        ),
        pytest.param(
            "triple",
            "load",
            b'{"parameters": {"file:1/model.onnx": "AAAA"}}',
            400,
            "parameters.file:1/model.onnx: not supported; publish the files into the store",
            id="files",
        ),
        pytest.param("double", "unload", b'{"parameters": {"unload_dependents": 1}}', 400, "true or false", id="flag"),
    ],
)
def test_a_wrong_call_is_refused_and_changes_nothing(
    service: RunningService, model: str, verb: str, body: bytes, status: int, message: str
) -> None:
    answer = call(service, model, verb, content=body)

    assert answer.status_code == status
    assert message in answer.json()["error"]
    assert factors(service, "double", times=5) == {2}


def test_the_triton_client_manages_models(service: RunningService) -> None:
    with triton.InferenceServerClient(f"127.0.0.1:{service.port}", network_timeout=60) as client:
        client.load_model("triple")
        loaded = client.get_model_repository_index()
        client.unload_model("double")
        ready = client.is_model_ready("triple")

    assert {entry["name"] for entry in loaded} == {"double", "triple"}
    assert ready


def test_a_worker_that_comes_later_serves_what_was_agreed(store: Path) -> None:
    with running(store, control="explicit", load="double", workers=2) as service:
        changed = [call(service, "triple", "load"), call(service, "double", "unload")]
        assert [answer.text for answer in changed] == ["{}", "{}"]
        children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children")
        before = set(children.read_text().split())
        for victim in before:
            os.kill(int(victim), signal.SIGKILL)
        wait_for(lambda: len(set(children.read_text().split()) - before) == 2, "two new workers")
        wait_for(lambda: statuses(service, "triple", times=10) == {200}, "them to serve")

        assert statuses(service, "double") <= {404, 503}
        assert call(service, "double", "load").status_code == 200
        assert statuses(service, "double") == {200}


@pytest.mark.parametrize("control", ["poll", "none"])
def test_where_the_store_decides_a_call_is_refused(store: Path, control: str) -> None:
    with running(store, control=control) as service:
        answer = call(service, "double", "unload")

        assert answer.status_code == 400
        assert "only with control=explicit" in answer.json()["error"]
        assert factors(service, "double", times=3) == {2}


def test_the_index_is_that_of_all_workers(store: Path) -> None:
    with running(store, workers=3, poll_interval=0.1) as service:
        indexes = [service.index() for _ in range(20)]

    assert all(index == indexes[0] for index in indexes)
    assert {entry["state"] for entry in indexes[0].values()} == {"READY"}


def store_command(service: RunningService, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*OVENBIRD, "store", *words, "--url", service.url], capture_output=True, text=True, timeout=120
    )


def test_the_command_loads_unloads_and_lists(service: RunningService) -> None:
    assert store_command(service, "load", "triple").stdout == "triple is loaded\n"
    assert statuses(service, "triple") == {200}
    assert store_command(service, "unload", "double").stdout == "double is unloaded\n"
    assert statuses(service, "double") == {404}

    listed = store_command(service, "index").stdout.splitlines()
    assert [line.split()[:2] for line in listed if "UNLOADING" not in line] == [
        ["double@1", "UNAVAILABLE"],
        ["triple@1", "READY"],
    ]

    refused = store_command(service, "load", "nobody")
    assert (refused.returncode, refused.stderr.startswith("Error: unknown model 'nobody'")) == (1, True)


def test_a_load_may_name_the_versions_and_every_worker_serves_them(service: RunningService, store: Path) -> None:
    for factor in (5, 7):
        tiny_models.publish_affine(store, factor=factor)

    assert store_command(service, "load", "double", "--policy", "specific:1,3").returncode == 0

    client = triton.InferenceServerClient(f"127.0.0.1:{service.port}")
    assert client.get_model_metadata("double")["versions"] == ["1", "3"]
    assert factors(service, "double") == {7}
    assert factors(service, "double/versions/1") == {2}
    client.load_model("double", config='{"version_policy": {"latest": {"num_versions": 2}}}')
    assert client.get_model_metadata("double")["versions"] == ["2", "3"]
    assert factors(service, "double/versions/2") == {5}


def test_a_rollback_is_followed_by_a_load(service: RunningService, store: Path) -> None:
    tiny_models.publish_affine(store, factor=5)
    assert store_command(service, "load", "double").returncode == 0
    assert factors(service, "double") == {5}

    rolled_back = subprocess.run(
        [*OVENBIRD, "store", "rollback", "double", "--store", str(store)], capture_output=True, text=True, timeout=60
    )
    assert rolled_back.stdout == "withdrawn: double@2\ndouble: serves 1\n"
    assert store_command(service, "load", "double").returncode == 0
    assert factors(service, "double") == {2}

"""Execution providers for real: what was asked for, what a session got, and what is said of it.

OpenVINO's build of onnxruntime lies in an environment of its own. It has no graphics processor there, and onnxruntime
passes over that in silence: what a missing CUDA driver does, on any machine.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
import tiny_models
from service_process import OVENBIRD, RunningService, affine_body, free_port, running, wait_for
from system_parts import require_openvino

CPU, CUDA, OPENVINO = "CPUExecutionProvider", "CUDAExecutionProvider", "OpenVINOExecutionProvider"
NO_SUCH_DEVICE = '{"openvino": {"device_type": "GPU"}}'

in_openvinos_environment = pytest.mark.system


@pytest.fixture
def store(tmp_path: Path) -> Path:
    tiny_models.publish_affine(tmp_path / "store")
    return tmp_path / "store"


def properties(service: RunningService, model: str = "double") -> dict[str, str]:
    answer: dict[str, dict[str, str]] = httpx.get(f"{service.url}/v2/models/{model}").json()
    return {name: value for name, value in answer["properties"].items() if name.startswith("provider")}


def doubled(service: RunningService, model: str = "double") -> Any:
    answer = httpx.post(f"{service.url}/v2/models/{model}/infer", json=affine_body([1, 2, 3])).json()
    return answer["outputs"][0]["data"]


def test_a_fallback_that_was_allowed_is_said_in_metadata_log_metric_and_page(store: Path) -> None:
    with running(store, provider="cuda,cpu") as service:
        said, log = properties(service), service.log()
        fell_back = service.metric("ovenbird_provider_fallback", model="double", version="1")
        page = httpx.get(service.url, headers={"Accept": "text/html"}).text
        answer = doubled(service)

    assert said == {"provider": CPU, "providers": CPU, "provider_asked": CUDA}
    assert f"double@1 runs on {CPU}, not on {CUDA}: {CUDA}: not in this build of onnxruntime, which has" in log
    assert fell_back == 1
    assert f"{CPU}, not {CUDA}" in page
    assert answer == [2, 4, 6]


def test_the_provider_that_was_asked_for_is_no_fallback(store: Path) -> None:
    with running(store, provider=CPU, require_provider="true") as service:
        said, log = properties(service), service.log()
        text = httpx.get(f"{service.url}/metrics").text

    assert said == {"provider": CPU, "providers": CPU}
    assert "WARNING" not in log
    assert 'ovenbird_provider_fallback{model="double",version="1"} 0.0' in text


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--provider", "cuda"], id="one-alone"),
        pytest.param(["--provider", "tensorrt,cuda"], id="all-of-the-list"),
        pytest.param(["--provider", "cuda,cpu", "--require-provider"], id="the-first-is-required"),
    ],
)
def test_what_this_build_cannot_give_is_refused_in_one_line(store: Path, arguments: list[str]) -> None:
    shown = subprocess.run(
        [*OVENBIRD, "serve", "--store", str(store), "--port", str(free_port()), *arguments],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert shown.returncode == 1
    assert shown.stderr.count("\n") == 1
    assert "not in this build of onnxruntime, which has" in shown.stderr
    assert "install the extra 'gpu'" in shown.stderr


def test_a_provider_that_a_serving_json_cannot_have_refuses_that_model_alone(store: Path) -> None:
    for model, wanted in (("typo", "gpu"), ("elsewhere", "cuda")):
        tiny_models.publish_affine(store, model)
        (store / model / "serving.json").write_text(json.dumps({"providers": [wanted]}))

    with running(store) as service:
        typo = service.wait_for_state("typo", 1, "UNAVAILABLE")["reason"]
        elsewhere = service.wait_for_state("elsewhere", 1, "UNAVAILABLE")["reason"]
        answer = doubled(service)

    assert "did you mean cuda?" in typo
    assert "not in this build of onnxruntime" in elsewhere
    assert answer == [2, 4, 6]


@in_openvinos_environment
@pytest.mark.parametrize("provider", ["openvino", "OpenVINOExecutionProvider,CPUExecutionProvider"])
def test_openvino_answers_as_the_cpu_does(store: Path, provider: str) -> None:
    command = [require_openvino(), "serve", "--provider", provider, "--require-provider"]
    options = '{"openvino": {"device_type": "CPU", "num_of_threads": 1}}'

    with running(store, command=command, provider_options=options, threads=1) as service:
        said, log, answer = properties(service), service.log(), doubled(service)
        configured = httpx.get(f"{service.url}/v2/models/double/config").json()
        on_openvino = service.metric("ovenbird_model_info", model="double", provider=OPENVINO)
        fell_back = service.metric("ovenbird_provider_fallback", model="double")

    assert said == {"provider": OPENVINO, "providers": f"{OPENVINO},{CPU}"}
    assert f"ready: double@1 on {OPENVINO}" in log
    assert (on_openvino, fell_back) == (1, 0)
    # The processors are shared out on the CPU's own provider alone.
    assert configured["instance_group"][0]["count"] == 1
    assert answer == [2, 4, 6]


@in_openvinos_environment
def test_a_fallback_that_onnxruntime_keeps_to_itself_is_found_out(store: Path) -> None:
    command = [require_openvino(), "serve", "--provider", "openvino,cpu"]

    with running(store, command=command, provider_options=NO_SUCH_DEVICE) as service:
        said, log, answer = properties(service), service.log(), doubled(service)
        fell_back = service.metric("ovenbird_provider_fallback", model="double", version="1")

    assert said == {"provider": CPU, "providers": CPU, "provider_asked": OPENVINO}
    assert f"double@1 runs on {CPU}, not on {OPENVINO}: {OPENVINO}: the session got {CPU}" in log
    assert fell_back == 1
    assert answer == [2, 4, 6]


@in_openvinos_environment
@pytest.mark.parametrize(
    ("arguments", "options", "reason"),
    [
        pytest.param(["openvino"], NO_SUCH_DEVICE, f"the session got {CPU}", id="nothing-else-was-allowed"),
        pytest.param(
            ["openvino,cpu", "--require-provider"], NO_SUCH_DEVICE, f"the session got {CPU}", id="the-first-is-required"
        ),
        pytest.param(["openvino"], '{"openvino": {"frobnicate": 1}}', "frobnicate", id="an-option-that-there-is-not"),
    ],
)
def test_a_service_whose_models_do_not_get_their_provider_is_not_ready(
    store: Path, arguments: list[str], options: str, reason: str
) -> None:
    command = [require_openvino(), "serve", "--provider", *arguments]

    with running(store, command=command, wait=False, provider_options=options) as service:
        entry = service.wait_for_state("double", 1, "UNAVAILABLE")
        ready = httpx.get(f"{service.url}/v2/health/ready")
        asked = httpx.post(f"{service.url}/v2/models/double/infer", json=affine_body([1, 2, 3]))

    assert f"{OPENVINO}: " in entry["reason"]
    assert reason in entry["reason"]
    assert ready.status_code == 503
    assert (asked.status_code, entry["reason"] in asked.json()["error"]) == (503, True)


@in_openvinos_environment
def test_each_model_has_its_own_provider(store: Path) -> None:
    tiny_models.publish_affine(store, "triple", factor=3.0)
    serving = {"providers": [["OpenVINOExecutionProvider", {"num_of_threads": 1}], "cpu"], "require_provider": True}
    (store / "triple" / "serving.json").write_text(json.dumps(serving))

    command = [require_openvino(), "serve", "--provider", "cpu"]
    with running(store, command=command, poll_interval=0.1) as service:
        said = {model: properties(service, model)["provider"] for model in ("double", "triple")}
        answers = doubled(service), doubled(service, "triple")
        (store / "triple" / "serving.json").write_text('{"providers": ["cpu"]}')
        wait_for(lambda: properties(service, "triple")["provider"] == CPU, "triple on the CPU")
        on_openvino = service.metric("ovenbird_model_info", provider=OPENVINO)
        answer_of_the_cpu = doubled(service, "triple")

    assert said == {"double": CPU, "triple": OPENVINO}
    assert answers == ([2, 4, 6], [3, 6, 9])
    assert on_openvino == 0
    assert answer_of_the_cpu == [3, 6, 9]

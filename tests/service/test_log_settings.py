"""Triton's logging extension, as its own client sees it, through both routes and in every worker."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import tiny_models
import tritonclient.http as triton
from service_process import RunningService, running, wait_for
from tritonclient.utils import InferenceServerException

from service.telemetry.logs import LogLevels

AT_START = {
    "log_file": "",
    "log_info": True,
    "log_warning": True,
    "log_error": True,
    "log_verbose_level": 0,
    "log_format": "default",
}


@pytest.fixture
def triton_client(service: RunningService) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"127.0.0.1:{service.port}") as client:
        yield client
        client.update_log_settings(AT_START)


def test_what_is_logged_is_shown_and_what_is_named_is_changed(triton_client: triton.InferenceServerClient) -> None:
    before = triton_client.get_log_settings()

    answer = triton_client.update_log_settings({"log_info": False, "log_verbose_level": 3})

    assert before == AT_START
    assert answer == triton_client.get_log_settings() == AT_START | {"log_info": False, "log_verbose_level": 3}


def test_the_log_holds_what_was_chosen(
    service: RunningService, client: httpx.Client, triton_client: triton.InferenceServerClient
) -> None:
    def fail() -> int:
        """Make a request fail; tell how many lines the log has of such requests."""
        assert client.post("/v2/models/double/infer", json={}).status_code == 400
        return service.log().count("a request to 'double' failed: MalformedBody")

    quiet = fail()
    triton_client.update_log_settings({"log_verbose_level": 1})
    verbose = fail()
    triton_client.update_log_settings({"log_verbose_level": 0})
    quiet_again = fail()

    assert (verbose - quiet, quiet_again - verbose) == (1, 0)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(b"", "not JSON", id="empty"),
        pytest.param(b"[]", "expected a JSON object", id="list"),
        pytest.param(b'{"log_loud": true}', "'log_loud': no such log setting", id="unknown"),
        pytest.param(b'{"info": true}', "'info': no such log setting", id="without-its-prefix"),
        pytest.param(b'{"log_info": 1}', "log_info: expected true or false", id="number"),
        pytest.param(b'{"log_verbose_level": true}', "log_verbose_level: expected a whole number", id="boolean"),
        pytest.param(b'{"log_verbose_level": -1}', "log_verbose_level: expected a whole number", id="negative"),
        pytest.param(b'{"log_verbose_level": 4294967296}', "from 0 to 4294967295", id="too-large"),
        pytest.param(b'{"log_file": "/tmp/x"}', "log_file: cannot be changed while the service runs", id="file"),
        pytest.param(b'{"log_format": "ISO8601"}', "log_format: cannot be changed", id="format"),
        pytest.param(b'{"log_info": false, "log_file": "x"}', "log_file: cannot be changed", id="one-of-two"),
    ],
)
def test_a_wrong_setting_is_refused_and_changes_nothing(client: httpx.Client, body: bytes, message: str) -> None:
    answer = client.post("/v2/logging", content=body)

    assert answer.status_code == 400
    assert message in answer.json()["error"]
    assert client.get("/v2/logging").json() == AT_START


def test_the_client_raises_what_the_service_says(triton_client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="log_file: cannot be changed"):
        triton_client.update_log_settings({"log_file": "/tmp/log"})


@pytest.mark.parametrize(
    ("level", "chosen"),
    [
        ("debug", {"info": 1, "warning": 1, "error": 1, "verbose_level": 1}),
        ("info", {"info": 1, "warning": 1, "error": 1, "verbose_level": 0}),
        ("warning", {"info": 0, "warning": 1, "error": 1, "verbose_level": 0}),
        ("error", {"info": 0, "warning": 0, "error": 1, "verbose_level": 0}),
    ],
)
def test_the_level_that_a_service_starts_with(level: str, chosen: dict[str, Any]) -> None:
    assert LogLevels(level).chosen() == chosen


@pytest.mark.parametrize("control", ["none", "explicit"])
def test_a_change_holds_at_once_in_every_worker_and_in_those_that_come_later(tmp_path: Path, control: str) -> None:
    tiny_models.publish_affine(tmp_path / "store")

    def fail(times: int) -> int:
        """Make requests fail over as many connections; tell how many lines the log has of such requests."""
        for _ in range(times):
            httpx.post(f"{service.url}/v2/models/nobody/infer", content=b"{}")
        return service.log().count("a request to 'nobody' failed: UnknownModel")

    with running(tmp_path / "store", workers=3, control=control) as service:
        quiet = fail(10)
        httpx.post(f"{service.url}/v2/logging", json={"log_verbose_level": 1})
        verbose = fail(10)
        children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children")
        before = set(children.read_text().split())
        for worker in before:
            os.kill(int(worker), signal.SIGKILL)
        wait_for(lambda: len(set(children.read_text().split()) - before) == 3, "three new workers")
        wait_for(lambda: httpx.get(f"{service.url}/v2/health/ready").status_code == 200, "them to serve")
        verbose_later = fail(10)

    assert (quiet, verbose, verbose_later) == (0, 10, 20)

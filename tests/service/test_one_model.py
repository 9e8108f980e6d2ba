"""`ovenbird serve --model-name`: one model's folder under a name of its own, as KServe's clients ask for it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
import tiny_models
from click.testing import CliRunner
from service_process import RunningService, affine_body, running, wait_for

from model_store import STARTER_MODELS, OneModelStore
from service.cli import serve
from service.repository import Repository
from service.settings import Settings
from service.telemetry.metrics import Metrics


def asked(service: RunningService, name: str) -> tuple[list[float], list[float]]:
    """One row's answer in both of KServe's protocols."""
    second = httpx.post(f"{service.url}/v2/models/{name}/infer", json=affine_body([1, 2, 3]))
    first = httpx.post(f"{service.url}/v1/models/{name}:predict", json={"instances": [[1, 2, 3]]})
    assert (second.status_code, first.status_code) == (200, 200), (second.text, first.text)
    return second.json()["outputs"][0]["data"], first.json()["predictions"][0]


def test_one_versions_files_are_served_under_the_name(tmp_path: Path) -> None:
    published = tiny_models.publish_affine(tmp_path / "store", "double")

    with running(published.path, model_name="my-isvc") as service:
        answers = asked(service, "my-isvc")
        ready = httpx.get(f"{service.url}/v2/models/my-isvc/ready").status_code
        other = httpx.get(f"{service.url}/v2/models/double/ready").status_code
        index = list(service.index())

    assert answers == ([2, 4, 6], [2, 4, 6])
    assert (ready, other, index) == (200, 404, [("my-isvc", 1)])


def test_a_models_folder_is_watched(tmp_path: Path) -> None:
    folder = tiny_models.put(tmp_path, "double", tiny_models.affine(2)).parents[1]

    with running(folder, model_name="my-isvc", poll_interval=0.1) as service:
        service.wait_for_state("my-isvc", 1, "READY")
        before = asked(service, "my-isvc")
        tiny_models.put(tmp_path, "double", tiny_models.affine(3), version=2)
        service.wait_for_state("my-isvc", 2, "READY")
        after = asked(service, "my-isvc")

    assert (before, after) == (([2, 4, 6],) * 2, ([3, 6, 9],) * 2)


def test_a_folder_without_a_model_is_not_ready_and_says_why(tmp_path: Path) -> None:
    with running(tmp_path, wait=False, model_name="my-isvc") as service:
        wait_for(lambda: "serving 0 models" in service.log(), "the service", seconds=30)
        ready = httpx.get(f"{service.url}/v2/models/my-isvc/ready").status_code
        server = httpx.get(f"{service.url}/v2/health/ready")
        log = service.log()

    reason = f"'{tmp_path}' holds no model: expected model.onnx, or folders called 1, 2, … that hold one"
    assert ready == 404
    assert (server.status_code, server.json()) == (503, {"ready": False, "reason": reason})
    assert reason in log


def test_a_model_of_a_group_is_served_without_the_others() -> None:
    store = OneModelStore(STARTER_MODELS / "mnist-autoencoder-encoder", "my-isvc")

    async def main() -> list[str]:
        repository = Repository(store, Settings(control="none"), Metrics())
        await repository.start()
        try:
            return repository.names()
        finally:
            await repository.stop()

    assert store.resolve("my-isvc").manifest.group is not None
    assert asyncio.run(main()) == ["my-isvc"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ["--model-name", "wine"],
            "model_name says how to call the one model in a folder: store must name the folder",
        ),
        (["--store", ".", "--model-name", "a/b"], "'a/b': expected letters, digits, '.', '_' and '-', starting with"),
        (
            ["--store", ".", "--model-name", "wine", "--control", "explicit", "--load", "beer"],
            "Error: unknown model 'beer'",
        ),
    ],
)
def test_wrong_use_is_told_in_one_line(arguments: list[str], complaint: str) -> None:
    shown = CliRunner().invoke(serve, arguments)

    assert shown.exit_code in (1, 2)
    assert complaint in shown.output.splitlines()[-1]

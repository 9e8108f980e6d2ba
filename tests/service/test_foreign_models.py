"""Models of other frameworks, as their exporters write them, answer what the framework itself answered.

The files, and the answers that the frameworks gave, are made by tests/support/foreign/make.py.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from service_process import FRONTS, RunningService, running

from model_store import Store
from service.errors import NotReady
from service.repository import Repository
from service.settings import Settings
from service.telemetry.metrics import Metrics
from service.tensors import DATATYPES

FOREIGN = Path(__file__).parents[1] / "support" / "foreign"
MODELS = sorted(path.parent.name for path in FOREIGN.glob("*/model.onnx"))


def put(store: Path, name: str, *, without: str = "") -> Path:
    """Copy a framework's files into a store, as if they had lain there for a while."""
    folder = store / name / "1"
    folder.mkdir(parents=True)
    for path in (FOREIGN / name).glob("model.onnx*"):
        if path.name != without:
            shutil.copy(path, folder)
            os.utime(folder / path.name, (time.time() - 60,) * 2)
    return folder


def answers(name: str, kind: str) -> dict[str, np.ndarray[Any, Any]]:
    """Inputs, or the outputs that the framework gave, by name."""
    with np.load(FOREIGN / name / "answers.npz") as arrays:
        return {key.removeprefix(f"{kind}."): arrays[key] for key in arrays if key.startswith(f"{kind}.")}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("foreign") / "store"
    for name in MODELS:
        put(folder, name)
    return folder


@pytest.fixture(scope="module", params=list(FRONTS))
def service(request: pytest.FixtureRequest, store: Path) -> Iterator[RunningService]:
    with running(store, command=FRONTS[request.param]) as service:
        yield service


def test_each_framework_is_here() -> None:
    assert MODELS == [
        "pytorch", "pytorch-external-data", "pytorch-legacy", "pytorch-legacy-batch-of-1", "xgboost",
    ]  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_it_answers_what_its_framework_answered(service: RunningService, name: str) -> None:
    given = []
    for key, array in answers(name, "input").items():
        given.append(triton.InferInput(key, list(array.shape), DATATYPES[array.dtype.name]))
        given[-1].set_data_from_numpy(array)

    with triton.InferenceServerClient(f"127.0.0.1:{service.port}") as client:
        result = client.infer(name, given)

    for key, wanted in answers(name, "output").items():
        np.testing.assert_allclose(result.as_numpy(key), wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in MODELS if name != "pytorch-legacy-batch-of-1"])
def test_it_answers_rows_one_by_one_over_v1_as_well(client: httpx.Client, name: str) -> None:
    (inputs,), wanted = answers(name, "input").values(), answers(name, "output")

    def ask(row: int) -> Any:
        answer = client.post(f"/v1/models/{name}:predict", json={"instances": inputs[row : row + 1].tolist()})
        return answer.json()["predictions"][0]

    predictions = [ask(row) for row in range(3)]

    for key, array in wanted.items():
        received = [prediction[key] if len(wanted) > 1 else prediction for prediction in predictions]
        np.testing.assert_allclose(received, array[:3], rtol=1e-4, atol=1e-6)


def test_a_batch_that_was_exported_fixed_is_refused_in_another_size(client: httpx.Client) -> None:
    rows = np.zeros((2, 1, 8, 8)).tolist()

    answer = client.post("/v1/models/pytorch-legacy-batch-of-1:predict", json={"instances": rows})

    assert answer.status_code == 400
    assert "expected shape [1, 1, 8, 8], received [2, 1, 8, 8]" in answer.json()["error"]


def with_repository(store: Path, work: Any) -> None:
    async def main() -> None:
        repository = Repository(Store(store), Settings(control="none", max_batch_size=8), Metrics())
        await repository.start()
        try:
            await work(repository)
        finally:
            await repository.stop()

    asyncio.run(main())


def test_weights_in_a_file_of_their_own_belong_to_the_model(tmp_path: Path) -> None:
    weights = put(tmp_path, "pytorch-external-data") / "model.onnx.data"
    rows = answers("pytorch-external-data", "input")

    async def work(repository: Repository) -> None:
        model = repository.get("pytorch-external-data")
        before = await model.predict(rows, timeout=5)
        content = bytearray(weights.read_bytes())
        weights.write_bytes(bytes(len(content)))
        after = await model.predict(rows, timeout=5)
        await repository.refresh()
        await repository.refresh()
        loaded_again = repository.get("pytorch-external-data")

        np.testing.assert_array_equal(after["probabilities"], before["probabilities"])
        assert loaded_again.description.digest != model.description.digest
        anew = await loaded_again.predict(rows, timeout=5)
        assert not np.allclose(anew["probabilities"], before["probabilities"])

    with_repository(tmp_path, work)


def test_a_model_whose_weights_were_left_behind_is_refused_with_the_way_out(tmp_path: Path) -> None:
    put(tmp_path, "pytorch-external-data", without="model.onnx.data")

    async def work(repository: Repository) -> None:
        with pytest.raises(NotReady, match=r"beside model\.onnx, or save both in one \(PyTorch: external_data=False\)"):
            repository.get("pytorch-external-data")

    with_repository(tmp_path, work)

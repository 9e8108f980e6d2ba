"""The models that ship: whole, small, licensed, and as good through HTTP as they say."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from service_process import RunningService, free_port, running
from system_parts import require_cached_data

from model_store import STARTER_MODELS, Store, StoredVersion
from service.runtime import replay
from training.exporting import onnx_check

ROOT = Path(__file__).parents[2]
STARTERS = list(Store(STARTER_MODELS).all_versions())
SHIPPED = {
    "mnist-dnn", "mnist-cnn", "fashion-mnist-cnn", "mnist-autoencoder", "mnist-autoencoder-encoder",
    "mnist-autoencoder-decoder", "wine-dnn", "nsmc-text", "code-or-prose",
}  # fmt: skip
each_starter = pytest.mark.parametrize("stored", STARTERS, ids=str)


def test_a_model_of_every_kind_ships() -> None:
    assert {stored.model for stored in STARTERS} == SHIPPED
    assert {stored.manifest.recipe for stored in STARTERS} == {"dnn", "cnn", "autoencoder", "text"}


@each_starter
def test_a_starter_model_is_whole(stored: StoredVersion) -> None:
    checks = {"ONNX checker": onnx_check.check, "golden replay": replay.check}

    assert Store(STARTER_MODELS).verify(stored, checks) == []


@each_starter
def test_a_starter_model_names_a_licence_that_allows_it_to_ship(stored: StoredVersion) -> None:
    assert stored.manifest.dataset.name in {"mnist", "fashion-mnist", "nsmc", "wine", "digits", "stdlib"}
    assert re.search(r"CC BY|MIT|CC0|BSD|PSF", stored.manifest.dataset.license)


def test_the_starter_models_are_small() -> None:
    files = [path for path in STARTER_MODELS.rglob("*") if path.is_file()]
    reports = {
        stored.model: sum(path.stat().st_size for path in (stored.path / "report").rglob("*") if path.is_file())
        for stored in STARTERS
    }

    assert sum(path.stat().st_size for path in files) < 6_500_000
    assert {model: size for model, size in reports.items() if size > 600_000} == {}


@pytest.fixture(scope="module")
def starters() -> Iterator[RunningService]:
    with running(STARTER_MODELS) as service:
        yield service


def ask(service: RunningService, model: str, name: str, datatype: str, values: np.ndarray) -> np.ndarray:
    """Send rows in requests of 200 through HTTP and return all rows of the first output."""
    answers = []
    with service.client() as client:
        for start in range(0, len(values), 200):
            part = values[start : start + 200]
            tensor = {"name": name, "shape": part.shape, "datatype": datatype, "data": part.ravel().tolist()}
            answer = client.post(f"/v2/models/{model}/infer", json={"inputs": [tensor]})
            assert answer.status_code == 200, answer.text
            output = answer.json()["outputs"][0]
            answers.append(np.array(output["data"], np.float32).reshape(output["shape"]))
    return np.concatenate(answers)


@each_starter
def test_a_served_starter_model_answers_what_keras_answered(starters: RunningService, stored: StoredVersion) -> None:
    golden, (spec,) = stored.golden(), stored.manifest.inputs
    datatype = {"uint8": "UINT8", "float32": "FP32", "string": "BYTES"}[spec.dtype]

    answered = ask(starters, stored.model, spec.name, datatype, golden.inputs[spec.name])

    (expected,) = golden.keras.values()
    np.testing.assert_allclose(answered, expected, rtol=1e-4, atol=1e-5 * float(np.abs(expected).max()))


def fashion_mnist_test() -> tuple[np.ndarray, np.ndarray]:
    import gzip

    folder = require_cached_data("fashion-mnist")
    images = np.frombuffer(gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes()), np.uint8, offset=16)
    labels = np.frombuffer(gzip.decompress((folder / "t10k-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8)
    return images.reshape(-1, 28, 28, 1), labels


def mnist_test() -> tuple[np.ndarray, np.ndarray]:
    with np.load(require_cached_data("mnist.npz"), allow_pickle=False) as arrays:
        return arrays["x_test"][..., None], arrays["y_test"]


@pytest.mark.system
@pytest.mark.parametrize(
    ("model", "load", "accuracy"),
    [
        ("mnist-dnn", mnist_test, 0.975),
        ("mnist-cnn", mnist_test, 0.99),
        ("fashion-mnist-cnn", fashion_mnist_test, 0.91),
    ],
)
def test_10_000_held_out_pictures_through_http(
    starters: RunningService, model: str, load: Callable[[], tuple[np.ndarray, np.ndarray]], accuracy: float
) -> None:
    pictures, labels = load()

    answered = ask(starters, model, "image", "UINT8", pictures)

    reached = float(np.mean(answered.argmax(axis=1) == labels))
    assert len(answered) == 10_000
    assert reached >= accuracy
    assert reached == pytest.approx(Store(STARTER_MODELS).resolve(model).manifest.metrics["accuracy"], abs=2e-4)


@pytest.mark.system
def test_the_autoencoder_and_its_two_halves_through_http(starters: RunningService) -> None:
    pictures = mnist_test()[0][:2000]

    whole = ask(starters, "mnist-autoencoder", "image", "UINT8", pictures)
    codes = ask(starters, "mnist-autoencoder-encoder", "image", "UINT8", pictures)
    decoded = ask(starters, "mnist-autoencoder-decoder", "code", "FP32", codes)

    assert codes.shape == (2000, 32)
    assert float(np.mean((whole - pictures / 255) ** 2)) <= 0.010
    np.testing.assert_allclose(decoded, whole, atol=1e-5)


@pytest.mark.system
def test_korean_reviews_through_http(starters: RunningService) -> None:
    import csv

    with (require_cached_data("nsmc") / "ratings_test.txt").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t"))[1:5001]
    texts = np.array([row[1] for row in rows], object)
    labels = np.array([int(row[2]) for row in rows])

    answered = ask(starters, "nsmc-text", "text", "BYTES", texts)

    assert float(np.mean(answered.argmax(axis=1) == labels)) >= 0.84


def test_the_demo_does_what_it_prints(tmp_path: Path) -> None:
    demo = [sys.executable, str(ROOT / "examples" / "demo.py"), "--port", str(free_port())]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OVENBIRD_")}

    shown = subprocess.run(
        demo, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    try:
        assert shown.returncode == 0, shown.stdout + shown.stderr
        answers = [subprocess.run(["/bin/sh", "-c", line.strip() + " --silent --show-error --fail"], cwd=tmp_path,
                                  capture_output=True, text=True, check=False)
                   for line in shown.stdout.splitlines() if line.strip().startswith("curl ")]  # fmt: skip
        metrics = re.search(r"metrics +(\S+)", shown.stdout)
        assert metrics is not None
        assert "ovenbird_requests_total" in httpx.get(metrics[1]).text
    finally:
        stopped = subprocess.run(
            [*demo, "--stop"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    assert shown.stdout.count("the truth is") == 3
    assert "reconstructed" in shown.stdout
    assert [answer.returncode for answer in answers] == [0] * 6, answers
    predictions = [json.loads(answer.stdout).get("predictions") for answer in answers[:4]]
    assert [len(rows) for rows in predictions] == [1, 3, 1, 1]
    assert predictions[2][0]["label"] == "code"
    assert "stopped: demo" in stopped.stdout
    with pytest.raises(httpx.ConnectError):
        httpx.get(metrics[1])

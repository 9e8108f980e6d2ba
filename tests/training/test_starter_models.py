"""The models that ship: small, whole, and as good as the project says."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from model_store import STARTER_MODELS, Store, golden
from model_store.manifest import Tolerance
from training.datasets.dataset import texts
from training.exporting import onnx_check
from training.starter_models import STARTERS

SHIPPED = Store(STARTER_MODELS)
LARGEST = 6_500_000
NAMES = sorted([*(starter.name for starter in STARTERS), "mnist-autoencoder-encoder", "mnist-autoencoder-decoder"])

MARKS = {
    "mnist-dnn": ("accuracy", 0.975),
    "mnist-cnn": ("accuracy", 0.99),
    "fashion-mnist-cnn": ("accuracy", 0.91),
    "nsmc-text": ("accuracy", 0.84),
    "code-or-prose": ("accuracy", 0.95),
    "wine-dnn": ("accuracy", 0.9),
}


def session(name: str) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(SHIPPED.resolve(name).onnx_path, providers=["CPUExecutionProvider"])


def test_the_folder_holds_what_the_table_says_as_version_1() -> None:
    assert SHIPPED.models() == NAMES
    assert all(stored.version == 1 for stored in SHIPPED.all_versions())


def test_the_folder_is_small_and_holds_published_files_only() -> None:
    files = [path for path in STARTER_MODELS.rglob("*") if path.is_file()]
    published = {
        stored.path / name for stored in SHIPPED.all_versions() for name in (*stored.manifest.files, "manifest.json")
    }

    assert set(files) == published
    assert sum(path.stat().st_size for path in files) <= LARGEST


@pytest.mark.parametrize("name", NAMES)
def test_a_starter_model_is_whole_and_replays_its_golden_rows(name: str) -> None:
    stored = SHIPPED.resolve(name)
    assert SHIPPED.verify(stored, {"ONNX checker": onnx_check.check}) == []
    rows, output = stored.golden(), stored.manifest.outputs[0].name
    received = dict(zip([output], session(name).run([output], dict(rows.inputs)), strict=True))

    assert golden.compare(rows.keras, received, Tolerance()) == []


@pytest.mark.parametrize(("name", "metric", "mark"), [(name, *mark) for name, mark in MARKS.items()])
def test_a_starter_model_is_as_good_as_promised(name: str, metric: str, mark: float) -> None:
    assert SHIPPED.resolve(name).manifest.metrics[metric] >= mark


def test_the_autoencoder_reconstructs_within_its_mark() -> None:
    assert SHIPPED.resolve("mnist-autoencoder").manifest.metrics["mean_squared_error"] <= 0.0095


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        (
            "code-or-prose",
            {
                "for index in range(len(values)):": "code",
                "Return the number of values that were found.": "prose",
                "self._lock = threading.Lock()": "code",
                "If the file does not exist, it is created first.": "prose",
            },
        ),
        ("nsmc-text", {"정말 재미있는 최고의 영화": "positive", "지루하고 재미없다 돈 아까워": "negative"}),
    ],
)
def test_a_text_model_understands_plain_examples(name: str, asked: dict[str, str]) -> None:
    labels = SHIPPED.resolve(name).manifest.outputs[0].labels
    assert labels is not None

    (answers,) = session(name).run(["probabilities"], {"text": texts(asked)})

    assert [labels[index] for index in np.argmax(answers, axis=1)] == list(asked.values())


@pytest.mark.system
@pytest.mark.parametrize(("name", "data"), [("mnist-dnn", "mnist"), ("fashion-mnist-cnn", "fashion-mnist")])
def test_the_accuracy_is_reached_by_the_file_itself(cached_dataset, name: str, data: str) -> None:
    test = cached_dataset(data).test

    (answers,) = session(name).run(["probabilities"], {"image": test.inputs[:2000]})

    accuracy = np.mean(np.argmax(answers, axis=1) == test.targets[:2000])
    assert accuracy == pytest.approx(SHIPPED.resolve(name).manifest.metrics["accuracy"], abs=0.02)

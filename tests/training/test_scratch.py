"""The network in plain NumPy: right gradients, weights that others saved, and no TensorFlow anywhere."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest

from model_store import Store, StoredVersion
from model_store.manifest import REPORT_FILE
from service.app import create_app
from service.settings import Settings
from training import datasets, pipeline, train
from training.datasets import Dataset
from training.errors import FitDiverged, InvalidParameter, ParityBroken, UnusableData
from training.exporting import onnx_check
from training.job import prepare
from training.network import Network
from training.options import FileOptions, FitOptions
from training.parameters import Parameters
from training.scratch.descent import descend
from training.scratch.gradient_check import largest_difference
from training.scratch.network import ACTIVATIONS, Activation, DenseNetwork, random_layers
from training.scratch.saved_weights import read_layers

Arrays = dict[str, np.ndarray]
PIXELS, CLASSES = 64, 10


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch") / "store"


@pytest.fixture(scope="module")
def weights() -> Arrays:
    """Three layers for the digits, as somebody else's network may have left them."""
    random = np.random.default_rng(3)
    sizes = [PIXELS, 20, 12, CLASSES]
    found: Arrays = {}
    for number, (inputs, units) in enumerate(pairwise(sizes), start=1):
        found[f"W{number}"] = random.normal(size=(inputs, units)).astype(np.float32)
        found[f"b{number}"] = random.normal(size=units).astype(np.float32)
    return found


@pytest.fixture(scope="module")
def published(store: Path, weights: Arrays) -> StoredVersion:
    path = store.parent / "sample_weight.pkl"
    path.write_bytes(pickle.dumps(weights))
    said: list[str] = []
    (stored,) = train(
        "scratch", "digits", store=store, name="saved", parameters={"weights": str(path)}, say=said.append
    )
    assert "fit       nothing: the weights are given" in said
    assert said.index("report    saved") < said.index(f"publish   saved → {store}")
    assert re.search(r"^verify    saved: within \S+ of NumPy$", "\n".join(said), re.MULTILINE)
    return stored


def by_hand(weights: Arrays, pictures: np.ndarray) -> np.ndarray:
    """The network as its author would write it."""
    x = pictures.reshape(len(pictures), -1) / 255
    for number in (1, 2):
        x = 1 / (1 + np.exp(-(x @ weights[f"W{number}"] + weights[f"b{number}"])))
    powers = np.exp(x @ weights["W3"] + weights["b3"])
    return powers / powers.sum(axis=1, keepdims=True)


def test_no_part_of_the_job_imports_tensorflow(tmp_path: Path) -> None:
    program = """
import sys
from training import train
(stored,) = train("scratch", "iris", store="store", parameters={"epochs": 20})
print(stored.manifest.metrics["accuracy"], sorted(stored.manifest.libraries))
print([name for name in ("tensorflow", "keras", "tf2onnx") if name in sys.modules])
"""
    root = str(Path(__file__).parents[2])

    shown = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=True,
    )

    accuracy, libraries = shown.stdout.splitlines()[0].split(" ", 1)
    assert float(accuracy) >= 0.8
    assert libraries == "['numpy', 'onnx', 'onnxruntime', 'python']"
    assert shown.stdout.splitlines()[1] == "[]"


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_backpropagation_agrees_with_numerical_differentiation(activation: str) -> None:
    random = np.random.default_rng(1)
    network = DenseNetwork(random_layers((5, 4, 3, 3), random, np.float64), activation)
    rows, targets = random.normal(size=(8, 5)), random.integers(0, 3, 8)

    assert largest_difference(network, rows, targets) < 1e-8


def test_a_wrong_gradient_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    network = DenseNetwork(random_layers((5, 4, 3), random, np.float64), "relu")
    monkeypatch.setitem(ACTIVATIONS, "relu", Activation(ACTIVATIONS["relu"].value, ACTIVATIONS["tanh"].slope))

    assert largest_difference(network, random.normal(size=(8, 5)), random.integers(0, 3, 8)) > 1e-3


def test_descent_keeps_the_weights_of_the_best_epoch_and_tells_when_it_diverges() -> None:
    xor = datasets.load("xor", FileOptions())
    rows, targets = xor.train.inputs - np.float32(0.5), xor.train.targets
    network = DenseNetwork(random_layers((2, 8, 2), np.random.default_rng(0)), "tanh")

    history = descend(
        network, (rows, targets), (rows[::2], targets[::2]), FitOptions(epochs=60, learning_rate=1.0, patience=60)
    )

    assert network.loss(rows[::2], targets[::2]) == min(history["val_loss"])
    assert max(history["accuracy"]) == 1.0
    broken = DenseNetwork(random_layers((2, 8, 2), np.random.default_rng(0)), "relu")
    with pytest.raises(FitDiverged, match="try a smaller learning_rate than 10"), np.errstate(all="ignore"):
        descend(broken, (rows * 1e30, targets), (rows, targets), FitOptions(learning_rate=10))


def test_saved_weights_become_a_model_that_computes_what_their_author_computed(
    published: StoredVersion, weights: Arrays
) -> None:
    pictures = datasets.load("digits", FileOptions()).test.inputs[:100]
    session = onnxruntime.InferenceSession(published.onnx_path, providers=["CPUExecutionProvider"])

    (together,) = session.run(None, {"image": pictures})

    np.testing.assert_allclose(together, by_hand(weights, pictures), rtol=1e-4, atol=1e-6)
    alone = [session.run(None, {"image": picture[np.newaxis]})[0] for picture in pictures]
    np.testing.assert_allclose(together, np.concatenate(alone), rtol=1e-5, atol=1e-7)
    assert Store(published.path.parents[1]).verify(published, {"ONNX checker": onnx_check.check}) == []
    assert [node.op_type for node in onnx.load(published.onnx_path).graph.node][-2:] == ["Gemm", "Softmax"]
    facts = json.loads((published.path / "report/evaluation.json").read_text())
    assert (facts["epochs"], facts["history"]) == (0, {})
    page = (published.path / REPORT_FILE).read_text(encoding="utf-8")
    assert "Nothing was fitted: the weights are given." in page
    assert "Parity with NumPy" in page
    assert "Keras" not in page


def test_a_file_that_computes_something_else_is_refused_in_the_name_of_numpy(tmp_path: Path) -> None:
    job = prepare("scratch", "iris", store=tmp_path / "store", name=None, parameters={"epochs": 1})

    def build(parameters: Parameters, dataset: Dataset) -> Network:
        network, other = (job.recipe.build(parameters, dataset) for _ in range(2))
        ours, theirs = network.main.computation, other.main.computation
        broken = SimpleNamespace(answer=ours.answer, predict=ours.predict, weights=ours.weights, to_onnx=theirs.to_onnx)
        return replace(network, graphs=(replace(network.main, computation=broken),))

    with pytest.raises(ParityBroken, match="the exported file differs from NumPy at a batch of 1: output"):
        pipeline.run(replace(job, recipe=replace(job.recipe, build=build)), say=lambda _: None)

    assert job.store.models() == []


def test_saved_weights_are_served(published: StoredVersion, weights: Arrays, store: Path) -> None:
    pictures = datasets.load("digits", FileOptions()).test.inputs[:3]
    client = create_app(Settings(store=str(store), control="none")).test_client()

    answer = client.post("/v1/models/saved:predict", json={"instances": pictures.tolist()})

    assert answer.status_code == 200, answer.text
    np.testing.assert_allclose(answer.json["predictions"], by_hand(weights, pictures), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_of_pickle_is_read(protocol: int, weights: Arrays, tmp_path: Path) -> None:
    path = tmp_path / "weights.pkl"
    path.write_bytes(pickle.dumps(weights, protocol=protocol))

    assert_same_layers(path, weights)


@pytest.mark.parametrize(
    "save",
    [
        pytest.param(lambda path, arrays: np.savez(path, **arrays), id="npz"),
        pytest.param(lambda path, arrays: path.write_bytes(pickle.dumps(list(arrays.values()))), id="list"),
        pytest.param(lambda path, arrays: path.write_bytes(pickle.dumps(tuple(arrays.values()))), id="tuple"),
        pytest.param(
            lambda path, arrays: path.write_bytes(
                pickle.dumps({name: np.asfortranarray(array.astype(np.float64)) for name, array in arrays.items()})
            ),
            id="float64-by-columns",
        ),
        pytest.param(
            lambda path, arrays: path.write_bytes(
                pickle.dumps({name: array[np.newaxis] if name[0] == "b" else array for name, array in arrays.items()})
            ),
            id="biases-as-rows",
        ),
    ],
)
def test_weights_are_read_however_they_are_kept(save: Callable, weights: Arrays, tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    save(path, weights)

    assert_same_layers(path, weights)


def assert_same_layers(path: Path, weights: Arrays) -> None:
    for number, layer in enumerate(read_layers(path), start=1):
        np.testing.assert_allclose(layer.weights, weights[f"W{number}"])
        np.testing.assert_allclose(layer.biases, weights[f"b{number}"])
        assert layer.weights.dtype == layer.biases.dtype == np.float32


class Harmful:
    def __reduce__(self) -> tuple:
        return os.system, ("touch harmed",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(pickle.dumps(Harmful()), "the name posix.system is not allowed", id="calls-a-command"),
        pytest.param(pickle.dumps({"W1": Harmful()}), "the name posix.system is not allowed", id="inside-a-dict"),
        pytest.param(b"cnumpy\nload\n.", "the name numpy.load is not allowed", id="numpy-beyond-arrays"),
        pytest.param(b"c_codecs\nencode\n(S'a'\nS'zip'\ntR.", "the encoding zip is not allowed", id="codec"),
        pytest.param(b"no pickle", "neither an .npz nor a pickle of NumPy arrays alone", id="no-pickle"),
        pytest.param(b"", "neither an .npz nor a pickle", id="empty"),
        pytest.param(b"PK broken", "not an .npz of plain arrays", id="broken-npz"),
        pytest.param(pickle.dumps("words"), "expected W1, b1, W2, b2, … with", id="no-arrays"),
        pytest.param(pickle.dumps({}), "it has: nothing", id="no-names"),
        pytest.param(pickle.dumps({"W1": np.ones((2, 2))}), "it has: W1", id="bias-missing"),
        pytest.param(pickle.dumps({"W1": "x", "b1": np.ones(2)}), "W1 is no array of numbers", id="text"),
        pytest.param(
            pickle.dumps({"W1": np.ones((2, 3)), "b1": np.ones(2)}), "W1 is [2, 3], b1 [2]", id="shapes-differ"
        ),
        pytest.param(
            pickle.dumps([np.ones((2, 3)), np.ones(3), np.ones((2, 2)), np.ones(2)]),
            "W1 gives 3 units, W2 takes 2",
            id="layers-do-not-meet",
        ),
        pytest.param(pickle.dumps([np.full((2, 2), np.nan), np.ones(2)]), "W1 holds NaN", id="nan"),
        pytest.param(pickle.dumps([np.full((2, 2), 1e300), np.ones(2)]), "too large for float32", id="too-large"),
    ],
)
def test_what_is_no_network_is_refused_in_one_line(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(content)

    with pytest.raises(UnusableData) as refused:
        read_layers(path)

    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not Path("harmed").exists()


def test_wrong_use_is_told_in_one_line(command: Callable, weights: Arrays, tmp_path: Path) -> None:
    (tmp_path / "weights.pkl").write_bytes(pickle.dumps(weights))
    cases = {
        ("weights=absent.pkl",): "absent.pkl: No such file or directory",
        ("weights=weights.pkl",): "these take 64 inputs and tell 10 classes apart: name other data with --data",
        ("optimizer=adam",): "expected sgd, the only one that this recipe writes",
    }

    beside = {("weights=weights.pkl", "hidden=20"): "hidden=20: expected none beside weights"}
    for settings, message in (cases | beside).items():
        result = command("scratch", "--data", "iris", *[word for value in settings for word in ("--set", value)])

        assert (result.exit_code, result.stderr.count("\n")) == (2, 1), result.output
        assert message in result.stderr


def curve_of(folder: Path, tag: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return [(event.step, float(event.tensor_proto.float_val[0])) for event in found.Tensors(tag)]


def test_a_fit_without_keras_is_logged_for_tensorboard(command: Callable, tmp_path: Path) -> None:
    result = command("scratch", "--data", "iris", "--set", "epochs=4", "--tensorboard", "logs")

    assert result.exit_code == 0, result.output
    history = json.loads((tmp_path / "store/iris-scratch/1/report/evaluation.json").read_text())["history"]
    for folder, tag, name in (("train", "epoch_accuracy", "accuracy"), ("validation", "epoch_loss", "val_loss")):
        curve = curve_of(tmp_path / "logs/iris-scratch" / folder, tag)
        assert curve == [(epoch, pytest.approx(value, rel=1e-6)) for epoch, value in enumerate(history[name])]


def test_a_log_is_refused_where_weights_are_given(command: Callable, weights: Arrays, tmp_path: Path) -> None:
    (tmp_path / "weights.pkl").write_bytes(pickle.dumps(weights))

    refused = command("scratch", "--set", "weights=weights.pkl", "--tensorboard", "logs")

    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1), refused.output
    assert "tensorboard: nothing is fitted" in refused.stderr
    assert not (tmp_path / "logs").exists()


def test_options_of_a_fit_are_refused_and_nothing_is_planned_where_weights_are_given(
    command: Callable, weights: Arrays, tmp_path: Path
) -> None:
    (tmp_path / "weights.pkl").write_bytes(pickle.dumps(weights))

    refused = command("scratch", "--set", "weights=weights.pkl", "--set", "epochs=3")
    planned = command("scratch", "--set", "weights=weights.pkl", "--dry-run")

    assert "epochs=3: expected the default: it means nothing to weights that are given" in refused.stderr
    assert re.search("^fit +nothing: the weights are given$", planned.stdout, re.MULTILINE), planned.output


def test_a_dry_run_says_what_was_noticed_about_the_data(command: Callable, write_csv: Callable, tmp_path: Path) -> None:
    write_csv(tmp_path / "same.csv", ["x", "target"], [[row % 5, row % 2] for row in range(40)])

    planned = command("scratch", "--data", "same.csv", "--dry-run")

    assert re.search("^warning   .*occur", planned.stdout, re.MULTILINE), planned.output


def test_weights_for_tables_can_be_taken_with_the_numbers_as_they_are_sent(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    path = tmp_path / "weights.npz"
    np.savez(path, W1=random.normal(size=(4, 3)), b1=np.zeros(3))
    (stored,) = train("scratch", "iris", store=tmp_path / "store", parameters={"weights": str(path), "scale": "false"})
    session = onnxruntime.InferenceSession(stored.onnx_path, providers=["CPUExecutionProvider"])

    (answer,) = session.run(None, {"features": np.zeros((1, 4), dtype=np.float32)})

    np.testing.assert_allclose(answer, [[1 / 3] * 3], rtol=1e-6)


def test_a_dense_layer_too_few_is_an_invalid_parameter() -> None:
    with pytest.raises(InvalidParameter, match="hidden="):
        train("scratch", store="unused", parameters={"hidden": ""})

"""Whole jobs, from the data to the store, on small data: what is published, and what is refused."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from model_store import Store, StoredVersion, golden
from model_store.manifest import REPORT_FILE, Tolerance
from training import pipeline, train
from training.datasets import Dataset
from training.errors import FitDiverged, ParityBroken, UnconvertedLayers
from training.exporting import onnx_check
from training.exporting.keras_graph import classifier
from training.job import Job, prepare
from training.network import Graph, Network
from training.recipes import dnn

pytestmark = pytest.mark.tensorflow


def answer(stored: StoredVersion, inputs: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(stored.onnx_path, providers=["CPUExecutionProvider"])
    (output,) = session.run([stored.manifest.outputs[0].name], {stored.manifest.inputs[0].name: inputs})
    assert isinstance(output, np.ndarray)
    return output


def assert_whole(stored: StoredVersion) -> None:
    """Check what every published version promises: digests, signature, golden rows that replay, a small report."""
    assert Store(stored.path.parents[1]).verify(stored, {"ONNX checker": onnx_check.check}) == []
    expected = stored.golden()
    manifest = stored.manifest
    received = {manifest.outputs[0].name: answer(stored, expected.inputs[manifest.inputs[0].name])}
    assert golden.compare(expected.keras, received, Tolerance()) == []
    assert golden.compare(expected.onnx, received, Tolerance()) == []
    if "report/evaluation.json" in manifest.files:
        page = (stored.path / REPORT_FILE).read_text(encoding="utf-8")
        assert "<script" not in page
        assert page.count("<svg") >= 3
    pictures = [stored.path / name for name in manifest.files if name.endswith(".png")]
    assert sum(path.stat().st_size for path in pictures) <= 100_000


@pytest.fixture(scope="module")
def digits(train_into) -> StoredVersion:
    (stored,) = train_into("dnn", epochs=12, hidden="100,32")
    return stored


@pytest.fixture(scope="module")
def autoencoder(train_into) -> list[StoredVersion]:
    return train_into("autoencoder", code="16", hidden="64", anomaly="no", classifier="no")


def test_a_published_classifier_says_all_about_itself(digits: StoredVersion) -> None:
    assert_whole(digits)
    manifest = digits.manifest

    assert str(digits) == "digits-dnn@1"
    image, probabilities = manifest.inputs[0], manifest.outputs[0]
    assert (image.name, image.dtype, image.shape, image.kind) == ("image", "uint8", (None, 8, 8, 1), "image")
    assert (probabilities.name, probabilities.dtype, probabilities.shape) == ("probabilities", "float32", (None, 10))
    assert probabilities.labels == tuple("0123456789")
    assert manifest.recipe == "dnn"
    assert manifest.parameters["hidden"] == [100, 32]
    assert manifest.parameters["epochs"] == 12
    assert manifest.seed == 0
    assert manifest.dataset.sizes == {"train": 1438, "test": 359}
    assert next(iter(manifest.metrics)) == "accuracy"
    assert manifest.metrics["accuracy"] > 0.9
    assert manifest.parity.batch_sizes == (1, 7, 100)
    assert set(manifest.libraries) == {"keras", "tensorflow", "tf2onnx", "onnx", "onnxruntime", "numpy", "python"}


def test_the_graph_carries_its_origin_and_calls_its_rows_batch(digits: StoredVersion) -> None:
    model = onnx.load(digits.onnx_path)

    properties = {entry.key: entry.value for entry in model.metadata_props}
    assert properties["name"] == "digits-dnn"
    assert properties["recipe"] == "dnn"
    assert len(properties["weights_sha256"]) == 64
    sizes = [value.type.tensor_type.shape.dim[0].dim_param for value in (*model.graph.input, *model.graph.output)]
    assert sizes == ["batch", "batch"]
    assert next(entry.version for entry in model.opset_import if not entry.domain) == 18


def test_golden_rows_hold_each_class_with_its_truth(digits: StoredVersion) -> None:
    rows = digits.golden()

    assert rows.truth is not None
    assert sorted(rows.truth.tolist()) == list(range(10))
    assert rows.inputs["image"].shape == (10, 8, 8, 1)


def test_the_report_holds_curves_matrix_and_mistakes(digits: StoredVersion) -> None:
    facts = json.loads((digits.path / "report/evaluation.json").read_text())

    reports = {name for name in digits.manifest.files if name.startswith("report/")}
    figures = ("learning_curves", "confusion_matrix", "mistakes", "class_counts", "samples")
    others = {f"report/{name}" for name in ("evaluation.json", "predictions.npz", "report.html")}
    assert reports == others | {f"report/{name}.png" for name in figures}
    assert facts["metrics"] == digits.manifest.metrics
    matrix = np.array(facts["confusion_matrix"])
    assert matrix.sum() == 359
    assert np.trace(matrix) / 359 == pytest.approx(facts["metrics"]["accuracy"])
    assert facts["per_class"]["3"]["support"] == matrix[3].sum()
    assert len(facts["history"]["val_loss"]) == facts["epochs"] <= 12


def test_a_second_job_makes_a_second_version(digits: StoredVersion, train_into) -> None:
    (second,) = train_into("dnn", "digits", name="digits-dnn", epochs=1)

    assert second.version == digits.version + 1


def test_the_same_seed_gives_the_same_weights(train_into) -> None:
    def weights(seed: int) -> np.ndarray:
        (stored,) = train_into("dnn", "iris", seed=seed)
        return answer(stored, np.ones((1, 4), np.float32))

    first = weights(3)

    assert np.array_equal(first, weights(3))
    assert not np.array_equal(first, weights(4))


def test_a_convolution_learns_tiny_pictures_with_its_defaults(train_into) -> None:
    (stored,) = train_into("cnn", epochs=5)

    assert_whole(stored)
    assert stored.manifest.metrics["accuracy"] > 0.8


@pytest.mark.parametrize("activation", ["leaky_relu", "elu", "selu", "gelu", "swish", "tanh", "sigmoid", "softplus"])
def test_every_activation_can_be_published(train_into, activation: str) -> None:
    (stored,) = train_into("dnn", "iris", epochs=1, activation=activation)

    assert_whole(stored)


# The autoencoder's three models


def test_an_autoencoder_is_published_whole_as_one_group(autoencoder: list[StoredVersion], shared_store: Path) -> None:
    whole, encoder, decoder = autoencoder
    names = ("digits-autoencoder", "digits-autoencoder-encoder", "digits-autoencoder-decoder")

    assert tuple(stored.model for stored in autoencoder) == names
    assert len({stored.version for stored in autoencoder}) == 1
    assert {stored.manifest.group for stored in autoencoder} == {whole.manifest.group}
    assert whole.manifest.group is not None
    assert whole.manifest.group.members == names
    assert all(Store(shared_store).has_whole_group(stored) for stored in autoencoder)
    for stored in autoencoder:
        assert_whole(stored)
    assert encoder.manifest.outputs[0].kind == "embedding"
    assert (decoder.manifest.inputs[0].name, decoder.manifest.inputs[0].kind) == ("code", "vector")
    assert next(iter(whole.manifest.metrics)) == "mean_squared_error"
    assert encoder.manifest.metrics == {"whole_mean_squared_error": whole.manifest.metrics["mean_squared_error"]}


def test_decoding_the_code_is_the_reconstruction(autoencoder: list[StoredVersion]) -> None:
    whole, encoder, decoder = autoencoder
    pictures = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 1)).astype(np.uint8)

    code = answer(encoder, pictures)
    reconstruction = answer(whole, pictures)

    assert code.shape == (9, 16)
    assert 0 <= reconstruction.min() <= reconstruction.max() <= 1
    np.testing.assert_allclose(answer(decoder, code), reconstruction, atol=1e-6)


# Tables and pictures of the user's own


def test_a_regression_answers_in_the_unit_of_the_data(train_into, tmp_path: Path, write_csv) -> None:
    random = np.random.default_rng(0)
    rows = [[a, b, 250_000 + 40_000 * a - 30_000 * b] for a, b in random.normal(size=(300, 2)).round(3).tolist()]
    houses = write_csv(tmp_path / "houses.csv", ["rooms", "distance (km)", "price"], rows)

    (stored,) = train_into("dnn", houses, epochs=60, target="price", dropout=0, patience=20)

    assert_whole(stored)
    manifest = stored.manifest
    assert manifest.inputs[0].columns == ("rooms", "distance (km)")
    assert manifest.outputs[0].kind == "value"
    assert next(iter(manifest.metrics)) == "mean_absolute_error"
    assert manifest.metrics["mean_absolute_error"] < 20_000
    assert answer(stored, np.zeros((1, 2), np.float32))[0, 0] == pytest.approx(250_000, abs=30_000)
    assert "report/predicted_against_true.png" in manifest.files
    assert manifest.parameters["target"] == "price"
    facts = json.loads((stored.path / "report/evaluation.json").read_text())
    assert facts["history_unit"] == "in deviations of the target"
    assert max(facts["history"]["loss"]) < 10
    assert stored.golden().truth is not None


def test_columns_with_huge_offsets_or_constant_ones_are_standardised(train_into, tmp_path: Path, write_csv) -> None:
    rows = [[1_700_000_000 + 1000 * (index % 50), 7, "late" if index % 50 > 25 else "soon"] for index in range(200)]
    events = write_csv(tmp_path / "events.csv", ["time", "constant", "when"], rows)

    (stored,) = train_into("dnn", events, epochs=30, target="when")

    assert_whole(stored)
    assert stored.manifest.outputs[0].labels == ("late", "soon")
    assert stored.manifest.metrics["accuracy"] > 0.9


def test_colour_pictures_come_from_an_npz(train_into, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    labels = np.array(["red", "green", "blue"])

    def pictures(count: int) -> tuple[np.ndarray, np.ndarray]:
        classes = np.arange(count) % 3
        pixels = random.integers(0, 100, (count, 6, 5, 3))
        pixels[np.arange(count), :, :, classes] += 150
        return pixels.astype(np.uint8), labels[classes]

    (x_train, y_train), (x_test, y_test) = pictures(90), pictures(30)
    np.savez(tmp_path / "colours.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)

    (stored,) = train_into("cnn", tmp_path / "colours.npz", epochs=8, filters="8,8", units=16)

    assert_whole(stored)
    assert stored.model == "colours-cnn"
    assert stored.manifest.inputs[0].shape == (None, 6, 5, 3)
    assert stored.manifest.outputs[0].labels == ("blue", "green", "red")
    assert answer(stored, x_test).argmax(axis=1).shape == (30,)


# What must never be published


@pytest.fixture
def job_with(empty_store: Store) -> Callable[[Callable[[dnn.DenseParameters, Dataset], Network]], Job]:
    def make(build: Callable[[dnn.DenseParameters, Dataset], Network]) -> Job:
        job = prepare("dnn", "iris", store=empty_store.root, name=None, parameters={"epochs": 1})
        return dataclasses.replace(job, recipe=dataclasses.replace(job.recipe, build=build))

    return make


def quiet(_: str) -> None:
    pass


def exporting(graph: Graph, other: Graph) -> Graph:
    """Let a graph's file hold another's network."""
    computation = dataclasses.replace(graph.computation, converted=other.computation.model)  # type: ignore[type-var, attr-defined]
    return dataclasses.replace(graph, computation=computation)


def test_a_file_that_computes_something_else_is_refused(job_with, empty_store: Store) -> None:
    """The exported network is another one of the same shape: only a comparison of answers can tell."""

    def build(parameters: dnn.DenseParameters, dataset: Dataset) -> Network:
        network, other = dnn.build(parameters, dataset), dnn.build(parameters, dataset)
        broken = exporting(network.main, other.main)
        return dataclasses.replace(network, graphs=(broken,))

    with pytest.raises(
        ParityBroken, match=r"at a batch of 1: output 'probabilities': \d+ of 3 values are off, by up to"
    ):
        pipeline.run(job_with(build), say=quiet)

    assert empty_store.models() == []


def test_a_layer_that_onnx_cannot_express_is_refused(job_with, empty_store: Store) -> None:
    """tf2onnx writes the operator of the exact gelu as it stands, without a word."""

    def build(parameters: dnn.DenseParameters, dataset: Dataset) -> Network:
        import keras
        from keras import layers

        inputs = keras.Input((4,))
        hidden = layers.Dense(8, activation="gelu")(inputs)
        return classifier(keras.Model(inputs, layers.Dense(3, activation="softmax")(hidden)), dataset)

    with pytest.raises(UnconvertedLayers, match="cannot convert the operators Erf"):
        pipeline.run(job_with(build), say=quiet)

    assert empty_store.models() == []


def test_one_bad_model_keeps_its_whole_group_back(empty_store: Store) -> None:
    job = prepare("autoencoder", "digits", store=empty_store.root, name=None, parameters={"epochs": 1})

    def build(parameters: object, dataset: Dataset) -> Network:
        network, other = (job.recipe.build(parameters, dataset) for _ in range(2))
        whole, encoder, decoder, *_ = network.graphs
        broken = exporting(decoder, other.graphs[2])
        return dataclasses.replace(network, graphs=(whole, encoder, broken))

    broken_job = dataclasses.replace(job, recipe=dataclasses.replace(job.recipe, build=build))
    with pytest.raises(ParityBroken, match="output 'reconstruction'"):
        pipeline.run(broken_job, say=quiet)

    assert empty_store.models() == []


def test_constants_that_became_inputs_are_put_back(train_into, job_with, empty_store: Store) -> None:
    """tf2onnx makes inputs of the mean and variance that a Normalization layer holds."""

    def build(parameters: dnn.DenseParameters, dataset: Dataset) -> Network:
        import keras
        from keras import layers

        inputs = keras.Input((4,))
        normal = layers.Normalization(mean=[5.0, 3.0, 4.0, 1.0], variance=[1.0, 2.0, 3.0, 4.0])(inputs)
        return classifier(keras.Model(inputs, layers.Dense(3, activation="softmax")(normal)), dataset)

    (stored,) = pipeline.run(job_with(build), say=quiet)

    assert_whole(stored)
    assert [value.name for value in onnx.load(stored.onnx_path).graph.input] == ["features"]


def test_a_fit_that_diverges_is_refused(empty_store: Store) -> None:
    with pytest.raises(
        FitDiverged, match=r"the loss became (nan|inf) in epoch \d: try a smaller learning_rate than 10"
    ):
        train(
            "dnn", "diabetes", store=empty_store.root, parameters={"optimizer": "sgd", "learning_rate": 10, "epochs": 5}
        )

    assert empty_store.models() == []


# The checker that `ovenbird store verify` runs


def copied(stored: StoredVersion, folder: Path) -> StoredVersion:
    import shutil

    shutil.copytree(stored.path, folder)
    return StoredVersion(stored.model, stored.version, folder)


def test_the_checker_refuses_what_is_no_onnx(digits: StoredVersion, tmp_path: Path) -> None:
    bad = copied(digits, tmp_path / "1")
    bad.onnx_path.write_bytes(b"not onnx at all")

    assert len(onnx_check.check(bad)) == 1


def test_the_checker_finds_an_unknown_operator(digits: StoredVersion, tmp_path: Path) -> None:
    bad = copied(digits, tmp_path / "1")
    model = onnx.load(bad.onnx_path)
    model.graph.node[-1].op_type = "Nonsense"
    onnx.save(model, bad.onnx_path)

    (problem,) = onnx_check.check(bad)

    assert "Nonsense" in problem
    assert "\n" not in problem


def test_the_checker_compares_the_signature(digits: StoredVersion, tmp_path: Path) -> None:
    bad = copied(digits, tmp_path / "1")
    model = onnx.load(bad.onnx_path)
    model.graph.input[0].name = "picture"
    for node in model.graph.node:
        node.input[:] = ["picture" if name == "image" else name for name in node.input]
    onnx.save(model, bad.onnx_path)

    (problem,) = onnx_check.check(bad)

    assert problem == "inputs are picture uint8[None, 8, 8, 1], the manifest says image uint8[None, 8, 8, 1]"

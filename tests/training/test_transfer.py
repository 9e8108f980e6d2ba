"""The recipes cnn and transfer: augmentation, a network that is kept, and a new answer on top of one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from service_process import infer_body, running

from model_store import Store, StoredVersion, golden
from model_store.manifest import Tolerance
from training import bases
from training.datasets import load
from training.errors import InvalidParameter, WeightsAbsent
from training.exporting import onnx_check
from training.options import FileOptions

pytestmark = [
    pytest.mark.tensorflow,
    # Keras's own variables, as it saves them.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
]


def answer(stored: StoredVersion, inputs: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(stored.onnx_path, providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {"image": inputs})
    return np.asarray(output)


def assert_whole(stored: StoredVersion) -> None:
    assert Store(stored.path.parents[1]).verify(stored, {"ONNX checker": onnx_check.check}) == []
    rows = stored.golden()
    assert golden.compare(rows.keras, {"probabilities": answer(stored, rows.inputs["image"])}, Tolerance()) == []


def pictures(path: Path, rows: int, *shape: int) -> Path:
    """Dark and bright pictures."""
    random = np.random.default_rng(0)
    arrays = {}
    for part in ("train", "test"):
        targets = np.arange(rows) % 2
        noise = random.integers(0, 100, (rows, *shape))
        arrays |= {f"x_{part}": (noise + 150 * targets[:, None, None, None]).astype(np.uint8), f"y_{part}": targets}
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="module")
def low_digits(train_into, tmp_path_factory: pytest.TempPathFactory) -> StoredVersion:
    """A network that learned the digits 0 to 4, with every augmentation, and is kept as Keras wrote it."""
    path = tmp_path_factory.mktemp("low") / "low.npz"
    np.savez(path, **halves(range(5)))
    (stored,) = train_into(
        "cnn", path, epochs=5, batch_size=16, filters="16,32", convolutions=2, pooling="average", units=32,
        augmentation="translation,rotation,zoom,contrast,flip", keep_keras=True,
    )  # fmt: skip
    return stored


def halves(wanted: range, most: int = 10_000) -> dict[str, np.ndarray]:
    """Some of the digits, as arrays of a file; `most` to learn from."""
    digits = load("digits", FileOptions())
    arrays = {}
    for part, rows, count in (("train", digits.train, most), ("test", digits.test, 10_000)):
        chosen = np.flatnonzero(np.isin(rows.targets, wanted))[:count]
        arrays |= {f"x_{part}": rows.inputs[chosen], f"y_{part}": rows.targets[chosen]}
    return arrays


def test_augmentation_is_for_learning_only(low_digits: StoredVersion) -> None:
    assert_whole(low_digits)
    operators = {node.op_type for node in onnx.load(low_digits.onnx_path).graph.node}

    assert not operators & {"RandomUniform", "RandomUniformLike", "Resize", "GridSample", "If", "Loop"}
    assert "GlobalAveragePool" in operators or "ReduceMean" in operators
    assert low_digits.manifest.parameters["augmentation"] == ["translation", "rotation", "zoom", "contrast", "flip"]
    assert low_digits.manifest.metrics["accuracy"] > 0.6


def test_a_kept_network_is_one_of_the_published_files(low_digits: StoredVersion, train_into) -> None:
    assert "model.keras" in low_digits.manifest.files
    (usual,) = train_into("cnn", "digits", epochs=1, filters="4")
    assert "model.keras" not in usual.manifest.files


@pytest.fixture(scope="module")
def high_digits(low_digits: StoredVersion, train_into, tmp_path_factory: pytest.TempPathFactory) -> StoredVersion:
    """The digits 5 to 9, of which only 100 are learned from, on top of what the digits 0 to 4 have taught."""
    path = tmp_path_factory.mktemp("high") / "high.npz"
    np.savez(path, **halves(range(5, 10), most=100))
    (stored,) = train_into(
        "transfer", path, base=str(low_digits.path), pooling="flatten", epochs=15, learning_rate=0.01, patience=15,
        batch_size=16, validation_split=0.2, tuned_layers=4, tuned_epochs=3,
    )  # fmt: skip
    return stored


def test_few_examples_suffice_on_top_of_a_network_that_has_seen_digits(high_digits: StoredVersion) -> None:
    assert_whole(high_digits)
    assert high_digits.manifest.inputs[0].shape == (None, 8, 8, 1)
    assert high_digits.manifest.metrics["accuracy"] > 0.4


def test_the_report_shows_both_stages(high_digits: StoredVersion) -> None:
    history = json.loads((high_digits.path / "report/evaluation.json").read_text())["history"]

    assert list(json.loads((high_digits.path / "report/evaluation.json").read_text())["further_stages"]) == [
        "fine-tuning"
    ]
    assert 4 <= len(history["val_loss"]) <= 18


def test_the_service_answers_with_what_was_transferred(high_digits: StoredVersion) -> None:
    rows, store, model = high_digits.golden(), high_digits.path.parents[1], high_digits.model
    image = rows.inputs["image"]
    body = infer_body("image", image.ravel().tolist(), shape=list(image.shape), datatype="UINT8")

    with running(store, control="explicit", load=model) as service, service.client() as client:
        answered = client.post(f"/v2/models/{model}/infer", json=body).json()["outputs"][0]

    received = np.array(answered["data"], np.float32).reshape(answered["shape"])
    np.testing.assert_allclose(received, rows.keras["probabilities"], rtol=1e-4, atol=1e-5)


def test_a_grey_base_sees_colour_pictures_of_another_size(
    low_digits: StoredVersion, train_into, tmp_path: Path
) -> None:
    data = pictures(tmp_path / "shades.npz", 20, 12, 10, 3)

    (stored,) = train_into("transfer", data, base=str(low_digits.path.parent), tuned_layers=0, epochs=1)

    assert_whole(stored)
    assert stored.manifest.inputs[0].shape == (None, 12, 10, 3)
    assert "report/fine_tuning.png" not in stored.manifest.files


def test_an_application_sees_small_grey_pictures(train_into, tmp_path: Path) -> None:
    data = pictures(tmp_path / "shades.npz", 16, 8, 8, 1)

    (stored,) = train_into(
        "transfer", data, base="mobilenet_v2_small", weights="none", size=32, epochs=1, tuned_layers=0,
        augmentation="flip", units=8,
    )  # fmt: skip

    assert_whole(stored)
    assert stored.manifest.inputs[0].shape == (None, 8, 8, 1)


def test_batch_normalisation_stays_frozen_when_layers_thaw(low_digits: StoredVersion) -> None:
    base = bases.of_cnn(low_digits.path / "model.keras")

    bases.thaw(base.model, 4)

    kinds = {type(layer).__name__ for layer in base.model.layers if layer.trainable and layer.weights}
    assert kinds == {"Conv2D"}
    assert base.shape == (8, 8, 1)


@pytest.mark.parametrize(("kind", "module"), [("tf", "mobilenet_v2"), ("torch", "densenet"), ("caffe", "vgg16")])
def test_the_graph_scales_as_keras_prepares_pictures(kind: str, module: str) -> None:
    import keras

    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 3, 3)).astype(np.float32)
    expected = getattr(keras.applications, module).preprocess_input(pixels.copy())

    np.testing.assert_allclose(np.asarray(bases._scaling(kind)(pixels)), expected, atol=1e-4)


# What is refused


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        ({"base": "mobilnet"}, "base=mobilnet: expected one of mobilenet_v2"),
        ({"weights": "absent.h5"}, "weights=absent.h5: expected imagenet, none, or the path"),
        ({"weights": "none", "size": 16}, "size=16: expected what mobilenet_v2 takes"),
        ({"augmentation": "flip,turn"}, "augmentation=flip,turn: expected any of flip, rotation"),
    ],
)
def test_what_cannot_be_built_on_is_refused_in_one_line(train_into, parameters: dict, complaint: str) -> None:
    with pytest.raises(InvalidParameter, match=complaint) as refused:
        train_into("transfer", **parameters)

    assert "\n" not in str(refused.value)


def test_a_file_of_other_weights_is_refused(low_digits: StoredVersion, train_into) -> None:
    with pytest.raises(InvalidParameter, match="expected weights of mobilenet_v2_small without its answer"):
        train_into("transfer", base="mobilenet_v2_small", size=32, weights=str(low_digits.path / "model.keras"))


def test_a_version_that_kept_nothing_is_refused(train_into) -> None:
    (plain,) = train_into("dnn", "iris", epochs=1, name="plain")

    with pytest.raises(InvalidParameter, match="keep_keras=true"):
        train_into("transfer", base=str(plain.path))


def test_without_a_network_the_error_names_the_ways_out(
    train_into, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    import keras

    original = keras.applications.MobileNetV2

    def offline(*, weights: str | None, **options: object) -> object:
        if weights == "imagenet":
            raise Exception("URL fetch failure on https://" + "…" * 200 + ": None -- no network")
        return original(weights=weights, **options)

    monkeypatch.setattr(keras.applications, "MobileNetV2", offline)

    with pytest.raises(WeightsAbsent, match=r"downloaded .* no network\): .*weights=PATH, or use --set weights=none"):
        train_into("transfer", size=32)
    assert not [warning for warning in recwarn if "input_shape" in str(warning.message)]


def test_a_kept_application_weights_file_is_read(train_into, tmp_path: Path) -> None:
    import keras

    keras.utils.set_random_seed(1)
    model = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(32, 32, 3), alpha=0.35)
    model.save_weights(tmp_path / "base.weights.h5")

    read = bases.application("mobilenet_v2_small", weights=str(tmp_path / "base.weights.h5"), size=32)

    assert all(np.array_equal(a, b) for a, b in zip(read.model.get_weights(), model.get_weights(), strict=True))

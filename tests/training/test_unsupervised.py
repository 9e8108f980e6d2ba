"""Autoencoders and clusters, from the data over the store to a service's answers. Each is trained once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from service_process import RunningService, running

from model_store import Store, StoredVersion
from service.runtime import replay
from training import train
from training.datasets import digits, iris, wine
from training.errors import InvalidParameter, UnusableData
from training.exporting import onnx_check
from training.exporting.onnx_session import Session

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("unsupervised") / "store"


@pytest.fixture(scope="module")
def dense(store: Path) -> dict[str, StoredVersion]:
    published = train("autoencoder", store=store, name="dense", parameters={"epochs": 8, "code": 16, "hidden": (64,)})
    return {stored.model: stored for stored in published}


@pytest.fixture(scope="module")
def colour_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Red and blue pictures of an odd size: each layer of the decoder must cut what it makes."""
    chance = np.random.default_rng(0)

    def pictures(count: int) -> tuple[np.ndarray, np.ndarray]:
        classes = np.arange(count) % 2
        made = chance.integers(0, 60, (count, 7, 5, 3))
        made[np.arange(count), :, :, 2 * classes] += 150
        return made.astype(np.uint8), np.array(["red", "blue"])[classes]

    path = tmp_path_factory.mktemp("pictures") / "colours.npz"
    (x_train, y_train), (x_test, y_test) = pictures(80), pictures(20)
    np.savez(path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    return path


@pytest.fixture(scope="module")
def variational(store: Path, colour_pictures: Path) -> dict[str, StoredVersion]:
    layers = {"kind": "variational-convolutional", "filters": (4, 8), "code": 3, "beta": 0.2}
    fit = {"epochs": 25, "batch_size": 8, "learning_rate": 0.01}
    published = train("autoencoder", colour_pictures, store=store, name="vae", parameters={**layers, **fit})
    return {stored.model: stored for stored in published}


@pytest.fixture(scope="module")
def clusters(store: Path) -> StoredVersion:
    (stored,) = train("cluster", store=store, name="clusters", parameters={"clusters": 10})
    return stored


@pytest.fixture(scope="module")
def wines(store: Path) -> StoredVersion:
    (stored,) = train("cluster", "wine", store=store, name="wines", parameters={"most_clusters": 6})
    return stored


@pytest.fixture(scope="module")
def service(
    store: Path, dense: object, clusters: object, wines: object, encoded: object, components: object, codes: object
) -> Iterator[RunningService]:
    with running(store) as service:
        yield service


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return digits.load().test.inputs


def assert_whole(stored: StoredVersion) -> None:
    checks = {"ONNX checker": onnx_check.check, "golden replay": replay.check}
    assert Store(stored.path.parents[1]).verify(stored, checks) == []


def run(stored: StoredVersion, inputs: np.ndarray) -> dict[str, np.ndarray]:
    return Session(stored.onnx_path).run(inputs)


def report_of(stored: StoredVersion) -> set[str]:
    """List the figures of a report but for those about the data set."""
    return {Path(name).stem for name in stored.manifest.files if name.endswith(".png")} - {"class_counts", "samples"}


def ask(service: RunningService, model: str, name: str, datatype: str, rows: np.ndarray) -> dict[str, np.ndarray]:
    tensor = {"name": name, "shape": rows.shape, "datatype": datatype, "data": rows.ravel().tolist()}
    answer = httpx.post(f"{service.url}/v2/models/{model}/infer", json={"inputs": [tensor]}, timeout=30)
    assert answer.status_code == 200, answer.text
    return {output["name"]: np.array(output["data"]).reshape(output["shape"]) for output in answer.json()["outputs"]}


# Autoencoders


@pytest.mark.parametrize("kind", ["dense", "variational"])
def test_five_models_are_published_as_one_group(request: pytest.FixtureRequest, kind: str) -> None:
    published: dict[str, StoredVersion] = request.getfixturevalue(kind)

    name = next(iter(published))
    members = tuple(name + suffix for suffix in ("", "-encoder", "-decoder", "-anomaly", "-classifier"))
    assert tuple(published) == members
    for stored in published.values():
        assert stored.manifest.group is not None
        assert stored.manifest.group.members == members
        assert_whole(stored)
    assert report_of(published[name]) == {
        "learning_curves", "reconstructions", "new_pictures", "code_space", "anomaly_scores",
    }  # fmt: skip


def test_noise_is_an_anomaly_and_a_digit_is_none(dense: dict[str, StoredVersion], pictures: np.ndarray) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 1)).astype(np.uint8)

    usual, foreign = (run(dense["dense-anomaly"], rows) for rows in (pictures, noise))

    assert foreign["is_anomaly"].mean() > 0.95
    assert usual["is_anomaly"].mean() < 0.04
    assert foreign["p_value"].max() < 0.05
    assert np.mean(usual["p_value"] <= 0.5) == pytest.approx(0.5, abs=0.15)
    # One of 145 is the least that 144 held-out rows can tell.
    assert foreign["p_value"].min() == pytest.approx(1 / 145)


def test_the_score_is_the_error_of_the_reconstruction(dense: dict[str, StoredVersion], pictures: np.ndarray) -> None:
    reconstructed = run(dense["dense"], pictures)["reconstruction"]

    score = run(dense["dense-anomaly"], pictures)["score"]

    expected = np.mean((pictures / 255 - reconstructed) ** 2, axis=(1, 2, 3))
    np.testing.assert_allclose(score, expected, rtol=1e-4)
    metrics = dense["dense-anomaly"].manifest.metrics
    assert metrics["mean_score"] == pytest.approx(dense["dense"].manifest.metrics["mean_squared_error"], rel=1e-4)
    assert metrics["false_alarm_rate"] < 0.04


def test_the_classifier_reads_the_code_and_is_compared_with_raw_pixels(dense: dict[str, StoredVersion]) -> None:
    rows = digits.load().test
    metrics = dense["dense-classifier"].manifest.metrics

    answers = run(dense["dense-classifier"], rows.inputs)["probabilities"]

    assert np.mean(answers.argmax(axis=1) == rows.targets) == pytest.approx(metrics["accuracy"])
    assert metrics["accuracy"] > 0.8
    assert metrics["accuracy_on_pixels"] > 0.9
    whole = dense["dense"].manifest.metrics
    assert (whole["accuracy_on_codes"], whole["accuracy_on_pixels"]) == (
        metrics["accuracy"], metrics["accuracy_on_pixels"],
    )  # fmt: skip


def test_a_variational_encoder_gives_means_and_variances(variational: dict[str, StoredVersion]) -> None:
    encoder, decoder = variational["vae-encoder"], variational["vae-decoder"]
    rows = np.random.default_rng(1).integers(0, 256, (4, 7, 5, 3)).astype(np.uint8)

    codes = run(encoder, rows)

    assert [spec.name for spec in encoder.manifest.outputs] == ["code", "log_variance"]
    assert codes["code"].shape == codes["log_variance"].shape == (4, 3)
    # No chance in the published graphs: the same rows give the same codes, and decoding them the reconstruction.
    assert np.array_equal(run(encoder, rows)["code"], codes["code"])
    whole = run(variational["vae"], rows)["reconstruction"]
    np.testing.assert_allclose(run(decoder, codes["code"])["reconstruction"], whole, atol=1e-5)


def test_codes_from_a_normal_distribution_decode_to_red_and_blue(variational: dict[str, StoredVersion]) -> None:
    codes = np.random.default_rng(0).standard_normal((200, 3)).astype(np.float32)

    made = run(variational["vae-decoder"], codes)["reconstruction"]

    assert made.shape == (200, 7, 5, 3)
    redness = made[..., 0].mean(axis=(1, 2)) - made[..., 2].mean(axis=(1, 2))
    assert redness.max() > 0.2
    assert redness.min() < -0.2
    assert variational["vae-classifier"].manifest.metrics["accuracy"] == 1


# Clusters


def test_clusters_of_digits_agree_with_the_digits(clusters: StoredVersion) -> None:
    assert_whole(clusters)
    metrics = clusters.manifest.metrics

    assert [spec.name for spec in clusters.manifest.outputs] == ["label", "distances", "embedding"]
    assert next(iter(metrics)) == "silhouette"
    assert metrics["adjusted_rand_index"] > 0.45
    assert metrics["purity"] > 0.6
    assert report_of(clusters) == {"learning_curves", "explained_variance", "clusters", "nearest_pictures"}


def test_the_label_is_the_nearest_centre_among_the_components(clusters: StoredVersion, pictures: np.ndarray) -> None:
    answers = run(clusters, pictures)

    assert answers["distances"].shape == (359, 10)
    assert answers["embedding"].shape == (359, 16)
    assert answers["label"].dtype == np.int64
    assert np.array_equal(answers["label"], answers["distances"].argmin(axis=1))
    assert np.mean(answers["distances"].min(axis=1) ** 2) == pytest.approx(
        clusters.manifest.metrics["inertia"], rel=1e-3
    )


def test_the_number_of_clusters_of_a_table_is_chosen_without_its_labels(wines: StoredVersion) -> None:
    assert_whole(wines)
    facts = json.loads((wines.path / "report/evaluation.json").read_text())

    assert wines.manifest.outputs[1].shape == (None, 3)
    assert facts["clusters"] == 3
    assert sum(facts["rows_per_cluster"]) == 36
    assert wines.manifest.metrics["adjusted_rand_index"] > 0.8
    assert "number_of_clusters" in report_of(wines)


def test_a_table_without_a_target_has_clusters_too(store: Path, tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    rows = chance.normal(size=(60, 2)) + 20 * (np.arange(60) % 3)[:, None]
    customers = tmp_path / "customers.csv"
    np.savetxt(customers, rows, delimiter=",", header="age,spent (€)", comments="", encoding="utf-8")

    (stored,) = train("cluster", customers, store=store, parameters={"most_clusters": 5})

    assert_whole(stored)
    assert stored.manifest.inputs[0].columns == ("age", "spent (€)")
    assert stored.manifest.outputs[1].shape == (None, 3)
    assert stored.manifest.metrics["silhouette"] > 0.7
    assert set(stored.manifest.metrics) == {"silhouette", "inertia", "explained_variance"}
    assert stored.golden().truth is None


@pytest.fixture(scope="module")
def encoded(store: Path) -> StoredVersion:
    """Clusters among the codes of an encoder that is fitted in few bits and taken over."""
    where = {"space": "encoder", "components": 8, "hidden": (32,), "clusters": 10}
    fit = {"epochs": 12, "learning_rate": 0.005, "precision": "mixed_bfloat16"}
    (stored,) = train("cluster", store=store, name="encoded", parameters={**where, **fit})
    return stored


def test_distances_are_measured_among_the_codes_of_an_encoder(encoded: StoredVersion, pictures: np.ndarray) -> None:
    assert_whole(encoded)
    facts = json.loads((encoded.path / "report/evaluation.json").read_text())
    answers = run(encoded, pictures)

    assert answers["embedding"].shape == (359, 8)
    assert np.array_equal(answers["label"], answers["distances"].argmin(axis=1))
    assert set(encoded.manifest.metrics) >= {"silhouette", "inertia", "mean_squared_error", "adjusted_rand_index"}
    assert encoded.manifest.metrics["mean_squared_error"] < 0.06
    assert encoded.manifest.metrics["purity"] > 0.5
    # The history is the encoder's: its error falls from epoch to epoch.
    assert len(facts["history"]["loss"]) == 12
    assert facts["history"]["loss"][-1] < facts["history"]["loss"][0]
    assert report_of(encoded) == {"learning_curves", "k_means", "clusters", "nearest_pictures"}


def test_distances_are_measured_among_all_numbers(store: Path) -> None:
    (stored,) = train("cluster", "iris", store=store, name="raw", parameters={"space": "raw", "clusters": 3})
    rows = iris.load()

    answers = run(stored, rows.test.inputs)

    assert_whole(stored)
    mean, deviation = rows.train.inputs.mean(axis=0), rows.train.inputs.std(axis=0)
    np.testing.assert_allclose(answers["embedding"], (rows.test.inputs - mean) / deviation, atol=1e-4)
    assert set(stored.manifest.metrics) >= {"silhouette", "inertia"}
    assert "explained_variance" not in stored.manifest.metrics


@pytest.mark.parametrize(
    ("recipe", "settings", "message"),
    [
        pytest.param("cluster", {"learning_rate": 0.1}, "learning_rate=0.1", id="no-gradient-in-k-means"),
        pytest.param("cluster", {"space": "raw", "batch_size": 8}, "batch_size=8", id="raw"),
        pytest.param("cluster", {"space": "encoder", "loss": "huber"}, "loss=huber", id="encoder-has-its-loss"),
        pytest.param("embed", {"epochs": 3}, "epochs=3", id="components-are-found-at-once"),
    ],
)
def test_options_without_a_meaning_are_refused(store: Path, recipe: str, settings: dict, message: str) -> None:
    with pytest.raises(InvalidParameter, match=f"{message}: expected the default: it means nothing to such a fit"):
        train(recipe, store=store, parameters=settings)


def test_more_clusters_than_rows_are_refused(store: Path) -> None:
    with pytest.raises(InvalidParameter, match="clusters=500: expected fewer than the 120 training rows"):
        train("cluster", "iris", store=store, parameters={"clusters": 500})


# Embeddings


@pytest.fixture(scope="module")
def components(store: Path) -> StoredVersion:
    (stored,) = train("embed", store=store, name="components", parameters={"components": 20})
    return stored


@pytest.fixture(scope="module")
def codes(store: Path) -> StoredVersion:
    fit = {"space": "encoder", "components": 2, "hidden": (16,), "epochs": 40, "learning_rate": 0.01}
    (stored,) = train("embed", "wine", store=store, name="codes", parameters=fit)
    return stored


def test_an_embedding_says_how_much_it_leaves_out(components: StoredVersion, pictures: np.ndarray) -> None:
    assert_whole(components)
    rows = digits.load().train.inputs.reshape(-1, 64) / 255
    flat = pictures.reshape(-1, 64) / 255

    answers = run(components, pictures)

    # Nothing of a row is lost but what lies beside the components.
    beside = np.sum((flat - rows.mean(axis=0)) ** 2, axis=1) - np.sum(answers["embedding"] ** 2, axis=1)
    assert answers["embedding"].shape == (359, 20)
    np.testing.assert_allclose(answers["reconstruction_error"], beside / 64, rtol=0.1, atol=1e-3)
    metrics = components.manifest.metrics
    assert list(metrics) == ["explained_variance", "mean_squared_error"]
    assert 0.85 < metrics["explained_variance"] < 0.95
    assert metrics["mean_squared_error"] == pytest.approx(answers["reconstruction_error"].mean(), rel=1e-4)
    assert report_of(components) == {"learning_curves", "explained_variance", "code_space"}


def test_an_embedding_with_all_components_leaves_nothing_out(store: Path) -> None:
    (stored,) = train("embed", "wine", store=store, name="all-components")

    errors = run(stored, wine.load().test.inputs)["reconstruction_error"]

    assert not errors.any()
    assert stored.manifest.metrics["explained_variance"] == 1


def test_an_encoder_embeds_a_table(codes: StoredVersion) -> None:
    assert_whole(codes)

    assert codes.manifest.outputs[0].shape == (None, 2)
    assert codes.manifest.metrics["explained_variance"] > 0.4
    assert report_of(codes) == {"learning_curves", "code_space"}


# Pictures without classes


@pytest.fixture(scope="module")
def flat_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("without") / "holiday"
    folder.mkdir()
    for index, picture in enumerate(digits.load().train.inputs[:60]):
        Image.fromarray(picture[..., 0]).save(folder / f"{index:02}.png")
    return folder


def test_pictures_without_labels_have_codes_clusters_and_an_embedding(store: Path, tmp_path: Path) -> None:
    rows = digits.load()
    path = tmp_path / "plain.npz"
    np.savez(path, x_train=rows.train.inputs[:120], x_test=rows.test.inputs[:30])

    whole, *parts = train("autoencoder", path, store=store, parameters={"epochs": 1, "hidden": (8,), "code": 4})
    (embedded,) = train("embed", path, store=store, parameters={"components": 4})

    assert [stored.model for stored in parts] == [
        f"plain-autoencoder-{part}" for part in ("encoder", "decoder", "anomaly")
    ]
    for stored in (whole, embedded):
        assert_whole(stored)
        assert stored.golden().truth is None


def test_a_folder_of_pictures_without_classes_has_clusters(store: Path, flat_folder: Path) -> None:
    (stored,) = train("cluster", flat_folder, store=store, parameters={"clusters": 4})

    assert_whole(stored)
    assert stored.model == "holiday-cluster"
    assert stored.manifest.dataset.sizes == {"train": 48, "test": 12}
    assert set(stored.manifest.metrics) == {"silhouette", "inertia", "explained_variance"}


def test_a_classifier_still_needs_classes(store: Path, flat_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "plain.npz"
    np.savez(path, x_train=np.zeros((20, 4, 4), np.uint8), x_test=np.zeros((5, 4, 4), np.uint8))

    with pytest.raises(UnusableData, match="lacks y_train, y_test"):
        train("cnn", path, store=store)
    with pytest.raises(UnusableData, match=r"no pictures .*each folder is a class"):
        train("cnn", flat_folder, store=store)


def test_half_of_the_labels_is_a_mistake(store: Path, tmp_path: Path) -> None:
    path = tmp_path / "half.npz"
    np.savez(path, x_train=np.zeros((20, 4, 4), np.uint8), y_train=np.zeros(20), x_test=np.zeros((5, 4, 4), np.uint8))

    with pytest.raises(UnusableData, match="lacks y_test"):
        train("cluster", path, store=store)


# Through HTTP


def test_a_service_answers_what_keras_answered(
    request: pytest.FixtureRequest, service: RunningService, dense: dict[str, StoredVersion]
) -> None:
    others = [request.getfixturevalue(name) for name in ("clusters", "wines", "encoded", "components", "codes")]
    for stored in (dense["dense-anomaly"], dense["dense-classifier"], *others):
        golden, (spec,) = stored.golden(), stored.manifest.inputs
        datatype = {"uint8": "UINT8", "float32": "FP32"}[spec.dtype]

        answered = ask(service, stored.model, spec.name, datatype, golden.inputs[spec.name])

        assert set(answered) == set(golden.keras)
        for name, expected in golden.keras.items():
            np.testing.assert_allclose(answered[name], expected, rtol=1e-4, atol=1e-5 * float(np.abs(expected).max()))


def test_a_service_alarms_at_noise(service: RunningService) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1)).astype(np.uint8)

    answered = ask(service, "dense-anomaly", "image", "UINT8", noise)

    assert answered["is_anomaly"].dtype == bool
    assert answered["is_anomaly"].mean() > 0.9
    assert answered["p_value"].max() < 0.05

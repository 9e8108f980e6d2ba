"""The recipe detector, from scenes to a published version that the service answers."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image
from service_process import running

from model_store import Store, StoredVersion, golden
from model_store.manifest import Tolerance
from model_store.predictions import PREDICTIONS_FILE, Predictions
from service.runtime import replay
from training import train
from training.datasets import Dataset, Rows, digit_scenes
from training.detection.anchors import BACKGROUND, IGNORED, AnchorMap, assign, choose_maps, offsets
from training.detection.evaluation import detections
from training.detection.metrics import average_precision
from training.errors import InvalidParameter, UnfitDataset
from training.exporting import onnx_check

pytestmark = pytest.mark.tensorflow

SMALL = {"filters": "8,16,24", "width": 16, "anchors": 2, "epochs": 8, "patience": 8, "learning_rate": 0.01,
         "max_objects": 5, "score": 0.15}  # fmt: skip


def squares() -> Rows:
    """Bright squares and flat bars, one kind of object a picture: to be learned in seconds."""
    random = np.random.default_rng(0)
    objects = [np.full((8, 8, 1), 255), np.full((8, 8, 1), 255)]
    objects[1][2:6] = 0
    kinds = random.integers(2, size=40)
    return Rows(np.stack([objects[kind] for kind in kinds]).astype(np.uint8), kinds)


def squares_to_find(most: int) -> Dataset:
    random = np.random.default_rng(1)
    parts = [digit_scenes.scenes(squares(), count, most, random) for count in (160, 40)]
    return digit_scenes.DESCRIPTION.dataset(*parts, labels=("square", "bars"), sha256="0" * 64)


@pytest.fixture(scope="module")
def scenes() -> Dataset:
    return squares_to_find(3)


def trained(dataset: Dataset, folder: Path, **parameters: Any) -> StoredVersion:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digit_scenes, "load", lambda: dataset)
        (stored,) = train("detector", store=folder / "store", name="finder", parameters=SMALL | parameters)
    return stored


@pytest.fixture(scope="module")
def finder(scenes: Dataset, tmp_path_factory: pytest.TempPathFactory) -> StoredVersion:
    return trained(scenes, tmp_path_factory.mktemp("many"))


@pytest.fixture(scope="module")
def localiser(tmp_path_factory: pytest.TempPathFactory) -> StoredVersion:
    return trained(squares_to_find(1), tmp_path_factory.mktemp("one"), objects="one")


def run(stored: StoredVersion, pictures: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(stored.onnx_path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"image": pictures}), strict=True))


def test_a_published_detector_says_what_its_outputs_are(finder: StoredVersion) -> None:
    manifest = finder.manifest

    assert Store(finder.path.parents[1]).verify(finder, {"ONNX checker": onnx_check.check}) == []
    assert [(spec.name, spec.dtype, spec.shape, spec.kind) for spec in manifest.outputs] == [
        ("boxes", "float32", (None, 5, 4), "boxes"),
        ("scores", "float32", (None, 5), "score"),
        ("classes", "int64", (None, 5), "label"),
        ("count", "int64", (None,), "tensor"),
    ]
    assert manifest.outputs[2].labels == ("square", "bars")
    assert list(manifest.metrics) == ["map_50", "map_50_95", "precision_at_score_0.5", "recall_at_score_0.5"]
    assert manifest.metrics["map_50"] > 0.3
    assert "images" not in manifest.parameters


@pytest.fixture(scope="module")
def small_finder(scenes: Dataset, tmp_path_factory: pytest.TempPathFactory) -> StoredVersion:
    return trained(scenes, tmp_path_factory.mktemp("int8"), quantize="int8", max_drop=0.1)


def test_a_detector_in_int8_is_measured_through_its_file_and_replays(
    small_finder: StoredVersion, scenes: Dataset
) -> None:
    facts = small_finder.manifest.extra["quantization"]
    pictures = list(scenes.test.targets)

    found = detections(run(small_finder, scenes.test.inputs))

    assert (facts["metric"], facts["int8"]["map_50"]) == ("map_50", small_finder.manifest.metrics["map_50"])
    assert average_precision(pictures, found, 2).mean_at_half == pytest.approx(facts["int8"]["map_50"])
    assert facts["int8"]["bytes"] < facts["float32"]["bytes"]
    assert facts["drop"] <= facts["max_drop"]
    # What chooses among the boxes, and what they are made of, is computed in float32.
    assert facts["operators"] == {"Conv": 10}
    assert replay.check(small_finder) == []


def test_a_detector_publishes_its_boxes_beside_what_is_there(small_finder: StoredVersion, scenes: Dataset) -> None:
    published = Predictions.read(small_finder.path / PREDICTIONS_FILE)

    assert [objects.tolist() for objects in published.truth_by_picture()] == [
        objects.tolist() for objects in scenes.test.targets
    ]
    measured = average_precision(published.truth_by_picture(), published.predicted_by_picture(), 2)
    assert measured.mean_at_half == pytest.approx(small_finder.manifest.metrics["map_50"])


def test_golden_rows_replay_and_show_something(finder: StoredVersion) -> None:
    rows = finder.golden()

    assert golden.compare(rows.keras, run(finder, rows.inputs["image"]), Tolerance()) == []
    assert rows.truth is None
    assert rows.keras["count"].sum() > 0


def test_suppression_is_in_the_graph_and_rows_never_mix(finder: StoredVersion, scenes: Dataset) -> None:
    pictures = scenes.test.inputs[:20]

    together = run(finder, pictures)

    alone = [run(finder, pictures[row : row + 1]) for row in range(20)]
    for name, array in together.items():
        assert array == pytest.approx(np.concatenate([answer[name] for answer in alone]), abs=1e-4)
    assert {node.op_type for node in onnx.load(finder.onnx_path).graph.node} & {"NonMaxSuppression", "Loop"}
    for row, count in enumerate(together["count"]):
        assert (together["scores"][row, :count] > 0.15).all()
        assert not together["scores"][row, count:].any()
        assert not together["boxes"][row, count:].any()


def test_boxes_stay_within_the_picture(finder: StoredVersion, scenes: Dataset) -> None:
    boxes = run(finder, scenes.test.inputs)["boxes"]

    assert boxes.min() >= 0
    assert boxes.max() <= 64


def test_the_report_shows_scenes_curves_and_figures_per_class(finder: StoredVersion) -> None:
    facts = json.loads((finder.path / "report/evaluation.json").read_text())

    reports = {name for name in finder.manifest.files if name.endswith(".png")}
    assert reports >= {f"report/{name}.png" for name in ("learning_curves", "scenes", "precision_recall")}
    assert facts["per_class"]["square"]["ap_50"] <= 1
    bounds = facts["intervals"]["map_50"]
    assert bounds["low"] < finder.manifest.metrics["map_50"] < bounds["high"]
    assert len(facts["precision_at_recalls"]["bars"]) == 101
    mean = np.mean([figures["ap_50"] for figures in facts["per_class"].values()])
    assert mean == pytest.approx(finder.manifest.metrics["map_50"], abs=1e-5)


def test_one_object_is_a_class_and_a_box(localiser: StoredVersion) -> None:
    answers = run(localiser, localiser.golden().inputs["image"])

    assert [(spec.name, spec.shape, spec.kind) for spec in localiser.manifest.outputs] == [
        ("probabilities", (None, 2), "probabilities"),
        ("box", (None, 4), "boxes"),
    ]
    assert list(localiser.manifest.metrics)[:3] == ["right_and_localised", "accuracy", "mean_iou"]
    assert localiser.manifest.metrics["mean_iou"] > 0.15
    assert answers["probabilities"].sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert (answers["box"][:, 2:] >= answers["box"][:, :2]).all()


@pytest.fixture(scope="module")
def service_url(finder: StoredVersion, localiser: StoredVersion) -> Iterator[str]:
    store = finder.path.parents[1]
    (localiser.path.parent).rename(store / "localiser")
    with running(store) as service:
        yield service.url


def png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture[..., 0]).save(file, "PNG")
    return file.getvalue()


def test_the_service_finds_what_the_detector_finds(service_url: str, finder: StoredVersion, scenes: Dataset) -> None:
    picture = scenes.test.inputs[int(np.argmax(run(finder, scenes.test.inputs)["count"]))]
    expected = {name: array[0] for name, array in run(finder, picture[None]).items()}

    answer = httpx.post(f"{service_url}/v2/models/finder/predict", content=png(picture)).json()

    found = answer["predictions"][0]["detections"]
    count = int(expected["count"])
    assert count > 0
    assert [entry["label"] for entry in found] == [("square", "bars")[kind] for kind in expected["classes"][:count]]
    assert [entry["score"] for entry in found] == pytest.approx(expected["scores"][:count].tolist(), abs=1e-4)
    boxes = np.array([entry["box"] for entry in found])
    assert boxes == pytest.approx(expected["boxes"][:count], abs=1e-3)


def test_the_service_places_the_one_object(service_url: str, scenes: Dataset) -> None:
    answer = httpx.post(f"{service_url}/v2/models/localiser/predict", content=png(scenes.test.inputs[0])).json()

    (prediction,) = answer["predictions"]
    assert prediction["label"] in ("square", "bars")
    assert len(prediction["box"]) == 4


def test_one_object_needs_pictures_of_one_object(scenes: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UnfitDataset, match=r"training picture \d+ has [23]: use objects=many"):
        trained(scenes, tmp_path, objects="one")


def test_pictures_that_are_too_small_for_the_filters_are_refused(scenes: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UnfitDataset, match="pictures of 64 x 64 cannot be halved 7 times"):
        trained(scenes, tmp_path, filters="8,8,8,8,8,8,8")


def test_options_of_files_are_refused_where_there_are_none(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match="files of pictures as data; digit-scenes is none"):
        train("detector", store=tmp_path, parameters={"picture_size": "64"})
    with pytest.raises(InvalidParameter, match="annotated pictures as data"):
        train("dnn", store=tmp_path, parameters={"images": "here"})
    with pytest.raises(UnfitDataset, match=r"it can from: digit-scenes, digit-scenes-single$"):
        train("detector", "digits", store=tmp_path)


# Anchors


ANCHORS = AnchorMap(8, ((8.0, 8.0), (8.0, 16.0)))


def test_anchors_lie_around_the_middle_of_their_cells() -> None:
    boxes = ANCHORS.boxes(16, 24)

    assert boxes.shape == (2 * 3 * 2, 4)
    assert boxes[0].tolist() == [0, 0, 8, 8]
    assert boxes[1].tolist() == [0, -4, 8, 12]
    assert boxes[-2].tolist() == [16, 8, 24, 16]


def test_sizes_come_from_the_boxes_and_lie_on_the_map_that_suits_them() -> None:
    small, large = [[5, 5, 21, 21]] * 5, [[0, 0, 60, 30]] * 3

    maps = choose_maps(np.array(small + large, np.float32), 2, (4, 8, 16), seed=0)

    assert maps == (AnchorMap(4, ((16.0, 16.0),)), AnchorMap(8, ((60.0, 30.0),)))


def test_every_object_has_an_anchor_and_the_ground_has_the_rest() -> None:
    anchors = ANCHORS.boxes(16, 24)
    objects = np.array([[0, 0, 8, 8, 3], [17, 9, 19, 11, 5]], np.float32)

    learned = assign(objects, anchors)

    assert learned[0].tolist() == [0, 0, 0, 0, 3]
    # Far smaller than any anchor, and still somebody's.
    assert (learned[:, 4] == 5).sum() == 1
    # The tall anchor of the first cell overlaps it by a half.
    assert learned[1, 4] in (3, IGNORED)
    assert (learned[:, 4] == BACKGROUND).sum() == len(anchors) - 3
    assert (assign(objects[:0], anchors)[:, 4] == BACKGROUND).all()


def test_boxes_are_the_inverse_of_offsets(scenes: Dataset) -> None:
    from training.detection.layers import Boxes

    anchors = ANCHORS.boxes(64, 64)[:50]
    boxes = np.random.default_rng(0).uniform(1, 30, (50, 4)).astype(np.float32)
    boxes[:, 2:] = np.minimum(boxes[:, 2:] + boxes[:, :2] + 1, 63)
    answers = np.concatenate([offsets(boxes, anchors), np.zeros((50, 1), np.float32)], axis=1)

    found, scores = Boxes(anchors, 64, 64)(answers[None])

    assert np.asarray(found)[0] == pytest.approx(boxes, abs=1e-3)
    assert np.asarray(scores)[0] == pytest.approx(0.5)


@pytest.mark.parametrize("shape", [(50, 70, 3), (33, 64, 1)], ids=["colour", "grey"])
def test_the_network_answers_for_every_anchor_of_pictures_of_any_size(shape: tuple[int, ...]) -> None:
    from training.detection.networks import single_shot

    maps = (AnchorMap(4, ((16.0, 16.0), (8.0, 20.0))), AnchorMap(16, ((60.0, 40.0),)))

    model = single_shot(shape, (4, 4, 4, 4), 4, maps, 3)

    anchors = sum(len(found.boxes(shape[0], shape[1])) for found in maps)
    assert model.output_shape == (None, anchors, 4 + 3)
    assert np.asarray(model(np.zeros((2, *shape), np.uint8))).shape == (2, anchors, 7)

"""What a detector answers: a list for people, in pixels of their own picture; tensors by the protocol."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tiny_models
from PIL import Image
from service_process import FRONTS, OVENBIRD, RunningService, running

from model_store.manifest import OutputSpec
from service.codec.detections import find


@pytest.fixture(scope="module", params=list(FRONTS))
def cats(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    store = tmp_path_factory.mktemp("detections") / "store"
    tiny_models.publish_detector(store)
    with running(store, command=FRONTS[request.param]) as service:
        yield service


def png(width: int, height: int, value: int = 255, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new("L", (width, height), value).save(file, "PNG", **options)
    return file.getvalue()


def predictions(service: RunningService, **request: Any) -> list[dict[str, Any]]:
    answer = httpx.post(f"{service.url}/v2/models/cats/predict", **request)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["predictions"]
    return found


def test_a_list_has_exactly_what_was_found(cats: RunningService) -> None:
    (bright,) = predictions(cats, content=png(6, 4))
    (dark,) = predictions(cats, content=png(6, 4, 0))

    assert bright == {"detections": [{"label": "cat", "score": 1.0, "box": [1, 0, 4.5, 2]}]}
    assert dark == {"detections": []}


def test_boxes_count_the_pixels_of_the_picture_that_was_sent(cats: RunningService) -> None:
    (twice,) = predictions(cats, content=png(12, 40))

    assert twice["detections"][0]["box"] == [2, 0, 9, 20]


def test_boxes_of_a_picture_on_its_side_belong_to_the_upright_one(cats: RunningService) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6

    (turned,) = predictions(cats, content=png(40, 12, exif=exif))

    assert turned["detections"][0]["box"] == [2, 0, 9, 20]


def test_each_picture_of_a_form_has_boxes_of_its_own_size(cats: RunningService) -> None:
    files = [("file", (f"{width}.png", png(width, 4), "image/png")) for width in (6, 12, 60)]

    found = predictions(cats, files=files)

    assert [row["file"] for row in found] == ["6.png", "12.png", "60.png"]
    assert [row["detections"][0]["box"][2] for row in found] == [4.5, 9, 45]


def test_boxes_of_pixels_in_json_stay_in_the_models_pixels(cats: RunningService) -> None:
    (row,) = predictions(cats, json={"inputs": np.full((1, 4, 6, 1), 255).tolist()})

    assert row["detections"][0]["box"] == [1, 0, 4.5, 2]


def test_the_protocol_answers_with_padded_tensors(cats: RunningService) -> None:
    pixels = [255] * 24
    body = {"inputs": [{"name": "image", "shape": [1, 4, 6, 1], "datatype": "UINT8", "data": pixels}]}

    outputs = httpx.post(f"{cats.url}/v2/models/cats/infer", json=body).json()["outputs"]

    data = {output["name"]: (output["shape"], output["data"]) for output in outputs}
    assert data == {
        "boxes": ([1, 2, 4], [1, 0, 4.5, 2, 0, 0, 0, 0]),
        "scores": ([1, 2], [1, 0]),
        "classes": ([1, 2], [1, 0]),
        "count": ([1], [1]),
    }


def test_the_classification_extension_does_not_take_places_for_classes(cats: RunningService) -> None:
    asked = [{"name": "classes", "parameters": {"classification": 1}}]
    body = {"inputs": [{"name": "image", "shape": [1, 4, 6, 1], "datatype": "UINT8", "data": [255] * 24}]}

    (output,) = httpx.post(f"{cats.url}/v2/models/cats/infer", json=body | {"outputs": asked}).json()["outputs"]

    assert output["data"] == ["1:0"]


def test_the_command_line_prints_a_line_for_each_detection(cats: RunningService, tmp_path: Path) -> None:
    for name, value in (("bright.png", 255), ("dark.png", 0)):
        (tmp_path / name).write_bytes(png(12, 40, value))

    words = [*OVENBIRD, "predict", "cats", "bright.png", "dark.png", "--url", cats.url]
    shown = subprocess.run(words, cwd=tmp_path, capture_output=True, check=True, text=True)

    assert shown.stdout == "bright.png: 1 found\n  cat  (100.0%)  at 2,0 – 9,20\ndark.png: 0 found\n"


def test_outputs_that_do_not_belong_together_are_no_detector() -> None:
    boxes = OutputSpec(name="boxes", dtype="float32", shape=(None, 2, 4), kind="boxes")
    scores = OutputSpec(name="scores", dtype="float32", shape=(None, 2), kind="score")

    assert find((boxes, scores)) is None

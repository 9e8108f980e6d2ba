"""The user's own pictures with boxes, as COCO and as Pascal VOC write them; and scenes of digits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from training import datasets
from training.datasets import Dataset, Rows, digit_scenes, digits
from training.datasets.dataset import boxes_array, check_usable, split
from training.errors import UnusableData
from training.options import FileOptions

PICTURES = 12


def load(path: Path, **options: Any) -> Dataset:
    return datasets.load(str(path), FileOptions(**options), form="annotations")


def draw(folder: Path, *, colour: bool = False, ending: str = "png") -> list[str]:
    """Twelve pictures of 20 x 10 pixels, darker and lighter."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{number:02}.{ending}" for number in range(PICTURES)]
    for number, name in enumerate(names):
        shade = 20 * number
        Image.new("RGB", (20, 10), (shade, 0 if colour else shade, shade)).save(folder / name)
    return names


def coco(names: list[str]) -> dict[str, Any]:
    """A dog in each picture at 2, 1 with 4 x 6 pixels, and a cat in every second."""
    dogs = [{"image_id": number, "category_id": 7, "bbox": [2, 1, 4, 6]} for number in range(len(names))]
    cats = [{"image_id": number, "category_id": 3, "bbox": [-5, 0, 10, 99.5]} for number in range(0, len(names), 2)]
    return {
        "images": [{"id": number, "file_name": name} for number, name in enumerate(names)],
        "annotations": [*dogs, *cats],
        "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}, {"id": 9, "name": "nowhere"}],
    }


def write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def first_boxes(dataset: Dataset) -> list[list[float]]:
    """Of the first picture that shows both, its boxes."""
    return next(boxes.tolist() for boxes in dataset.train.targets if len(boxes) == 2)


@pytest.mark.parametrize("folder", [".", "images", "boxes"])
def test_coco_is_read_with_pictures_beside_it(tmp_path: Path, folder: str) -> None:
    names = draw(tmp_path / folder)

    dataset = check_usable(load(write(tmp_path / "boxes.json", coco(names)), picture_size=(30, 40)))

    assert (dataset.kind, dataset.name, dataset.labels) == ("boxes", "boxes", ("cat", "dog"))
    assert dataset.train.inputs.shape[1:] == (30, 40, 1)
    assert dataset.sizes == {"train": 10, "test": 2}
    # Twice as wide, three times as high; cut at the border.
    assert first_boxes(dataset) == [[4, 3, 12, 21, 1], [0, 0, 10, 30, 0]]
    assert dataset.train.targets[0].dtype == np.float32


def test_coco_in_its_usual_folders_or_in_one_that_is_named(tmp_path: Path) -> None:
    names = draw(tmp_path / "val2017", colour=True)
    path = write(tmp_path / "annotations" / "instances_val2017.json", coco(names))

    usual, named = load(path), load(path, images=str(tmp_path / "val2017"))

    assert usual.train.inputs.shape[1:] == (128, 128, 3)
    assert np.array_equal(usual.test.inputs, named.test.inputs)


def test_crowds_are_left_out_and_pictures_without_objects_stay(tmp_path: Path) -> None:
    content = coco(draw(tmp_path))
    for entry in content["annotations"][4:PICTURES]:
        entry["iscrowd"] = 1

    dataset = load(write(tmp_path / "boxes.json", content))

    counts = sorted(len(boxes) for boxes in [*dataset.train.targets, *dataset.test.targets])
    assert counts == [0] * 4 + [1] * 6 + [2] * 2


def voc_xml(name: str, extra: str = "") -> str:
    dog = "<bndbox><xmin>3</xmin><ymin>2</ymin><xmax>6</xmax><ymax>7</ymax></bndbox>"
    return (
        f"<annotation><filename>{name}</filename><object><name>dog</name>{dog}</object>{extra}"
        f"<object><name>wolf</name><difficult>1</difficult>{dog}</object></annotation>"
    )


CAT = "<object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>20</xmax><ymax>10</ymax></bndbox></object>"


@pytest.mark.parametrize("folders", [("Annotations", "JPEGImages"), (".", ".")], ids=["usual", "side-by-side"])
def test_voc_is_read(tmp_path: Path, folders: tuple[str, str]) -> None:
    notes, pictures = folders
    for name in draw(tmp_path / pictures, ending="jpg"):
        write(tmp_path / notes / f"{Path(name).stem}.xml", voc_xml(name if notes != "." else "moved", CAT))

    dataset = check_usable(load(tmp_path, picture_size=(10, 20)))

    assert dataset.labels == ("cat", "dog")
    # Pixels count from 1 there, and the last one belongs to the box.
    assert first_boxes(dataset) == [[2, 1, 6, 7, 1], [0, 0, 20, 10, 0]]


def changed(**changes: Any) -> dict[str, Any]:
    return coco([f"{number:02}.png" for number in range(PICTURES)]) | changes


def one(**changes: Any) -> dict[str, Any]:
    return changed(annotations=[{"image_id": 0, "category_id": 3, "bbox": [0, 0, 1, 1]} | changes])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param("{", "boxes.json: not JSON: ", id="no-json"),
        pytest.param([], "expected an object with images, annotations and categories", id="a-list"),
        pytest.param(changed(images=None), "images: expected a list", id="no-images"),
        pytest.param(changed(images=[]), "images: it lists none", id="empty"),
        pytest.param(changed(images=[{"id": 1}]), "file_name: expected a number or a text", id="no-name"),
        pytest.param(changed(images=[{"id": 0, "file_name": "gone.png"}], annotations=[]),
                     "picture 'gone.png' is in none of .*--set images=DIR", id="no-picture"),
        pytest.param(one(category_id=5), "annotation 0: no image 0, or no category 5", id="unknown-category"),
        pytest.param(one(bbox=[0, 0, 1]), r"annotation 0: bbox: expected \[x, y, width, height\]", id="three-numbers"),
        pytest.param(one(bbox=[0, 0, 0, 5]), r"00.png: object 1 \(cat\): the box .* has no area", id="degenerate"),
        pytest.param(one(bbox=[30, 0, 5, 5]), "has no area within the picture of 20 x 10", id="outside"),
        pytest.param(changed(annotations=[]), "no picture has an object", id="no-objects"),
    ],
)  # fmt: skip
def test_a_wrong_coco_file_is_refused_in_one_line(tmp_path: Path, content: object, message: str) -> None:
    draw(tmp_path)

    with pytest.raises(UnusableData, match=message) as refused:
        load(write(tmp_path / "boxes.json", content))

    assert "\n" not in str(refused.value)


BILLION_LAUGHS = '<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;&b;">]><annotation>&c;</annotation>'
OUTSIDE = '<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("<annotation>", "note.xml: not XML: ", id="unclosed"),
        pytest.param(BILLION_LAUGHS, r"note.xml: a document type \(a\) is not read: remove it", id="entities"),
        pytest.param(OUTSIDE, "a document type", id="a-file-outside"),
        pytest.param(voc_xml("gone.png").replace("gone", "../gone"), "picture 'gone.png' is in none", id="no-picture"),
        pytest.param(voc_xml("01.png").replace(">3<", ">x<"), "bndbox: expected the numbers xmin", id="no-number"),
        pytest.param(voc_xml("01.png").replace(">3<", ">nan<"), "are not finite", id="nan"),
        pytest.param(voc_xml("01.png").replace("dog", ""), "an object has no name", id="no-name"),
        pytest.param(voc_xml("01.png").replace(">6<", ">1<"), r"01.png: object 1 \(dog\): the box", id="degenerate"),
    ],
)
def test_a_wrong_voc_file_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    draw(tmp_path / "JPEGImages")

    with pytest.raises(UnusableData, match=message):
        load(write(tmp_path / "Annotations" / "note.xml", text).parents[1])


def test_what_is_not_there_or_no_picture_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "boxes.json", coco(draw(tmp_path)))
    (tmp_path / "03.png").write_text("no picture")

    with pytest.raises(UnusableData, match=r"03\.png: not a picture that can be read"):
        load(path)
    with pytest.raises(UnusableData, match="no such folder"):
        load(path, images=str(tmp_path / "gone"))
    with pytest.raises(UnusableData, match="no such file or folder"):
        load(tmp_path / "gone")
    with pytest.raises(UnusableData, match=r"no \.xml file"):
        load(tmp_path)


# Scenes of digits, and boxes as targets


@pytest.fixture(scope="module")
def scenes() -> Dataset:
    return digit_scenes.compose(digits.load(), 4, digit_scenes.DESCRIPTION, (200, 40))


def test_boxes_of_scenes_are_tight_around_the_ink(scenes: Dataset) -> None:
    for picture, boxes in zip(scenes.test.inputs[..., 0], scenes.test.targets, strict=True):
        left, top, right, bottom = boxes[:, :4].astype(int).T
        ink = np.argwhere(picture >= digit_scenes.INK)
        assert 1 <= len(boxes) <= 4
        assert np.array_equal(ink.min(axis=0), [top.min(), left.min()])
        assert np.array_equal(ink.max(axis=0) + 1, [bottom.max(), right.max()])


def test_the_same_digits_give_the_same_scenes_and_others_than_in_training(scenes: Dataset) -> None:
    again = digit_scenes.compose(digits.load(), 4, digit_scenes.DESCRIPTION, (200, 40))

    assert scenes.sha256 == again.sha256
    assert not np.array_equal(scenes.train.inputs[:40], scenes.test.inputs)
    assert "composed of digits: CC BY 4.0" in scenes.source


def test_rows_with_boxes_are_parted_and_taken(scenes: Dataset) -> None:
    kept, held = split(scenes.train, 0.25, seed=1, stratified=scenes.is_classified)

    assert (len(kept), len(held)) == (150, 50)
    assert held.targets[0].shape[1] == 5


def test_boxes_of_one_length_stay_one_array_a_row() -> None:
    rows = Rows(np.arange(2), boxes_array([np.zeros((3, 5), np.float32)] * 2))

    assert [boxes.shape for boxes in rows.take(np.array([1, 0])).targets] == [(3, 5), (3, 5)]

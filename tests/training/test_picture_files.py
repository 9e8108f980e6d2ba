"""Folders and lists of pictures: what is read, how it is parted, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model_store.manifest import ImageFormat
from service.codec.pictures import picture
from training import datasets
from training.datasets import Dataset, picture_files
from training.datasets.dataset import digest, split
from training.datasets.on_disk import RowsOnDisk, empty_on_disk
from training.errors import InvalidParameter, UnusableData
from training.job import prepare
from training.options import FileOptions

RANDOM = np.random.default_rng(0)


def save(path: Path, *, height: int = 6, width: int = 8, mode: str = "RGB", colour: int | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RANDOM.integers(0, 256, (height, width, 3)) if colour is None else np.full((height, width, 3), colour)
    Image.fromarray(pixels.astype(np.uint8)).convert(mode).save(path)


def load(path: Path, **options: object) -> Dataset:
    return datasets.load(str(path), FileOptions(**options))  # type: ignore[arg-type]


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Ten cats and five dogs, of one size."""
    for index in range(15):
        save(tmp_path / "pets" / ("cat" if index < 10 else "dog") / f"{index}.png")
    return tmp_path / "pets"


def test_each_folder_is_a_class_and_a_fifth_of_each_is_held_out(pets: Path) -> None:
    dataset = load(pets)

    assert dataset.labels == ("cat", "dog")
    assert dataset.sizes == {"train": 12, "test": 3}
    assert np.bincount(dataset.test.targets).tolist() == [2, 1]
    assert dataset.train.inputs.shape == (12, 6, 8, 3)
    assert dataset.train.inputs.dtype == np.uint8
    assert (dataset.name, dataset.source, dataset.kind) == ("pets", "pets", "image")


def test_the_same_pictures_are_held_out_whoever_asks(pets: Path) -> None:
    jobs = [prepare(recipe, pets, store=pets.parent / "store", name=None, parameters={}) for recipe in ("dnn", "cnn")]
    tests = [np.asarray(job.dataset.test.inputs) for job in jobs]

    assert np.array_equal(*tests)
    assert jobs[0].dataset.sha256 == jobs[1].dataset.sha256
    assert [job.name for job in jobs] == ["pets-dnn", "pets-cnn"]


def test_the_pixels_are_those_that_the_service_would_show_the_model(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for index in range(5):
            save(tmp_path / "set" / name / f"{index}.png", height=31, width=20 + index, mode="RGBA")

    dataset = load(tmp_path / "set", picture_size=(10, 12))

    wanted = ImageFormat(height=10, width=12, channels=3)
    files = [tmp_path / "set" / name / f"{index}.png" for name in ("a", "b") for index in range(5)]
    seen = {picture(file.read_bytes(), wanted).tobytes() for file in files}
    learned = {row.tobytes() for part in (dataset.train, dataset.test) for row in np.asarray(part.inputs)}
    assert learned == seen


def test_pictures_of_several_sizes_are_brought_to_one(pets: Path) -> None:
    save(pets / "cat" / "large.jpg", height=400, width=300)

    assert load(pets).train.inputs.shape[1:] == (96, 96, 3)
    assert load(pets, picture_size=(5,)).train.inputs.shape[1:] == (5, 5, 3)
    (note,) = load(pets).notes
    assert note.startswith("pictures of several sizes are brought to 96 x 96: choose a size with --set picture_size=")
    assert load(pets, picture_size=(5,)).notes == ()


def test_large_pictures_of_one_size_are_made_smaller_and_that_is_said(tmp_path: Path) -> None:
    for index in range(10):
        save(tmp_path / str(index % 2) / f"{index}.png", height=300, width=20)

    assert load(tmp_path).notes[0].startswith("pictures of 300 x 20 are brought to 96 x 96")


def test_grey_files_make_grey_pictures_unless_colours_are_asked_for(tmp_path: Path) -> None:
    for index in range(10):
        save(tmp_path / str(index % 2) / f"{index}.png", mode="L")

    assert load(tmp_path).train.inputs.shape[-1] == 1
    assert load(tmp_path, colour="colour").train.inputs.shape[-1] == 3


def test_one_colour_among_grey_makes_all_colour(pets: Path) -> None:
    save(pets / "dog" / "grey.png", mode="L")

    assert load(pets).train.inputs.shape[-1] == 3
    assert load(pets, colour="grey").train.inputs.shape[-1] == 1


@pytest.mark.parametrize(
    ("parts", "sizes"),
    [
        (("train", "test"), {"train": 8, "test": 8}),
        (("train", "test", "validation"), {"train": 16, "test": 8}),
        (("Train", "val"), {"train": 8, "test": 8}),
    ],
)
def test_folders_named_after_splits_are_kept_apart(tmp_path: Path, parts: tuple[str, ...], sizes: object) -> None:
    for part in parts:
        for index in range(8):
            save(tmp_path / part / f"class {index % 2}" / "deeper" / f"{index}.png", colour=9 if part == "test" else 1)

    dataset = load(tmp_path)

    assert dataset.sizes == sizes
    assert dataset.labels == ("class 0", "class 1")
    if "test" in parts:
        assert set(np.unique(np.asarray(dataset.test.inputs))) == {9}


def test_broken_files_are_refused_by_their_names_or_left_out(pets: Path) -> None:
    (pets / "cat" / "broken.jpg").write_bytes(b"no picture")
    whole = (pets / "dog" / "12.png").read_bytes()
    (pets / "dog" / "cut.png").write_bytes(whole[: len(whole) // 2])

    with pytest.raises(
        UnusableData,
        match=r"2 cannot be decoded: cat/broken.jpg, dog/cut.png \(not a picture in PNG, .*broken_pictures=skip",
    ):
        load(pets)
    dataset = load(pets, broken_pictures="skip")

    assert dataset.sizes == {"train": 12, "test": 3}
    assert dataset.source == "pets, 2 broken pictures left out"
    assert dataset.notes == ("2 broken pictures left out: cat/broken.jpg, dog/cut.png",)
    (pets / "dog" / "cut.png").unlink()
    assert load(pets, broken_pictures="skip").notes == ("1 broken picture left out: cat/broken.jpg",)


def test_a_folder_without_pictures_is_refused(pets: Path) -> None:
    (pets / "fish").mkdir()
    (pets / "fish" / "notes.txt").write_text("none yet")

    with pytest.raises(UnusableData, match=r"fish: no pictures"):
        load(pets)
    with pytest.raises(UnusableData, match=r"cat: no pictures"):
        load(pets / "cat")


def test_what_lies_beside_the_pictures_is_ignored(pets: Path) -> None:
    (pets / ".cache").mkdir()
    (pets / "cat" / "notes.txt").write_text("x")
    (pets / "labels.txt").write_text("x")

    assert sum(load(pets).sizes.values()) == 15


def test_the_digest_follows_the_content_and_not_the_place(pets: Path) -> None:
    before = load(pets).sha256
    moved = load(pets.rename(pets.parent / "moved"))
    save(pets.parent / "moved" / "dog" / "12.png")

    assert moved.sha256 == before
    assert load(pets.parent / "moved").sha256 != before


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_list_names_pictures_labels_and_splits(pets: Path, kind: str) -> None:
    entries = [(f"pets/{'cat' if n < 10 else 'dog'}/{n}.png", "yes" if n % 2 else "no", n) for n in range(15)]
    rows = [{"picture": path, "label": label, "split": "test" if n > 11 else "train"} for path, label, n in entries]
    lines = [json.dumps(row) for row in rows] if kind == "jsonl" else [",".join(row.values()) for row in rows]
    head = [] if kind == "jsonl" else ["picture,label,split"]
    listing = pets.parent / f"labels.{kind}"
    listing.write_text("\n".join([*head, *lines]) + "\n")

    dataset = load(listing)

    assert dataset.sizes == {"train": 12, "test": 3}
    assert dataset.labels == ("no", "yes")
    assert dataset.name == "labels"


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ('{"picture": "a.png"}', "entry 1: expected picture, label"),
        ('{"picture": "a.png", "label": "x", "split": "later"}', "entry 1: expected picture, label"),
        ('{"picture": "a.png", "label"', "Expecting"),
        ('{"picture": "absent.png", "label": "x"}', "1 cannot be decoded: absent.png"),
    ],
)
def test_a_list_with_a_bad_line_is_refused(tmp_path: Path, lines: str, complaint: str) -> None:
    (tmp_path / "list.jsonl").write_text(lines)

    with pytest.raises(UnusableData, match=complaint):
        load(tmp_path / "list.jsonl")


def test_a_size_is_one_number_or_two(pets: Path) -> None:
    with pytest.raises(InvalidParameter, match=r"picture_size=.*expected height,width"):
        load(pets, picture_size=(1, 2, 3))


def test_options_of_pictures_are_refused_where_there_are_none(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match=r"expected files of pictures as data; digits is none"):
        prepare("cnn", "digits", store=tmp_path, name=None, parameters={"picture_size": "9,9"})


def test_a_full_disk_is_told_in_one_line(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(picture_files, "empty_on_disk", no_room)

    with pytest.raises(UnusableData, match=r"no room for .* GB of pixels \(No space left on device\): set TMPDIR"):
        load(pets)


# Rows that stay on disk


def numbered(count: int) -> RowsOnDisk:
    file = empty_on_disk((count, 2), np.int64)
    file[:] = np.arange(2 * count).reshape(count, 2)
    return RowsOnDisk(file, np.arange(count))


def test_rows_on_disk_are_indexed_as_an_array() -> None:
    rows, array = numbered(10), np.arange(20).reshape(10, 2)

    assert (len(rows), rows.shape, rows.ndim, rows.dtype) == (10, (10, 2), 2, np.int64)
    for key in (3, slice(2, 5), [4, 1, 1], np.array([7, 0])):
        assert np.array_equal(rows[key], array[key])
    assert np.array_equal(np.asarray(rows), array)
    assert np.array_equal(rows.astype(np.float32), array.astype(np.float32))


def test_parts_of_parts_read_nothing_and_keep_their_order() -> None:
    part = numbered(10).part(np.array([8, 2, 6])).part(np.array([2, 0]))

    assert isinstance(part, RowsOnDisk)
    assert part[:].tolist() == [[12, 13], [16, 17]]


def test_rows_on_disk_are_hashed_as_an_array() -> None:
    assert digest(numbered(1000)[:]) == digest(numbered(1000))  # type: ignore[arg-type]


def test_rows_that_are_split_stay_on_disk(pets: Path) -> None:
    kept, held = split(load(pets).train, 0.25, seed=0, stratified=True)

    assert isinstance(kept.inputs, RowsOnDisk)
    assert isinstance(held.inputs, RowsOnDisk)
    assert isinstance(kept.take(np.arange(2)).inputs, np.ndarray)

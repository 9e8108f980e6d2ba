"""Data sets: what a loaded one promises, how rows are parted, and what is refused about files."""

from __future__ import annotations

import functools
import hashlib
import io
import os
import pickle
import shutil
import urllib.error
import zipfile
from pathlib import Path

import numpy as np
import pytest

from training import datasets
from training.datasets import DESCRIPTIONS, Dataset, Rows
from training.datasets.cache import cached
from training.datasets.dataset import check_usable, classes, digest, held_out, split, texts
from training.datasets.unpickle import read_object_array
from training.datasets.user_files import Form
from training.errors import DatasetAbsent, DatasetAltered, UnknownDataset, UnusableData
from training.options import FileOptions

BUNDLED = [name for name, known in DESCRIPTIONS.items() if known.needs == "nothing"]
SHAPES = {
    "digits": ((8, 8, 1), np.uint8),
    "iris": ((4,), np.float32),
    "wine": ((13,), np.float32),
    "breast-cancer": ((30,), np.float32),
    "diabetes": ((10,), np.float32),
    "xor": ((2,), np.float32),
    "and": ((2,), np.float32),
    "or": ((2,), np.float32),
    "stdlib": ((), object),
    "digit-scenes": ((64, 64, 1), np.uint8),
    "digit-scenes-single": ((64, 64, 1), np.uint8),
}


def load(name: str | Path, form: Form | None = None, **options: str) -> Dataset:
    return datasets.load(str(name), FileOptions(**options), form=form)


@functools.cache
def bundled(name: str) -> Dataset:
    """Load a data set once for all tests that only look at it: `stdlib` takes seconds."""
    return load(name)


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_data_set_is_raw_and_as_described(name: str) -> None:
    dataset = bundled(name)
    shape, dtype = SHAPES[name]

    assert dataset.train.inputs.shape[1:] == dataset.test.inputs.shape[1:] == shape
    assert dataset.train.inputs.dtype == dtype
    assert dataset.kind == DESCRIPTIONS[name].kind
    assert (dataset.labels is None) == (DESCRIPTIONS[name].task == "regression")
    assert dataset.license == DESCRIPTIONS[name].license
    share = len(dataset.test) / (len(dataset.train) + len(dataset.test))
    assert share == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize("name", ["digits", "stdlib"])
def test_loading_twice_gives_the_same_rows(name: str) -> None:
    first, second = bundled(name), load(name)

    assert first.sha256 == second.sha256
    assert np.array_equal(first.test.inputs, second.test.inputs)


def test_digits_fill_the_range_of_a_byte() -> None:
    assert load("digits").train.inputs.max() == 255


def test_diabetes_targets_are_in_their_own_unit() -> None:
    assert load("diabetes").train.targets.max() > 300


def test_code_and_prose_are_what_they_say() -> None:
    dataset = bundled("stdlib")
    everything = [*dataset.train.inputs, *dataset.test.inputs]

    assert len(set(everything)) == len(everything)
    assert np.bincount(dataset.train.targets).tolist() == [len(dataset.train) // 2] * 2
    prose = dataset.train.inputs[dataset.train.targets == 1]
    assert all(len(sentence.split()) >= 4 for sentence in prose)
    code = dataset.train.inputs[dataset.train.targets == 0]
    assert np.mean(["=" in line or "(" in line or ":" in line for line in code]) > 0.8


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownDataset, match=r"unknown data set 'mnsit' \(did you mean 'mnist'\?\); known: digits, "):
        load("mnsit")


# How rows are parted


def rows_of(targets: list[int]) -> Rows:
    return Rows(np.arange(len(targets)), np.array(targets, dtype=np.int64))


def test_a_stratified_split_holds_the_share_of_every_class() -> None:
    kept, held = split(rows_of([0] * 100 + [1] * 20), 0.2, seed=1, stratified=True)

    assert np.bincount(held.targets).tolist() == [20, 4]
    assert sorted([*kept.inputs, *held.inputs]) == list(range(120))


def test_the_seed_decides_the_split_and_nothing_else_does() -> None:
    rows = rows_of([0, 1] * 50)

    same = [split(rows, 0.2, seed=7, stratified=True)[1].inputs.tolist() for _ in range(2)]
    other = split(rows, 0.2, seed=8, stratified=True)[1].inputs.tolist()

    assert same[0] == same[1] != other


def test_a_class_with_one_row_stays_with_the_training() -> None:
    kept, held = held_out(rows_of([0] * 20 + [1]), stratified=True)

    assert 1 in kept.targets
    assert 1 not in held.targets


def test_class_names_sort_by_value_where_they_are_numbers() -> None:
    assert classes(["10", "9", "10"])[0] == ("9", "10")
    assert classes(["b", "10", "a"])[0] == ("10", "a", "b")
    assert classes(["b", "a", "b"])[1].tolist() == [1, 0, 1]


def test_a_digest_tells_contents_apart() -> None:
    assert digest(texts(["ab", "c"])) != digest(texts(["a", "bc"]))
    assert digest(np.zeros(2, np.float32)) != digest(np.zeros(2, np.int32))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_rows_are_hashed_in_pieces_as_if_at_once(dtype: str) -> None:
    rows = np.arange(1000 * 6).reshape(1000, 3, 2).astype(dtype)

    for some in (rows, rows[100:900], rows[:, :1], rows[:0]):
        assert digest(some) == hashlib.sha256(f"{some.dtype.str}{some.shape}".encode() + some.tobytes()).hexdigest()


@pytest.mark.parametrize(
    ("targets", "labels", "complaint"),
    [
        pytest.param([0] * 8, ("a", "b"), "9 rows are too few: at least 10", id="few-rows"),
        pytest.param([0] * 20, ("a",), r"one class only \(a\)", id="one-class"),
        pytest.param([0] * 20, ("a", "b"), "no training row of the class 'b'", id="class-without-rows"),
    ],
)
def test_data_that_nothing_can_be_learned_from_is_refused(
    targets: list[int], labels: tuple[str, ...], complaint: str
) -> None:
    dataset = Dataset(
        name="d",
        kind="features",
        train=rows_of(targets),
        test=rows_of([0]),
        labels=labels,
        license="none",
        source="",
        sha256="0" * 64,
    )

    with pytest.raises(UnusableData, match=complaint):
        check_usable(dataset)


# Files in Keras's cache


def test_an_altered_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets/mnist.npz").write_bytes(b"something else")

    with pytest.raises(
        DatasetAltered, match=r"mnist\.npz: its sha256 is [0-9a-f]{12}…, the known file's is 731c5ac60275…"
    ):
        load("mnist")


def test_an_absent_file_without_a_download_says_where_it_should_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))

    with pytest.raises(DatasetAbsent, match=r"datasets/nsmc/ratings_train\.txt is missing: .* KERAS_HOME"):
        load("nsmc")


def test_a_failed_download_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))

    def no_network() -> None:
        raise urllib.error.URLError("no\nnetwork")

    with pytest.raises(DatasetAbsent) as caught:
        cached("some.npz", "0" * 64, download=no_network)

    assert "could not be downloaded (<urlopen error no network>)" in str(caught.value)
    assert "\n" not in str(caught.value)


def write_object_npz(path: Path, payload: bytes) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": (2,)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", header.getvalue() + payload)


def test_lists_of_numbers_are_read_from_an_object_array(tmp_path: Path) -> None:
    expected = np.array([[1, 2], [3]], dtype=object)
    write_object_npz(tmp_path / "a.npz", pickle.dumps(expected))

    assert read_object_array(tmp_path / "a.npz", "x").tolist() == [[1, 2], [3]]


class Attack:
    def __reduce__(self):
        return os.mkdir, ("attacked",)


@pytest.mark.parametrize("payload", [Attack(), {1: np.float64(3)}, slice(1)], ids=["os.mkdir", "scalar", "slice"])
def test_a_pickle_that_names_anything_but_arrays_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, payload: object
) -> None:
    monkeypatch.chdir(tmp_path)
    write_object_npz(tmp_path / "a.npz", pickle.dumps(payload))

    with pytest.raises(DatasetAltered, match="is not allowed"):
        read_object_array(tmp_path / "a.npz", "x")

    assert not Path("attacked").exists()


# The user's own files


def test_a_table_with_names_as_target_is_a_classification(tmp_path: Path, write_csv) -> None:
    rows = [[index, index * 2, "cat" if index % 2 else "dog"] for index in range(20)]
    dataset = load(write_csv(tmp_path / "pets.csv", ["a", "petal length (cm)", "kind"], rows), target="kind")

    assert dataset.labels == ("cat", "dog")
    assert dataset.columns == ("a", "petal length (cm)")
    assert dataset.name == "pets"
    assert dataset.train.inputs.dtype == np.float32


@pytest.mark.parametrize(
    ("answers", "task", "is_classification"),
    [
        pytest.param(range(40), "auto", False, id="many-whole-numbers"),
        pytest.param([0, 1] * 20, "auto", True, id="few-whole-numbers"),
        pytest.param([0.5, 1.5] * 20, "auto", False, id="fractions"),
        pytest.param([0, 1] * 20, "regression", False, id="as-asked-regression"),
        pytest.param([*range(20), *range(20)], "classification", True, id="as-asked-classification"),
    ],
)
def test_the_task_follows_from_the_target(
    tmp_path: Path, write_csv, answers, task: str, is_classification: bool
) -> None:
    rows = [[index, answer] for index, answer in enumerate(answers)]

    dataset = load(write_csv(tmp_path / "t.csv", ["x", "target"], rows), task=task)

    assert (dataset.labels is not None) == is_classification


def test_texts_and_labels_are_read_with_their_line_breaks(tmp_path: Path, write_csv) -> None:
    rows = [[f'line {index},\nand "more"', "a" if index % 2 else "b"] for index in range(20)]

    dataset = load(write_csv(tmp_path / "m.csv", ["body", "folder"], rows), form="texts", text="body", target="folder")

    assert dataset.labels == ("a", "b")
    assert 'line 0,\nand "more"' in [*dataset.train.inputs, *dataset.test.inputs]


GOOD = "x,y,target\n" + "".join(f"{index},{index},{index % 2}\n" for index in range(20))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        pytest.param("x,y\n1,2\n", "no column 'target'; it has: x, y", id="missing-column"),
        pytest.param(GOOD + "nan,1,0\n", "column 'x', line 22: nan is not finite", id="nan"),
        pytest.param(GOOD + "1,-inf,0\n", "column 'y', line 22: -inf is not finite", id="infinite"),
        pytest.param(GOOD + "1,1e39,0\n", "column 'y', line 22: 1e39 is not finite", id="beyond-float32"),
        pytest.param(GOOD + ",1,0\n", "column 'x', line 22: empty; the recipe tabular takes gaps", id="empty-cell"),
        pytest.param(GOOD + "1,1,\n", "column 'target', line 22: empty", id="empty-target"),
        pytest.param(
            GOOD + "Paris,1,0\n", "column 'x', line 22: 'Paris' is text, but a table's columns are numbers", id="text"
        ),
        pytest.param(GOOD + "1,2\n", "line 22 has 2 fields, the header has 3", id="ragged"),
        pytest.param("x,x,target\n1,2,3\n", "must name each column once, received x, x, target", id="same-names"),
        pytest.param("", "must name each column once, received nothing", id="empty"),
        pytest.param("target\n" + "1\n" * 20, "no column beside the target 'target'", id="target-only"),
        pytest.param("x,target\n1,0\n2,1\n", "t: 2 rows are too few: at least 10", id="few-rows"),
        pytest.param("x,target\n" + "1,yes\n" * 20, r"t: one class only \(yes\)", id="one-class"),
    ],
)
def test_a_table_is_refused_with_column_and_line(tmp_path: Path, content: str, complaint: str) -> None:
    (tmp_path / "t.csv").write_text(content, encoding="utf-8")

    with pytest.raises(UnusableData, match=complaint):
        load(tmp_path / "t.csv")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"\xff\xfe\x00binary")

    with pytest.raises(UnusableData, match=r"not a CSV file in UTF-8.*save it as UTF-8 \(it may be Latin-1"):
        load(tmp_path / "t.csv")


@pytest.mark.parametrize("name", ["absent.csv", "absent.npz", "folder/absent"])
def test_a_missing_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnusableData, match="no such file"):
        load(tmp_path / name)


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"")

    with pytest.raises(UnusableData, match=r"expected a file that ends in \.csv, \.parquet, \.jsonl, \.npz"):
        load(tmp_path / "model.bin")


def pictures(count: int, *shape: int) -> np.ndarray:
    return np.arange(count * int(np.prod(shape))).reshape(count, *shape).astype(np.uint8)


NPZ = {
    "x_train": pictures(20, 4, 4),
    "y_train": np.tile([3, 7], 10),
    "x_test": pictures(6, 4, 4),
    "y_test": np.tile([3, 7], 3),
}


def test_grey_pictures_get_their_channel_and_labels_their_names(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", **NPZ)

    dataset = load(tmp_path / "p.npz")

    assert dataset.train.inputs.shape == (20, 4, 4, 1)
    assert dataset.labels == ("3", "7")
    assert dataset.test.targets.tolist() == [0, 1] * 3


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        pytest.param({"x_test": None}, "lacks x_test; it has: ", id="missing-array"),
        pytest.param(
            {"x_test": pictures(6, 5, 4)}, r"x_train holds pictures of \(4, 4\), x_test of", id="sizes-differ"
        ),
        pytest.param({"x_train": pictures(20, 4, 4, 2)}, r"1 or 3\], received \[20, 4, 4, 2\]", id="two-channels"),
        pytest.param({"x_train": np.zeros((20, 4, 4))}, "whole numbers 0..255, received float64", id="floats"),
        pytest.param({"x_train": np.full((20, 4, 4), 256)}, "whole numbers 0..255, received int64", id="too-bright"),
        pytest.param({"y_train": np.zeros(19, int)}, "y_train must hold one whole number or name", id="few-labels"),
        pytest.param({"y_test": np.zeros(6)}, "y_test must hold one whole number or name", id="float-labels"),
        pytest.param({"y_train": np.full(20, 3), "y_test": np.full(6, 3)}, r"one class only \(3\)", id="one-class"),
        pytest.param({"y_test": np.full(6, 9)}, "no training row of the class '9'", id="class-in-test-only"),
        pytest.param({"y_train": np.array([[1], [2]] * 10, dtype=object)}, "not an .npz of plain arrays", id="pickle"),
    ],
)
def test_pictures_are_refused_with_what_was_expected(tmp_path: Path, change: dict, complaint: str) -> None:
    arrays = {name: array for name, array in {**NPZ, **change}.items() if array is not None}
    np.savez(tmp_path / "p.npz", allow_pickle=True, **arrays)

    with pytest.raises(UnusableData, match=complaint):
        load(tmp_path / "p.npz")


# Data sets that must be downloaded or placed


@pytest.mark.system
@pytest.mark.parametrize(
    ("name", "sizes", "classes_"),
    [
        ("mnist", {"train": 60_000, "test": 10_000}, 10),
        ("fashion-mnist", {"train": 60_000, "test": 10_000}, 10),
        ("imdb", {"train": 25_000, "test": 25_000}, 2),
        ("reuters", {"train": 8_982, "test": 2_246}, 46),
        ("nsmc", {"train": 150_000, "test": 50_000}, 2),
    ],
)
def test_a_cached_data_set_is_whole(cached_dataset, name: str, sizes: dict[str, int], classes_: int) -> None:
    dataset = cached_dataset(name)

    assert dataset.sizes == sizes
    assert dataset.labels is not None
    assert len(dataset.labels) == classes_
    assert np.bincount(dataset.train.targets, minlength=classes_).min() > 0


@pytest.mark.system
def test_texts_are_put_together_from_word_numbers(cached_dataset) -> None:
    reviews = cached_dataset("imdb").train.inputs

    assert reviews[0].startswith("bromwell high is a cartoon comedy")


@pytest.mark.system
def test_an_altered_copy_of_a_real_data_set_is_refused(
    cached_dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached_dataset("reuters")
    source = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "datasets/reuters.npz"
    (tmp_path / "datasets").mkdir()
    shutil.copy(source, tmp_path / "datasets/reuters.npz")
    with (tmp_path / "datasets/reuters.npz").open("ab") as file:
        file.write(b"!")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))

    with pytest.raises(DatasetAltered):
        load("reuters")

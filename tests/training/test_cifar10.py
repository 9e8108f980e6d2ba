"""CIFAR-10 and the part of it: pickles that are read without giving them their powers."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from model_store.manifest import sha256_of
from training import datasets
from training.datasets import Dataset, cifar10, cifar10_subset
from training.datasets.unpickle import read_pickle
from training.errors import DatasetAbsent, DatasetAltered
from training.options import FileOptions


@pytest.fixture
def subset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twenty pictures to learn from and ten to test, laid out as the real ones: all red, but the first pixel blue."""
    folder = tmp_path / "datasets" / "cifar-10-subset"
    folder.mkdir(parents=True)
    for name, count in ((cifar10_subset.TRAIN, 20), (cifar10_subset.TEST, 10)):
        pictures = np.zeros((count, 3, 32, 32), np.uint8)
        pictures[:, 0], pictures[:, :, 0, 0] = 255, [0, 0, 255]
        batch = {b"data": pictures.reshape(count, -1), b"labels": [row % 10 for row in range(count)]}
        (folder / name).write_bytes(pickle.dumps(batch))
        monkeypatch.setitem(cifar10_subset.SHA256, name, sha256_of(folder / name))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    return folder


def test_the_planes_of_a_row_become_the_colours_of_a_picture(subset: Path) -> None:
    dataset = datasets.load("cifar10-subset", FileOptions())

    assert dataset.sizes == {"train": 20, "test": 10}
    assert dataset.train.inputs.shape == (20, 32, 32, 3)
    assert dataset.train.inputs[0, 0, 0].tolist() == [0, 0, 255]
    assert dataset.train.inputs[0, 5, 7].tolist() == [255, 0, 0]
    assert dataset.train.targets[:3].tolist() == [0, 1, 2]
    assert dataset.labels is not None
    assert dataset.labels[9] == "truck"


@pytest.mark.tensorflow
def test_the_part_stands_in_for_the_whole_under_its_own_name(subset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    def offline() -> None:
        raise Exception("URL fetch failure")

    monkeypatch.setattr(keras.datasets.cifar10, "load_data", offline)

    assert cifar10.load().name == "cifar10-subset"
    (subset / cifar10_subset.TRAIN).unlink()
    with pytest.raises(DatasetAbsent, match="cifar10 is not in"):
        cifar10.load()


def test_a_batch_that_calls_something_is_refused(subset: Path) -> None:
    class Call:
        def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
            return os.system, ("touch called",)

    (subset / "bad").write_bytes(pickle.dumps({b"data": Call()}))
    (subset / "list").write_bytes(pickle.dumps([1]))

    with pytest.raises(DatasetAltered, match="system is not allowed"):
        read_pickle(subset / "bad")
    with pytest.raises(DatasetAltered, match="a pickle of a list"):
        read_pickle(subset / "list")


def test_an_altered_batch_is_refused(subset: Path) -> None:
    with (subset / cifar10_subset.TRAIN).open("ab") as file:
        file.write(b"x")

    with pytest.raises(DatasetAltered, match="remove it"):
        cifar10_subset.load()


@pytest.mark.system
def test_the_real_part_is_whole(cached_dataset: Callable[[str], Dataset]) -> None:
    dataset = cached_dataset("cifar10-subset")

    assert dataset.sizes == {"train": 10_000, "test": 1_000}
    assert np.bincount(dataset.test.targets).tolist() == [103, 89, 100, 103, 90, 86, 112, 102, 106, 109]

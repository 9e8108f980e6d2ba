"""Pictures that stay on disk while a network learns from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.datasets import Dataset, Rows
from training.datasets.on_disk import RowsOnDisk, empty_on_disk
from training.fitting.feeding import Feed
from training.fitting.fit import fit
from training.network import Network
from training.options import FitOptions
from training.recipes import RECIPES

pytestmark = pytest.mark.tensorflow


def rows(count: int = 40) -> Rows:
    """Pictures whose every pixel is the picture's number, and whose target is whether that is odd."""
    file = empty_on_disk((count, 4, 4, 1), np.uint8)
    file[:] = np.arange(count, dtype=np.uint8)[:, None, None, None]
    return Rows(RowsOnDisk(file, np.arange(count)), np.arange(count) % 2)  # type: ignore[arg-type]


def network(recipe: str) -> tuple[Network, Dataset]:
    train = rows()
    dataset = Dataset(
        name="stripes",
        kind="image",
        train=train,
        test=rows(10),
        labels=("even", "odd"),
        license="",
        source="",
        sha256="",
    )
    return RECIPES[recipe].build(RECIPES[recipe].parameters, dataset), dataset


def test_batches_hold_every_row_once_with_its_own_target_in_a_new_order_each_time() -> None:
    built, dataset = network("cnn")
    feed = Feed(built, dataset.train)

    passes = [list(feed.shuffled(16, seed=0, first=epoch, last=epoch + 1).as_numpy_iterator()) for epoch in range(2)]

    for batches_of_a_pass in passes:
        assert [len(inputs) for inputs, _ in batches_of_a_pass] == [16, 16, 8]
        numbers = np.concatenate([inputs[:, 0, 0, 0] for inputs, _ in batches_of_a_pass])
        assert sorted(numbers) == list(range(40))
        assert np.array_equal(numbers % 2, np.concatenate([targets for _, targets in batches_of_a_pass]))
    first, second = ([set(inputs[:, 0, 0, 0]) for inputs, _ in one] for one in passes)
    assert first != second


def test_an_epoch_has_the_same_batches_wherever_its_rows_lie() -> None:
    built, dataset = network("cnn")
    places = (dataset.train, dataset.train.take(np.arange(40)))

    epochs = [
        [
            {int(number) for number in inputs[:, 0, 0, 0]}
            for inputs, _ in Feed(built, rows).shuffled(16, seed=3, first=5, last=6).as_numpy_iterator()
        ]
        for rows in places
    ]

    assert epochs[0] == epochs[1]


@pytest.mark.parametrize("recipe", ["dnn", "cnn"])
def test_a_recipe_learns_from_disk_and_reads_a_batch_at_a_time(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    built, dataset = network(recipe)
    read: list[int] = []
    original = RowsOnDisk.__getitem__

    def counted(self: RowsOnDisk, key: object) -> np.ndarray:
        found = original(self, key)
        read.append(len(found))
        return found

    monkeypatch.setattr(RowsOnDisk, "__getitem__", counted)

    fitted = fit(built, dataset, FitOptions(epochs=2, batch_size=8))

    assert fitted.epochs == 2
    assert len(fitted.history["val_loss"]) == 2
    assert max(read) == 8
    assert sum(read) >= 2 * 40


def test_predictions_come_in_pieces_that_fit_into_the_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    built, dataset = network("cnn")
    whole = built.main.predict_first(np.asarray(dataset.train.inputs))
    monkeypatch.setattr("training.network.BYTES_AT_ONCE", 7 * 16)

    np.testing.assert_allclose(built.main.predict_first(dataset.train.inputs), whole, atol=1e-6)

"""What a data set is found to hold: classes per split, rows that occur twice, examples."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from training import datasets
from training.datasets import Dataset, Rows
from training.datasets.dataset import texts
from training.evidence.data_report import data_report
from training.options import FileOptions


def made(train: Rows, test: Rows, **facts: object) -> Dataset:
    known = {"name": "made", "kind": "text", "labels": ("up", "down", "never"), "license": "", "source": ""}
    return Dataset(train=train, test=test, sha256="", **{**known, **facts})  # type: ignore[arg-type]


@pytest.fixture
def opinions() -> Dataset:
    train = Rows(texts(["good", "bad", "good", "fine", "good"]), np.array([0, 1, 0, 0, 1]))
    return made(train, Rows(texts(["bad", "poor", "bad"]), np.array([1, 1, 1])))


def test_classes_are_counted_and_missing_ones_named(opinions: Dataset) -> None:
    facts, _ = data_report(opinions)

    assert facts["sizes"] == {"train": 5, "test": 3}
    assert facts["classes"] == {"train": {"up": 3, "down": 2, "never": 0}, "test": {"up": 0, "down": 3, "never": 0}}
    assert facts["missing_classes"] == {"train": ["never"], "test": ["up", "never"]}


def test_duplicates_are_counted_within_and_between_the_splits(opinions: Dataset) -> None:
    facts, _ = data_report(opinions)

    assert facts["duplicates"] == {"within": {"train": 2, "test": 1}, "shared_with_train": {"test": 2}}
    assert facts["warnings"] == [
        "2 of 3 test rows are among the training rows, too: they measure what was learned by heart",
        "2 of 5 train rows occur twice",
        "1 of 3 test rows occur twice",
        "no train row of never",
        "no test row of up, never",
    ]
    assert json.loads(json.dumps(facts)) == facts


def test_validation_rows_are_looked_at_too(opinions: Dataset) -> None:
    own = dataclasses.replace(opinions, validation=Rows(texts(["good", "new"]), np.array([0, 1])))

    facts, _ = data_report(own)

    assert facts["duplicates"]["shared_with_train"] == {"validation": 1, "test": 2}
    assert facts["classes"]["validation"] == {"up": 1, "down": 1, "never": 0}


def test_texts_are_shown_in_a_table(opinions: Dataset) -> None:
    _, (counts, samples) = data_report(opinions)

    assert counts.figure is not None
    assert [axes.get_title() for axes in counts.figure.axes] == ["train: 5", "test: 3"]
    assert samples.table == (("answer", "text"), ("up", "good"), ("up", "good"), ("down", "bad"), ("down", "good"))


def test_tables_of_numbers_and_texts_are_told_apart_by_what_they_say() -> None:
    columns = np.dtype([("age", np.float32), ("town", object)])
    rows = np.array([(1.5, "Seoul"), (1.5, "Se" + "oul"), (2.5, "Seoul")], dtype=columns)
    table = made(Rows(rows, np.array([0, 1, 2])), Rows(rows[2:], np.array([2])), kind="table")

    facts, (_, samples) = data_report(table)

    assert facts["duplicates"] == {"within": {"train": 1, "test": 0}, "shared_with_train": {"test": 1}}
    assert samples.table[:2] == (("answer", "age", "town"), ("up", "1.5", "Seoul"))


def test_objects_are_counted_where_rows_hold_several() -> None:
    boxes = np.empty(2, dtype=object)
    boxes[0], boxes[1] = np.array([[0, 0, 4, 4, 1], [1, 1, 2, 2, 0]], np.float32), np.zeros((0, 5), np.float32)
    scenes = made(Rows(np.zeros((2, 6, 6, 1), np.uint8), boxes), Rows(np.ones((2, 6, 6, 1), np.uint8), boxes))
    scenes = dataclasses.replace(scenes, kind="boxes")

    facts, exhibits = data_report(scenes)

    assert facts["classes"]["train"] == {"up": 1, "down": 1, "never": 0}
    assert facts["duplicates"]["within"] == {"train": 1, "test": 1}
    assert [exhibit.name for exhibit in exhibits] == ["class_counts", "samples"]


def test_pictures_are_shown_and_a_regression_has_no_classes() -> None:
    _, exhibits = data_report(datasets.load("digits", FileOptions()))
    facts, (samples,) = data_report(datasets.load("diabetes", FileOptions()))

    assert all(exhibit.figure is not None for exhibit in exhibits)
    assert facts["classes"] == {}
    assert len(samples.table) == 13
    assert samples.table[0][0] == "answer"

"""What the tests of training share: small files, jobs that are trained once, and the command line."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from model_store import Store, StoredVersion
from training import datasets, train
from training.cli import train as train_command
from training.datasets import Dataset
from training.datasets.cache import cache_folder
from training.options import FileOptions

CACHED_FILES = {
    "mnist": "mnist.npz",
    "fashion-mnist": "fashion-mnist",
    "cifar10-subset": "cifar-10-subset",
    "imdb": "imdb.npz",
    "reuters": "reuters.npz",
    "nsmc": "nsmc",
    "california-housing": "california_housing.npz",
    "boston-housing": "boston_housing.npz",
}

Train = Callable[..., list[StoredVersion]]


@pytest.fixture(scope="session")
def shared_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="session")
def train_into(shared_store: Path) -> Train:
    """Train with few epochs into the session's store."""

    def run(
        recipe: str, data: str | Path | None = None, name: str | None = None, **parameters: object
    ) -> list[StoredVersion]:
        return train(recipe, data, store=shared_store, name=name, parameters={"epochs": 2, **parameters})

    return run


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run `ovenbird train` in an empty folder, with no data set cached and none of the user's settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OVENBIRD_STORE", raising=False)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(train_command, list(arguments))

    return run


@pytest.fixture(scope="session")
def write_csv() -> Callable[..., Path]:
    def write(path: Path, header: list[str], rows: list[list[object]]) -> Path:
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([header, *rows])
        return path

    return write


@pytest.fixture(scope="session")
def opinions_csv(tmp_path_factory: pytest.TempPathFactory, write_csv: Callable[..., Path]) -> Path:
    """160 short texts in two languages, told apart by their words."""
    random = np.random.default_rng(0)
    good, bad = ["good", "great", "fine", "재미있다", "최고"], ["bad", "awful", "poor", "지루하다", "최악"]
    plain = ["the", "film", "was", "and", "story", "영화", "don't", "café"]
    rows: list[list[object]] = []
    for index in range(160):
        words = [*random.choice(plain, 3), *random.choice(good if index % 2 else bad, 2)]
        rows.append([" ".join(random.permutation(words)) + "!", "up" if index % 2 else "down"])
    return write_csv(tmp_path_factory.mktemp("texts") / "opinions.csv", ["text", "label"], rows)


@pytest.fixture(scope="session")
def cached_dataset() -> Callable[[str], Dataset]:
    """Load a data set from Keras's cache; where it is absent, skip by its name, or fail with STRICT=1."""

    def load(name: str) -> Dataset:
        # Looked for first: a test must not begin a download.
        if not (cache_folder() / CACHED_FILES[name]).exists():
            complain = pytest.fail if os.environ.get("STRICT") == "1" else pytest.skip
            complain(f"data set {name} absent: no {CACHED_FILES[name]} in {cache_folder()} (see KERAS_HOME)")
        return datasets.load(name, FileOptions())

    return load


@pytest.fixture
def empty_store(tmp_path: Path) -> Store:
    return Store(tmp_path / "empty")

"""The data sets by name, and the user's files by path.

Each module describes one source and loads it: raw inputs as a client would send them. Knows neither recipes nor
Keras (but for Keras's downloads).
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from types import ModuleType

from training.datasets import (
    breast_cancer,
    cifar10,
    diabetes,
    digits,
    fashion_mnist,
    files,
    imdb,
    iris,
    mnist,
    nsmc,
    reuters,
    stdlib,
    text_files,
    wine,
)
from training.datasets.dataset import Dataset, Kind, Rows, check_usable
from training.datasets.description import Description
from training.errors import UnknownDataset, UnusableData
from training.options import FileOptions

__all__ = ["DESCRIPTIONS", "FILE_SUFFIXES", "Dataset", "Description", "Kind", "Rows", "is_file", "is_table", "load"]

_MODULES: dict[str, ModuleType] = {
    module.DESCRIPTION.name: module
    for module in (
        digits,
        iris,
        wine,
        breast_cancer,
        diabetes,
        stdlib,
        mnist,
        fashion_mnist,
        cifar10,
        imdb,
        reuters,
        nsmc,
    )
}
DESCRIPTIONS: dict[str, Description] = {name: module.DESCRIPTION for name, module in _MODULES.items()}
TABLE_SUFFIXES = (".csv", ".parquet", ".jsonl")
FILE_SUFFIXES = (*TABLE_SUFFIXES, ".npz")


def is_file(data: str) -> bool:
    """Tell a path from the name of a data set."""
    return data not in _MODULES and ("/" in data or data.lower().endswith(FILE_SUFFIXES) or Path(data).exists())


def is_table(data: str) -> bool:
    """Tell a file with columns to choose from other data."""
    return is_file(data) and data.lower().endswith(TABLE_SUFFIXES)


def load(data: str, options: FileOptions, *, kinds: Collection[Kind] = ()) -> Dataset:
    """Load a data set by its name, or a user's file by its path, as one of the `kinds` that a recipe takes.

    Raises:
        UnknownDataset: there is no such data set and no such file.
        UnusableData: nothing can be learned from the file.
        DatasetAbsent: its file is not here and cannot be downloaded.
        DatasetAltered: its file is not the known one.
    """
    if data in _MODULES:
        dataset: Dataset = _MODULES[data].load()
    elif is_file(data):
        dataset = _load_file(Path(data), options, kinds)
    else:
        raise UnknownDataset(data, known=_MODULES, hint=f"; or the path of a file: {', '.join(FILE_SUFFIXES)}")
    return check_usable(dataset)


def _load_file(path: Path, options: FileOptions, kinds: Collection[Kind]) -> Dataset:
    if "text" in kinds:
        return text_files.load(path, options)
    if not path.is_file():
        raise UnusableData(f"{path}: no such file")
    if path.suffix.lower() == ".npz":
        return files.load_pictures(path)
    if path.suffix.lower() == ".csv":
        return files.load_table(path, options)
    raise UnusableData(f"{path}: expected a .csv or .npz file")

"""The data sets by name, and the user's files by path.

Each module describes one source and loads it: raw inputs as a client would send them. Knows neither recipes nor
Keras (but for Keras's downloads).
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from types import ModuleType

from training.datasets import (
    boston_housing,
    breast_cancer,
    california_housing,
    cifar10,
    diabetes,
    digits,
    fashion_mnist,
    files,
    imdb,
    iris,
    logical_and,
    logical_or,
    mnist,
    nsmc,
    reuters,
    stdlib,
    tables,
    wine,
    xor,
)
from training.datasets.dataset import Dataset, Kind, Rows, check_usable
from training.datasets.description import Description
from training.errors import InvalidParameter, UnknownDataset, UnusableData
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
        xor,
        logical_and,
        logical_or,
        california_housing,
        boston_housing,
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


def load(data: str, options: FileOptions, *, kinds: Collection[Kind] = (), needs_target: bool = True) -> Dataset:
    """Load a data set by its name, or a user's file by its path, as one of the `kinds` that a recipe takes.

    A table may lack the column of targets where they are not needed.

    Raises:
        UnknownDataset: there is no such data set and no such file.
        UnusableData: nothing can be learned from the file.
        DatasetAbsent: its file is not here and cannot be downloaded.
        DatasetAltered: its file is not the known one.
    """
    if data in _MODULES:
        dataset: Dataset = _MODULES[data].load()
    elif is_file(data):
        dataset = _load_file(Path(data), options, kinds, needs_target)
    else:
        raise UnknownDataset(data, known=_MODULES, hint=f"; or the path of a file: {', '.join(FILE_SUFFIXES)}")
    return check_usable(dataset)


def _load_file(path: Path, options: FileOptions, kinds: Collection[Kind], needs_target: bool) -> Dataset:
    if not path.is_file():
        raise UnusableData(f"{path}: no such file")
    if path.suffix.lower() == ".npz":
        return files.load_pictures(path)
    if path.suffix.lower() in TABLE_SUFFIXES and "table" in kinds:
        return tables.load_mixed(path, options)
    _refuse_choice_of_columns(options)
    if path.suffix.lower() == ".csv" and "text" in kinds:
        return files.load_texts(path, options)
    if path.suffix.lower() == ".csv":
        return files.load_table(path, options, needs_target=needs_target)
    if path.suffix.lower() in TABLE_SUFFIXES:
        raise UnusableData(f"{path}: a {path.suffix} file is read by the recipe tabular alone; others take .csv")
    raise UnusableData(f"{path}: expected a file that ends in {', '.join(FILE_SUFFIXES)}")


def _refuse_choice_of_columns(options: FileOptions) -> None:
    """Refuse what only tables of numbers and categories heed: it would be ignored."""
    for name in ("numbers", "categories", "drop"):
        if given := getattr(options, name):
            raise InvalidParameter(name, ",".join(given), expected="the recipe tabular; this one takes every column")

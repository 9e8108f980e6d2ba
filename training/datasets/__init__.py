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
    cifar10_subset,
    diabetes,
    digits,
    fashion_mnist,
    files,
    imdb,
    iris,
    mnist,
    nsmc,
    picture_files,
    reuters,
    stdlib,
    wine,
)
from training.datasets.dataset import Dataset, Kind, Rows, check_usable
from training.datasets.description import Description
from training.errors import UnknownDataset, UnusableData
from training.options import FileOptions, PictureOptions

__all__ = ["DESCRIPTIONS", "FILES_HINT", "Dataset", "Description", "Kind", "Rows", "is_file", "is_pictures", "load"]

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
        cifar10_subset,
        imdb,
        reuters,
        nsmc,
    )
}
DESCRIPTIONS: dict[str, Description] = {name: module.DESCRIPTION for name, module in _MODULES.items()}
FILE_SUFFIXES = (".csv", ".npz", ".jsonl")
FILES_HINT = "; or the path of a .csv or .npz file, or of a folder of pictures"


def is_file(data: str) -> bool:
    """Tell a path from the name of a data set."""
    return data not in _MODULES and ("/" in data or data.lower().endswith(FILE_SUFFIXES) or Path(data).exists())


def is_pictures(data: str) -> bool:
    """Tell a folder of pictures, or a file that lists some, from other data."""
    return is_file(data) and picture_files.is_folder_or_list(Path(data))


def load(
    data: str, options: FileOptions, *, kinds: Collection[Kind] = (), pictures: PictureOptions | None = None
) -> Dataset:
    """Load a data set by its name, or a user's file by its path, as one of the `kinds` that a recipe takes.

    Raises:
        UnknownDataset: there is no such data set and no such file.
        UnusableData: nothing can be learned from the file.
        DatasetAbsent: its file is not here and cannot be downloaded.
        DatasetAltered: its file is not the known one.
    """
    if data in _MODULES:
        dataset: Dataset = _MODULES[data].load()
    elif is_pictures(data):
        dataset = picture_files.load(Path(data), pictures or PictureOptions())
    elif is_file(data):
        dataset = _load_file(Path(data), options, kinds)
    else:
        raise UnknownDataset(data, known=_MODULES, hint=FILES_HINT)
    return check_usable(dataset)


def _load_file(path: Path, options: FileOptions, kinds: Collection[Kind]) -> Dataset:
    if not path.is_file():
        raise UnusableData(f"{path}: no such file")
    if path.suffix.lower() == ".npz":
        return files.load_pictures(path)
    if path.suffix.lower() == ".csv":
        return files.load_texts(path, options) if "text" in kinds else files.load_table(path, options)
    raise UnusableData(f"{path}: expected a .csv or .npz file, or a folder of pictures")

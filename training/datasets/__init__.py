"""The data sets by name, and the user's files by path.

Each module describes one source and loads it: raw inputs as a client would send them. Knows neither recipes nor
Keras (but for Keras's downloads).
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from training.datasets import (
    boston_housing,
    breast_cancer,
    california_housing,
    cifar10,
    cifar10_subset,
    diabetes,
    digit_scenes,
    digit_scenes_single,
    digits,
    fashion_mnist,
    imdb,
    iris,
    logical_and,
    logical_or,
    mnist,
    nsmc,
    reuters,
    stdlib,
    user_files,
    wine,
    xor,
)
from training.datasets.dataset import Dataset, Kind, Rows, check_usable
from training.datasets.description import Description
from training.datasets.user_files import Form
from training.errors import UnknownDataset
from training.options import FileOptions

__all__ = ["DESCRIPTIONS", "Dataset", "Description", "Kind", "Rows", "is_file", "load"]

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
        cifar10_subset,
        imdb,
        reuters,
        nsmc,
        digit_scenes,
        digit_scenes_single,
    )
}
DESCRIPTIONS: dict[str, Description] = {name: module.DESCRIPTION for name, module in _MODULES.items()}


def is_file(data: str) -> bool:
    """Tell a path from the name of a data set."""
    return data not in _MODULES and (
        "/" in data
        or data.lower().endswith((*user_files.FILE_SUFFIXES, user_files.ANNOTATION_SUFFIX))
        or Path(data).exists()
    )


def load(data: str, options: FileOptions, *, form: Form | None = None, needs_target: bool = True) -> Dataset:
    """Load a data set by its name, or a user's file by its path.

    The file is read in a `form` that `user_files.form_of` told; by default as pictures, or as a table of numbers.
    Where targets are not needed, a table may lack their column, and pictures their classes.

    Raises:
        UnknownDataset: there is no such data set and no such file.
        UnusableData: nothing can be learned from the file.
        DatasetAbsent: its file is not here and cannot be downloaded.
        DatasetAltered: its file is not the known one.
    """
    if data in _MODULES:
        dataset: Dataset = _MODULES[data].load()
    elif is_file(data):
        path = Path(data)
        dataset = user_files.load(path, options, form or user_files.form_of(path, ()), needs_target=needs_target)
    else:
        raise UnknownDataset(data, known=_MODULES, hint=user_files.HINT)
    return check_usable(dataset)

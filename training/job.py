"""A job: what was asked for, checked in full before TensorFlow is imported and anything is trained."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_store import STARTER_MODELS, Store, StoredVersion, StoreError
from model_store.store import check_model_name
from training import datasets
from training.datasets import DESCRIPTIONS, Dataset
from training.errors import InvalidParameter, MissingPackage, UnfitDataset, UnknownDataset, UnknownRecipe, UnusableStore
from training.fit import loss_for
from training.options import LOSSES, FileOptions, FitOptions, PictureOptions, Task
from training.parameters import Parameters, read_parameters
from training.recipes import RECIPES, Recipe

# The module that must be there, and the extras of which one brings it.
NEEDED_PACKAGES = {
    "onnxruntime": ("cpu", "gpu", "openvino"),
    "tensorflow": ("train", "train-gpu"),
    "keras": ("train", "train-gpu"),
    "tf2onnx": ("train", "train-gpu"),
    "onnx": ("train", "train-gpu"),
    "sklearn": ("train", "train-gpu"),
    "matplotlib": ("train", "train-gpu"),
}


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training job, checked."""

    recipe: Recipe
    parameters: Parameters
    fit: FitOptions
    file: FileOptions | PictureOptions | None
    dataset: Dataset
    name: str
    store: Store

    @property
    def models(self) -> list[str]:
        """The names it publishes."""
        return [self.name + suffix for suffix in self.recipe.suffixes]

    def parameters_as_json(self) -> dict[str, Any]:
        """Give the recipe's parameters and the options of the fit and the file as plain JSON."""
        file = self.file.as_json() if self.file else {}
        return {**self.parameters.as_json(), **self.fit.as_json(), **file}


def train(
    recipe: str,
    data: str | Path | None = None,
    *,
    store: str | Path,
    name: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    may_publish_starters: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> list[StoredVersion]:
    """Train a model and publish it, verified, in a store.

    Args:
        recipe: a recipe's name: dnn, cnn, autoencoder, text.
        data: a data set's name, or the path of a .csv or .npz file or of a folder of pictures; by default the
            recipe's own, which needs no download.
        store: the folder of the store; it is made if it is missing.
        name: the model's name; by default DATASET-RECIPE.
        parameters: values for parameters of the recipe, the fit and the file, as they are or as text.
        may_publish_starters: allow the store to be the starter models that ship with Ovenbird.
        say: is told each step as it begins, in words.

    Returns:
        the published versions, the main model first.

    Raises:
        WrongUse: something that was asked for does not exist or does not fit; nothing was trained.
        DatasetAbsent, DatasetAltered: the data set's file is not here, or is not the known one.
        MissingPackage: a package that the job needs is not installed.
        ExportRefused: the file does not compute what Keras computes; nothing was published.
        StoreError: the store could not be written.
    """
    job = prepare(
        recipe, data, store=store, name=name, parameters=parameters or {}, may_publish_starters=may_publish_starters
    )
    from training import pipeline

    return pipeline.run(job, say=say)


def prepare(
    recipe: str,
    data: str | Path | None,
    *,
    store: str | Path,
    name: str | None,
    parameters: Mapping[str, Any],
    may_publish_starters: bool = False,
) -> Job:
    """Check everything that was asked for, and load the data set; what `train` raises before it trains."""
    chosen = find_recipe(recipe)
    source = str(data) if data is not None else chosen.default_dataset
    own, fit, file, pictures = read_parameters(
        parameters, chosen.parameters, chosen.fit, FileOptions(), PictureOptions()
    )
    assert isinstance(fit, FitOptions)
    assert isinstance(file, FileOptions)
    assert isinstance(pictures, PictureOptions)
    check_file_options(source, parameters)
    model = name or default_name(source, recipe)
    for suffix in chosen.suffixes:
        check_model_name(model + suffix)
    opened = open_store(store, may_publish_starters=may_publish_starters)
    check_fits(chosen, source)
    require_packages()
    dataset = datasets.load(source, file, kinds=tuple(chosen.learns), pictures=pictures)
    task: Task = "regression" if dataset.labels is None else "classification"
    if not chosen.takes(dataset.kind, task):
        raise _unfit(chosen, dataset.name, f"{dataset.kind} for {task}")
    if LOSSES[chosen.task_for(task)]:
        loss_for(chosen.task_for(task), fit.loss)
    check_validation_split(fit, dataset)
    return Job(
        recipe=chosen,
        parameters=own,
        fit=fit,
        file=pictures if datasets.is_pictures(source) else file if is_csv(source) else None,
        dataset=dataset,
        name=model,
        store=opened,
    )


def find_recipe(name: str) -> Recipe:
    """Return a recipe by its name; raises `UnknownRecipe`."""
    if name not in RECIPES:
        raise UnknownRecipe(name, known=RECIPES)
    return RECIPES[name]


def is_csv(source: str) -> bool:
    """Tell a CSV file from data that has no columns to choose."""
    return datasets.is_file(source) and source.lower().endswith(".csv") and not datasets.is_pictures(source)


def check_file_options(source: str, given: Mapping[str, Any]) -> None:
    """Refuse an option about columns or pictures where there are none: it would be ignored."""
    for name in FileOptions().as_json().keys() & given.keys():
        if not is_csv(source):
            raise InvalidParameter(name, given[name], expected=f"a CSV file as data; {source} is none")
    for name in PictureOptions().as_json().keys() & given.keys():
        if not datasets.is_pictures(source):
            raise InvalidParameter(name, given[name], expected=f"files of pictures as data; {source} is none")


def check_validation_split(fit: FitOptions, dataset: Dataset) -> None:
    """Refuse a share that leaves no row to stop early by."""
    rows = len(dataset.train)
    if round(rows * fit.validation_split) < 1:
        raise InvalidParameter(
            "validation_split", fit.validation_split, expected=f"a share that is at least one of {rows} training rows"
        )


def default_name(source: str, recipe: str) -> str:
    """Name a model after its data and its recipe, in letters that a store can hold."""
    data = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(source).stem if datasets.is_file(source) else source).strip("-._")
    return f"{data or 'model'}-{recipe}"


def check_fits(recipe: Recipe, source: str) -> None:
    """Refuse a named data set that the recipe cannot learn from, before it is loaded or downloaded."""
    if source not in DESCRIPTIONS:
        if not datasets.is_file(source):
            raise UnknownDataset(source, known=DESCRIPTIONS, hint=datasets.FILES_HINT)
        return
    description = DESCRIPTIONS[source]
    if not recipe.takes(description.kind, description.task):
        raise _unfit(recipe, source, f"{description.kind} for {description.task}")


def _unfit(recipe: Recipe, source: str, received: str) -> UnfitDataset:
    fitting = [name for name, known in DESCRIPTIONS.items() if recipe.takes(known.kind, known.task)]
    return UnfitDataset(
        f"recipe {recipe.name!r} cannot learn from {source!r} ({received}); it can from: {', '.join(fitting)}"
    )


def open_store(place: str | Path, *, may_publish_starters: bool) -> Store:
    """Open a store to publish in; raises `UnusableStore` for a place that cannot become one."""
    try:
        store = Store(place)
    except StoreError as error:
        raise UnusableStore(str(error)) from None
    root = store.root.resolve()
    if root.is_relative_to(STARTER_MODELS.resolve()) and not may_publish_starters:
        raise UnusableStore(
            f"store {str(place)!r} holds the starter models that ship with Ovenbird: choose another folder"
        )
    existing = next(folder for folder in (root, *root.parents) if folder.exists())
    if not existing.is_dir():
        raise UnusableStore(f"store {str(place)!r}: {existing} is not a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UnusableStore(f"store {str(place)!r}: no right to write in {existing}")
    return store


def require_packages() -> None:
    """Raise `MissingPackage` for all packages that are not installed, and say which extras bring them."""
    missing = [module for module in NEEDED_PACKAGES if importlib.util.find_spec(module) is None]
    if missing:
        extras = dict.fromkeys(NEEDED_PACKAGES[module] for module in missing)
        install = ",".join(choices[0] for choices in extras)
        others = "; or ".join(" or ".join(choices[1:]) + f" instead of {choices[0]}" for choices in extras)
        raise MissingPackage(
            f"not installed: {', '.join(missing)}; pip install 'ovenbird[{install}]' ({others}), "
            f"or '.[{install}]' from a clone"
        )

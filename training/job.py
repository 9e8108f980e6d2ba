"""A job: what was asked for, checked in full before TensorFlow is imported and anything is trained."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model_store import STARTER_MODELS, ReadOnlyStore, Store, StoredVersion, WrongStoreUrl, opening
from model_store.onnxruntime_builds import conflict, installed_builds
from model_store.store import check_model_name
from training import datasets
from training.datasets import DESCRIPTIONS, Dataset, user_files
from training.errors import (
    ForeignParameter,
    InvalidParameter,
    MissingPackage,
    UnfitDataset,
    UnknownDataset,
    UnknownRecipe,
    UnusableStore,
    WrongUse,
)
from training.evidence.exhibit import Exhibit
from training.fitting.consistency import check_fit, check_heeded
from training.fitting.machines import meeting, read_place
from training.options import SHARED_OPTIONS, ExportOptions, FileOptions, FitOptions, Task
from training.parameters import Parameters, read_parameters
from training.recipes import RECIPES, Recipe, owners_of

# The module that must be there, and the extras of which one brings it.
NEEDED_PACKAGES = {
    "onnxruntime": ("cpu", "gpu", "openvino"),
    "tensorflow": ("train", "train-gpu"),
    "keras": ("train", "train-gpu"),
    "tf2onnx": ("train", "train-gpu"),
    "onnx": ("train", "train-gpu"),
    "sklearn": ("train", "train-gpu"),
    "matplotlib": ("train", "train-gpu"),
    "tensorboard": ("train", "train-gpu"),
}
# Not every job needs them.
ONLY_WHERE_ASKED = ("tensorboard",)
KERAS_PACKAGES = ("tensorflow", "keras", "tf2onnx")


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training job, checked. `extra` goes into the manifest, `exhibits` into the report of the main model."""

    recipe: Recipe
    parameters: Parameters
    fit: FitOptions
    file: Mapping[str, Any]
    export: ExportOptions
    dataset: Dataset
    name: str
    store: Store
    extra: Mapping[str, Any] = field(default_factory=dict)
    exhibits: tuple[Exhibit, ...] = ()

    def parameters_as_json(self) -> dict[str, Any]:
        """Give the recipe's parameters and the options of the fit, the file and the export as plain JSON."""
        return {**self.parameters.as_json(), **self.fit.as_json(), **self.file, **self.export.as_json()}


def train(
    recipe: str,
    data: str | Path | None = None,
    *,
    store: str | Path,
    name: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    may_publish_starters: bool = False,
    fresh: bool = False,
    tensorboard: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
    show: Callable[[str], None] | None = None,
) -> list[StoredVersion]:
    """Train a model and publish it, verified, in a store.

    A job that was killed goes on, when it is started again in the same way, after the last epoch that it finished.
    Where TF_CONFIG names several machines, they fit together, and worker 0 publishes.

    Args:
        recipe: a recipe's name, as `training.recipes.RECIPES` lists them.
        data: a data set's name, or the path of a .csv, .parquet, .jsonl or .npz file; by default the recipe's own,
            which needs no download.
        store: the store's folder, which is made if it is missing, or its URL.
        name: the model's name; by default DATASET-RECIPE.
        parameters: values for parameters of the recipe, the fit, the file and the export, as they are or as text.
        may_publish_starters: allow the store to be the starter models that ship with Ovenbird.
        fresh: start anew even if an equal job was killed.
        tensorboard: a folder to log the fit in, for TensorBoard.
        say: is told each step as it begins, and each epoch, in words.
        show: is told how far the fit is, a few times a second, for a line that stays alive; epochs are then not said.

    Returns:
        the published versions, the main model first; none where another machine publishes.

    Raises:
        WrongUse: something that was asked for does not exist or does not fit; nothing was trained.
        DatasetAbsent, DatasetAltered: the data set's file is not here, or is not the known one.
        MissingPackage: a package that the job needs is not installed.
        FitDiverged: the loss became NaN or infinite.
        OutOfMemory: the network or its rows do not fit into the memory.
        CheckpointUnwritable: the disk that the store lies on is full.
        ExportRefused: the file does not compute what Keras computes; nothing was published.
        MachineLost: another machine of the fit ended or fell silent.
        Interrupted: Ctrl-C, a `KeyboardInterrupt` that says how to go on.
        StoreError: the store could not be written.
    """
    place = read_place(os.environ)
    job = prepare(
        recipe, data, store=store, name=name, parameters=parameters or {}, may_publish_starters=may_publish_starters
    )
    if tensorboard is not None:
        check_fitted(job)
        require_packages(["tensorboard"])
    from training import pipeline

    if place is None:
        return pipeline.run(job, say=say, show=show, fresh=fresh, tensorboard=tensorboard)
    with meeting(place) as machines:
        if place.is_chief:
            return pipeline.run(job, say=say, show=show, fresh=fresh, tensorboard=tensorboard, machines=machines)
        pipeline.fit_along(job, machines, say=say)
        return []


def plan(
    recipe: str,
    data: str | Path | None = None,
    *,
    store: str | Path,
    name: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    say: Callable[[str], None],
) -> None:
    """Tell what `train` would do with the same arguments, and raise what it would raise before it trains."""
    job = prepare(recipe, data, store=store, name=name, parameters=parameters or {})
    from training import plan as planning

    planning.tell(job, say=say)


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
    check_names(chosen, parameters)
    own, fit, file, export = read_parameters(parameters, chosen.parameters, chosen.fit, FileOptions(), ExportOptions())
    assert isinstance(fit, FitOptions)
    assert isinstance(file, FileOptions)
    assert isinstance(export, ExportOptions)
    check_quantizable(export, chosen)
    form = user_files.form_of(Path(source), chosen.learns) if datasets.is_file(source) else None
    user_files.check_options(source, form, parameters)
    model = name or default_name(source, recipe)
    for suffix in chosen.suffixes:
        check_model_name(model + suffix)
    opened = open_store(store, may_publish_starters=may_publish_starters)
    check_fits(chosen, source)
    require_packages(needed_packages(chosen))
    needs_target = chosen.unsupervised is None
    dataset = datasets.load(source, file, form=form, needs_target=needs_target)
    task = task_of(dataset)
    if not chosen.takes(dataset.kind, task):
        raise _unfit(chosen, dataset.name, f"{dataset.kind} for {task}")
    check_heeded(fit, chosen.fit, chosen.heeds(own))
    check_fit(fit, chosen.task_for(task), dataset)
    return Job(
        recipe=chosen,
        parameters=own,
        fit=fit,
        file=user_files.heeded(file, form),
        export=export,
        dataset=dataset,
        name=model,
        store=opened,
    )


def check_fitted(job: Job) -> None:
    """Refuse to log where nothing is fitted; raises `WrongUse`."""
    if not job.recipe.heeds(job.parameters):
        raise WrongUse("tensorboard: nothing is fitted, so there is nothing to log: the weights are given")


def task_of(dataset: Dataset) -> Task:
    """Tell what a loaded data set is for."""
    if dataset.kind == "boxes":
        return "detection"
    return "regression" if dataset.labels is None else "classification"


def find_recipe(name: str) -> Recipe:
    """Return a recipe by its name; raises `UnknownRecipe`."""
    if name not in RECIPES:
        raise UnknownRecipe(name, known=RECIPES)
    return RECIPES[name]


def check_names(recipe: Recipe, given: Iterable[str]) -> None:
    """Refuse parameters that only other recipes have; raises `ForeignParameter`, which names them."""
    known = recipe.parameters.as_json()
    for name in given:
        owners = owners_of(name)
        if owners and name not in known and name not in SHARED_OPTIONS:
            raise ForeignParameter(name, recipe=recipe.name, known=known, owners=owners)


def check_quantizable(options: ExportOptions, recipe: Recipe) -> None:
    """Refuse int8 for what it would spoil; raises `InvalidParameter`."""
    if options.quantize != "none" and recipe.float32_only:
        raise InvalidParameter("quantize", options.quantize, expected=f"none: {recipe.float32_only}")


def default_name(source: str, recipe: str) -> str:
    """Name a model after its data and its recipe, in letters that a store can hold."""
    data = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(source).stem if datasets.is_file(source) else source).strip("-._")
    return f"{data or 'model'}-{recipe}"


def check_fits(recipe: Recipe, source: str) -> None:
    """Refuse a named data set that the recipe cannot learn from, before it is loaded or downloaded."""
    if source not in DESCRIPTIONS:
        if not datasets.is_file(source):
            raise UnknownDataset(source, known=DESCRIPTIONS, hint=user_files.HINT)
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
        store = opening.open_store(place)
        if _holds_starters(store) and not may_publish_starters:
            raise UnusableStore(
                f"store {str(place)!r} holds the starter models that ship with Ovenbird: choose another folder"
            )
        # A fit may take hours: what will not take its model is better found now.
        store.check_writable()
    except (ReadOnlyStore, WrongStoreUrl) as error:
        raise UnusableStore(str(error)) from None
    return store


def _holds_starters(store: Store) -> bool:
    return not store.is_remote and store.root.resolve().is_relative_to(STARTER_MODELS.resolve())


def needed_packages(recipe: Recipe) -> list[str]:
    """List the modules that each job of a recipe needs."""
    unused = ONLY_WHERE_ASKED if recipe.uses_keras else (*ONLY_WHERE_ASKED, *KERAS_PACKAGES)
    return [module for module in NEEDED_PACKAGES if module not in unused]


def require_packages(needed: Sequence[str]) -> None:
    """Raise `MissingPackage` for all packages that are not installed, and say which extras bring them."""
    missing = [module for module in needed if importlib.util.find_spec(module) is None]
    if trouble := conflict(installed_builds()):
        raise MissingPackage(trouble)
    if missing:
        extras = dict.fromkeys(NEEDED_PACKAGES[module] for module in missing)
        install = ",".join(choices[0] for choices in extras)
        others = "; or ".join(" or ".join(choices[1:]) + f" instead of {choices[0]}" for choices in extras)
        raise MissingPackage(
            f"not installed: {', '.join(missing)}; pip install 'ovenbird[{install}]' ({others}), "
            f"or '.[{install}]' from a clone"
        )

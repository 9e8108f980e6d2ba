"""What a recipe is: its parameters, what it learns from, and how it builds a network.

A recipe's module holds a frozen dataclass of parameters and a `build` that reads as Keras reads. TensorFlow is
imported inside `build`, so that recipes can be listed and checked without it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from training.datasets import Dataset, Kind
from training.network import Network
from training.options import FIT_OPTIONS, FitOptions, Task
from training.parameters import Parameters


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A named way of making a model.

    `learns` maps the kinds of data it takes to the tasks it can do with them, `suffixes` are those of all models that
    it may publish, `unsupervised` is the task of one that does not learn the targets, whatever they are. `heeds` names
    the options of the fit that mean something with such parameters: none where nothing is fitted. A recipe that does
    not use Keras runs where TensorFlow is not installed. `float32_only` says why int8 would spoil what it makes.
    """

    name: str
    summary: str
    parameters: Parameters
    fit: FitOptions
    default_dataset: str
    learns: Mapping[Kind, tuple[Task, ...]]
    build: Callable[[Any, Dataset], Network]
    suffixes: tuple[str, ...] = ("",)
    unsupervised: Task | None = None
    heeds: Callable[[Any], Collection[str]] = lambda _: FIT_OPTIONS
    uses_keras: bool = True
    float32_only: str = ""

    @property
    def computed_by(self) -> str:
        """Say with whose answers a published file is compared."""
        return "Keras" if self.uses_keras else "NumPy"

    def task_for(self, dataset_task: Task) -> Task:
        """Tell what is done with a data set: an autoencoder reconstructs whatever the labels are for."""
        return self.unsupervised or dataset_task

    def takes(self, kind: Kind, dataset_task: Task) -> bool:
        """Tell whether the recipe can learn from such data."""
        return self.task_for(dataset_task) in self.learns.get(kind, ())

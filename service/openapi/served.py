"""What the description needs to know of a model that is served."""

from __future__ import annotations

from typing import Protocol

from model_store.manifest import InputSpec
from service.codec.columns import is_table
from service.codec.media import Described
from service.tensors import Signature


class Served(Protocol):
    """One served model; `LiveModel` is such a thing."""

    @property
    def name(self) -> str:
        """The model's name, as paths have it."""

    @property
    def version(self) -> int:
        """The version that answers for this name."""

    @property
    def description(self) -> Described:
        """What goes in and out, and what it means."""

    @property
    def signature(self) -> Signature:
        """The tensors that go in and out."""


def table_of(model: Served) -> tuple[InputSpec, ...]:
    """Return the columns of a model that takes a table's columns, each as an input; none for any other model."""
    inputs = model.description.inputs
    return inputs if is_table(inputs) else ()


def only_input(model: Served) -> InputSpec | None:
    """Return what a model with a single input takes; None for one with several, or with a table's columns."""
    inputs = model.description.inputs
    return inputs[0] if len(inputs) == 1 and not is_table(inputs) else None

"""What the description needs to know of a model that is served."""

from __future__ import annotations

from typing import Protocol

from model_store.manifest import InputSpec
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


def only_input(model: Served) -> InputSpec | None:
    """Return what a model with a single input takes; None for a model with several, which takes JSON alone."""
    inputs = model.description.inputs
    return inputs[0] if len(inputs) == 1 else None

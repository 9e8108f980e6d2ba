"""The dialects in which a model is asked: how a body becomes inputs, and outputs an answer.

Both routes use them: the asyncio front, and Flask. Pure functions, but for the compression that the wire asks for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Protocol

from service.codec import tfserving
from service.live_model import LiveModel
from service.settings import Settings
from service.tensors import Arrays
from service.web.wire import Answer, Wire


class Asked(Protocol):
    """What a dialect makes of a body; `timeout` in seconds, None for the service's."""

    @property
    def inputs(self) -> Arrays:
        """Checked inputs of the model."""

    @property
    def timeout(self) -> float | None:
        """How long the request may take at most."""

    @property
    def priority(self) -> int:
        """1 for the highest, 0 for none."""


@dataclass(frozen=True)
class Dialect:
    """How to read a request and to write its answer.

    `binary` says that a body may hold binary tensors. Reading raises `BadRequest`, `BodyTooLarge` or
    `UnsupportedMedia`, writing `BadRequest`.
    """

    read: Callable[[Wire, bytes, LiveModel, Settings], Any]
    write: Callable[[Wire, Any, Arrays, LiveModel], Answer]
    binary: bool = False


def seconds_for(asked: Asked, settings: Settings) -> float:
    """Return how many seconds a request may take: its own `timeout`, but never more than the service allows."""
    return min(asked.timeout or settings.request_timeout, settings.request_timeout)


@dataclass(frozen=True, slots=True)
class _Examples:
    """A request of V1: its inputs; `by_rows` for the form of a prediction."""

    inputs: Arrays
    by_rows: bool = True
    timeout: float | None = None
    priority: int = 0


def _read_predict(wire: Wire, body: bytes, model: LiveModel, settings: Settings) -> _Examples:
    asked = tfserving.decode_predict(wire.plain(body, settings), model.signature, model.description)
    return _Examples(asked.inputs, asked.by_rows)


def _write_predict(wire: Wire, asked: _Examples, outputs: Arrays, model: LiveModel) -> Answer:
    return wire.compressed(Answer(tfserving.encode_predict(outputs, model.signature, by_rows=asked.by_rows)))


def _reads_examples(kind: str) -> Callable[[Wire, bytes, LiveModel, Settings], _Examples]:
    def read(wire: Wire, body: bytes, model: LiveModel, settings: Settings) -> _Examples:
        tfserving.output_of_kind(model.description, kind)  # type: ignore[arg-type]
        return _Examples(tfserving.decode_examples(wire.plain(body, settings), model.signature, model.description))

    return read


def _write_classes(wire: Wire, _: _Examples, outputs: Arrays, model: LiveModel) -> Answer:
    output = tfserving.output_of_kind(model.description, "probabilities")
    return wire.compressed(Answer(tfserving.encode_classes(outputs[output.name], output.labels)))


def _write_values(wire: Wire, _: _Examples, outputs: Arrays, model: LiveModel) -> Answer:
    output = tfserving.output_of_kind(model.description, "value")
    return wire.compressed(Answer(tfserving.encode_values(outputs[output.name], output.name)))


V2 = Dialect(Wire.decode, Wire.encode, binary=True)

V1 = {
    "classify": Dialect(_reads_examples("probabilities"), _write_classes),
    "predict": Dialect(_read_predict, _write_predict),
    "regress": Dialect(_reads_examples("value"), _write_values),
}
"""Verb of TensorFlow Serving's interface → how it is read and written."""


@dataclass(frozen=True, slots=True)
class Target:
    """What the path of an inference request names."""

    dialect: Dialect
    name: str
    version: str | None = None
    label: str | None = None

    def wire(self, wire: Wire) -> Wire:
        """Keep of the headers what this dialect knows: V1's bodies are JSON, whatever is said of binary tensors."""
        return wire if self.dialect.binary or wire.header_length is None else replace(wire, header_length=None)


# Names, versions and labels are shorter by far.
MAX_PATH = 512


def find_target(path: str) -> Target | None:
    """Find what a path asks; None for any other path, and for one that Flask refuses with a reason."""
    return _find_target(path) if len(path) <= MAX_PATH else None


@lru_cache(maxsize=1024)
def _find_target(path: str) -> Target | None:
    steps = path.split("/")
    if len(steps) < 4 or steps[0] or steps[2].lower() != "models" or not steps[3]:
        return None
    if steps[1] == "v2" and steps[2] == "models":
        return _v2_target(steps[3], steps[4:])
    return _v1_target(steps[3:]) if steps[1] in ("v1", "V1") else None


def _v2_target(name: str, rest: list[str]) -> Target | None:
    match rest:
        case ["infer"]:
            return Target(V2, name)
        case ["versions", version, "infer"] if version:
            return Target(V2, name, version)
        case ["labels", label, "infer"] if label:
            return Target(V2, name, label=label)
    return None


def _v1_target(steps: list[str]) -> Target | None:
    last, colon, verb = steps[-1].rpartition(":")
    dialect = V1.get(verb.lower())
    if not colon or dialect is None or not last or ":" in last:
        return None
    match [step.lower() for step in steps[1:-1]]:
        case [] if len(steps) == 1:
            return Target(dialect, last)
        case ["versions"] if tfserving.is_version(last):
            return Target(dialect, steps[0], version=last)
        case ["labels"]:
            return Target(dialect, steps[0], label=last)
    return None

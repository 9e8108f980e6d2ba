"""Parameters: frozen dataclasses whose fields carry their meaning and their limits.

One declaration serves the check when a value is built, the reading of `--set name=value`, and `train --list`.
Knows no recipe.
"""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from training.errors import InvalidParameter, UnknownParameter

Value = TypeVar("Value")
Group = TypeVar("Group", bound="Parameters")

_LIMITS = "limits"


@dataclass(frozen=True, kw_only=True)
class _Limits:
    """What a field means, and which values it takes; limits on a tuple hold for each of its entries.

    `short` holds other names of choices. `searched` tells whether a search varies it unasked: not what changes no
    loss, or what is measured as loss.
    """

    meaning: str
    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[str, ...] | None = None
    short: Mapping[str, str] = dataclasses.field(default_factory=dict)
    may_be_empty: bool = False
    searched: bool = True

    def allows(self, value: float | str) -> bool:
        if isinstance(value, str):
            return self.choices is None or value in self.choices
        return (
            math.isfinite(value)
            and (self.at_least is None or value >= self.at_least)
            and (self.at_most is None or value <= self.at_most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        if self.choices is not None:
            return f"one of {', '.join(self.choices)}" + "".join(
                f"; {name} is {long}" for name, long in self.short.items()
            )
        bounds = {"from": self.at_least, "above": self.above, "up to": self.at_most, "below": self.below}
        return " ".join(f"{word} {bound}" for word, bound in bounds.items() if bound is not None)


def parameter(default: Value, meaning: str, **limits: Any) -> Value:
    """Declare a field of a `Parameters` class: its default, its meaning, and any of the limits in `_Limits`."""
    field: Value = dataclasses.field(default=default, metadata={_LIMITS: _Limits(meaning=meaning, **limits)})
    return field


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """A group of parameters. Building one checks every value; raises `InvalidParameter`."""

    def __post_init__(self) -> None:
        for described in describe(type(self)):
            described.check(getattr(self, described.name))

    def as_json(self) -> dict[str, Any]:
        """Give the values as plain JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in self._items()}

    def _items(self) -> Iterable[tuple[str, Any]]:
        return ((field.name, getattr(self, field.name)) for field in dataclasses.fields(self))


@dataclass(frozen=True)
class Described:
    """One field: its name, type and limits, so that it can be read, checked and printed."""

    name: str
    type: Any
    default: Any
    limits: _Limits

    @property
    def meaning(self) -> str:
        """What the field is for, in words."""
        return self.limits.meaning

    @property
    def expected(self) -> str:
        """Which values it takes, in words."""
        if self.limits.choices is not None:
            return f"any of {', '.join(self.limits.choices)}" if self._is_tuple else str(self.limits)
        kinds = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
        kind = _LISTS[self.type] if self._is_tuple else kinds[self.type]
        return f"{kind} {self.limits}".rstrip()

    @property
    def _is_tuple(self) -> bool:
        return get_origin(self.type) is tuple

    def check(self, value: Any) -> None:
        """Raise `InvalidParameter` unless the value has the type and lies within the limits."""
        entries = value if isinstance(value, tuple) else (value,)
        wanted = get_args(self.type)[0] if self._is_tuple else self.type
        empty = self._is_tuple and not entries and not self.limits.may_be_empty
        is_wrong_kind = self._is_tuple != isinstance(value, tuple)
        if (
            is_wrong_kind
            or empty
            or not all(_has_type(entry, wanted) and self.limits.allows(entry) for entry in entries)
        ):
            raise InvalidParameter(self.name, written(value), expected=self.expected)

    def read(self, value: Any) -> Any:
        """Take a value as it is, or read it from a text as `--set` gives it."""
        if not isinstance(value, str):
            return _plain(value, self.type)
        try:
            return _PARSERS[self.type](self.limits.short.get(value.strip(), value.strip()))
        except ValueError:
            raise InvalidParameter(self.name, value, expected=self.expected) from None


def describe(group: type[Parameters]) -> list[Described]:
    """List the fields of a group in the order of their declaration."""
    hints = get_type_hints(group)
    return [
        Described(field.name, hints[field.name], field.default, field.metadata[_LIMITS])
        for field in dataclasses.fields(group)
    ]


def read_parameters(given: Mapping[str, Any], *defaults: Parameters) -> list[Parameters]:
    """Share out named values among groups of parameters: each group with its values replaced.

    Raises:
        UnknownParameter: no group has the name.
        InvalidParameter: a value does not parse or is out of range.
    """
    fields = {described.name: described for group in defaults for described in describe(type(group))}
    for name in given:
        if name not in fields:
            raise UnknownParameter(name, known=fields)
    values = {name: fields[name].read(value) for name, value in given.items()}
    return [_with(group, values) for group in defaults]


def _with(group: Group, values: Mapping[str, Any]) -> Group:
    own = {field.name for field in dataclasses.fields(group)}
    return dataclasses.replace(group, **{name: value for name, value in values.items() if name in own})


def written(value: object) -> str:
    """Write a value the way `--set` reads it."""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value).removesuffix(".0")


def _has_type(value: object, wanted: type) -> bool:
    if wanted is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool))


def _plain(value: Any, wanted: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    return float(value) if wanted is float and isinstance(value, int) and not isinstance(value, bool) else value


def _boolean(text: str) -> bool:
    known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.lower() not in known:
        raise ValueError(text)
    return known[text.lower()]


def _tuple_of_ints(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",")) if text else ()


def _tuple_of_texts(text: str) -> tuple[str, ...]:
    """Read names between commas; one that holds a comma is quoted, as CSV has it."""
    return tuple(name.strip() for name in next(csv.reader([text], skipinitialspace=True), []))


_PARSERS: dict[Any, Callable[[str], Any]] = {
    int: int,
    float: float,
    bool: _boolean,
    str: str,
    tuple[int, ...]: _tuple_of_ints,
    tuple[str, ...]: _tuple_of_texts,
}
_LISTS: dict[Any, str] = {
    tuple[int, ...]: "whole numbers separated by commas",
    tuple[str, ...]: "names separated by commas",
}

"""What is tried while tuning: ranges and choices for parameters, given in words or taken from their limits.

Values travel as texts, the way `--set` reads them. Knows no recipe and no Keras.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from training.errors import InvalidParameter, UnknownParameter
from training.options import FitOptions
from training.parameters import Described, Parameters, describe, written

# Other values of these would change what the trials are compared by, or where the answer comes from.
NOT_SEARCHED = ("loss", "seed", "validation_split", "epochs", "patience", "weights", "space")
FITTED_WITH = ("learning_rate", "batch_size")
# From here on, a range is tried evenly by orders of magnitude.
WIDE = 10.0
# A dropout of nearly 1, and other shares near their end, are seldom worth a trial.
LARGEST_SHARE = 0.6


@dataclass(frozen=True)
class Range:
    """All numbers from `low` to `high`, both included."""

    low: float
    high: float
    is_whole: bool

    @property
    def is_wide(self) -> bool:
        """Whether its ends lie orders of magnitude apart."""
        return self.low > 0 and self.high / self.low >= WIDE

    def __str__(self) -> str:
        return f"{self.low:g}..{self.high:g}"


@dataclass(frozen=True)
class Choices:
    """These values and no others, as texts."""

    values: tuple[str, ...]

    def __str__(self) -> str:
        return ("/" if any("," in value for value in self.values) else ",").join(self.values)


Search = Range | Choices
Space = dict[str, Search]


def read_space(given: Mapping[str, str], *groups: Parameters) -> Space:
    """Read `name=lo..hi` and `name=a,b,c`; raises `UnknownParameter`, `InvalidParameter`."""
    fields = _fields(*groups)
    space: Space = {}
    for name, text in given.items():
        if name not in fields:
            raise UnknownParameter(name, known=fields)
        if name in NOT_SEARCHED:
            raise InvalidParameter(name, text, expected="another parameter: trials must differ in how well they learn")
        space[name] = _read(fields[name], text)
    return space


def default_space(own: Parameters, fit: FitOptions, *, fixed: Collection[str] = ()) -> Space:
    """Try the recipe's own parameters around their defaults, and how far a step goes.

    Left out is what is `fixed`, and what a recipe declares with `searched=False`.
    """
    values = {**fit.as_json(), **own.as_json()}
    tried = {name: field for name, field in _fields(fit).items() if name in FITTED_WITH} | _fields(own)
    found = {
        name: _around(field, values[name])
        for name, field in tried.items()
        if field.limits.searched and name not in fixed and name not in NOT_SEARCHED
    }
    return {name: search for name, search in found.items() if search is not None}


def _fields(*groups: Parameters) -> dict[str, Described]:
    return {field.name: field for group in groups for field in describe(type(group))}


def _read(field: Described, text: str) -> Search:
    low, dots, high = text.partition("..")
    if dots:
        return _read_range(field, text, low, high)
    values = tuple(value.strip() for value in text.split("/" if _is_list(field) and "/" in text else ","))
    for value in values:
        field.check(field.read(value))
    if len(set(values)) < 2:
        raise InvalidParameter(field.name, text, expected="at least two values to choose from, or a range LOW..HIGH")
    return Choices(values)


def _read_range(field: Described, text: str, low: str, high: str) -> Range:
    if field.type not in (int, float) and not _is_list(field):
        raise InvalidParameter(field.name, text, expected=f"values separated by commas, each {field.expected}")
    ends = [field.read(end) for end in (low, high)]
    for end in ends:
        field.check(end)
    first, last = (end[0] if isinstance(end, tuple) else end for end in ends)
    if any(isinstance(end, tuple) and len(end) != 1 for end in ends) or not first < last:
        raise InvalidParameter(field.name, text, expected="a range LOW..HIGH of two numbers, the lower one first")
    return Range(first, last, is_whole=field.type is not float)


def _around(field: Described, default: Any) -> Search | None:
    """Choose what is worth a trial: other choices, half to double, a tenth to ten times, the lower shares."""
    limits = field.limits
    if field.type is bool:
        return Choices(("true", "false"))
    if limits.choices is not None:
        return Choices(limits.choices)
    if get_args(field.type)[:1] == (int,) and default:
        return _other_layers(field, tuple(default))
    if field.type not in (int, float) or not default > 0:
        return None
    if field.type is int:
        return _range(field, default // 2, default * 2)
    if _is_share(field):
        return _range(field, limits.at_least or 0.0, max(default, LARGEST_SHARE))
    return _range(field, default / 10, default * 10)


def _is_list(field: Described) -> bool:
    return get_origin(field.type) is tuple


def _is_share(field: Described) -> bool:
    return field.limits.at_least == 0 and 1 in (field.limits.below, field.limits.at_most)


def _range(field: Described, low: float, high: float) -> Range | None:
    """Cut a range at the limits; None if nothing is left to vary."""
    limits = field.limits
    low = low if limits.at_least is None else max(low, limits.at_least)
    high = high if limits.at_most is None else min(high, limits.at_most)
    return (
        Range(low, high, is_whole=field.type is int)
        if low < high and limits.allows(low) and limits.allows(high)
        else None
    )


def _other_layers(field: Described, default: tuple[int, ...]) -> Choices:
    """Half as many units in each layer, as many, twice as many, and one layer more of half the last one's."""
    variants = [
        tuple(max(1, units // 2) for units in default),
        default,
        tuple(units * 2 for units in default),
        (*default, max(1, default[-1] // 2)),
    ]
    allowed = [variant for variant in variants if all(field.limits.allows(units) for units in variant)]
    return Choices(tuple(dict.fromkeys(written(variant) for variant in allowed)))

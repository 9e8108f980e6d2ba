"""Where the workers of a service run: on a GPU each, or on a group of processor cores each, as a setting writes it.

    0,1                      two GPUs, a worker on each; gpu:0,gpu:1 says the same
    cpu:0-3+8-11,cpu:4-7     two groups of cores, a worker on each
    gpu:0,cpu:0-3            one of both

Imports nothing of the service: settings are read with it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

_GPU = re.compile(r"(gpu:)?(\d{1,4})")
_CORES = re.compile(r"cpu:(\d{1,4}(?:-\d{1,4})?(?:\+\d{1,4}(?:-\d{1,4})?)*)")


@dataclass(frozen=True)
class Gpu:
    """A GPU, by its number."""

    number: int

    def __str__(self) -> str:
        return f"gpu:{self.number}"


@dataclass(frozen=True)
class Cores:
    """A group of processor cores, as ranges of their numbers: first and last."""

    ranges: tuple[tuple[int, int], ...]

    @property
    def numbers(self) -> frozenset[int]:
        """The number of each core."""
        return frozenset(number for first, last in self.ranges for number in range(first, last + 1))

    def __str__(self) -> str:
        return "cpu:" + _written(self.ranges)


Device = Gpu | Cores


def parse(text: str) -> tuple[Device, ...]:
    """Read a list of devices; an empty text is none.

    Raises:
        ValueError: says which entry is none, or may be misread.
    """
    pieces = [piece.strip() for piece in text.split(",")] if text.strip() else []
    devices = tuple(_device(piece) for piece in pieces)
    grouped = next((device for device in devices if isinstance(device, Cores)), None)
    bare = next((piece for piece in pieces if piece.isdecimal()), None)
    if grouped and bare:
        raise ValueError(
            f"{bare} beside {grouped}: write gpu:{bare} for the GPU, or {grouped}+{bare} for one group of cores"
        )
    return devices


def _device(piece: str) -> Device:
    if found := _GPU.fullmatch(piece):
        return Gpu(int(found[2]))
    if found := _CORES.fullmatch(piece):
        ends = [[int(number) for number in part.split("-")] for part in found[1].split("+")]
        ranges = tuple((numbers[0], numbers[-1]) for numbers in ends)
        if all(first <= last for first, last in ranges):
            return Cores(ranges)
    raise ValueError(f"{piece!r} is no device; expected GPUs such as 0,1 or groups of cores such as cpu:0-3,cpu:4+6")


def written(numbers: Iterable[int]) -> str:
    """Write cores' numbers as ranges: 0-3+8."""
    ranges: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return _written(ranges)


def _written(ranges: Iterable[tuple[int, int]]) -> str:
    return "+".join(f"{first}-{last}" if first < last else str(first) for first, last in ranges)


def free_slot(taken: Iterable[int], slots: int) -> int:
    """Choose a new worker's slot: the one with the fewest workers, of several the lowest.

    While a reload starts new workers beside the old ones, every slot has one already; then each gets a second.
    """
    workers = Counter(taken)
    return min(range(slots), key=lambda slot: workers[slot])

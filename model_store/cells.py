"""What a cell of a table means: a number, a category, or nothing. Training and the service read cells alike.

A client's "1.0" must be the category that training met as 1, and its empty cell must be missing as it was there.
Knows no file and no column.
"""

from __future__ import annotations

import math
import re
from typing import Final

Cell = str | int | float | bool | None

MISSING: Final = ("", "NA", "N/A", "na", "n/a", "null", "NULL", "NaN", "nan")
"""The texts that mean that there is nothing."""

LARGEST: Final = 3.4028234e38
"""The largest number that float32 holds."""

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_WHOLE = re.compile(r"(-?(?:0|[1-9][0-9]*))\.0+")
_BOOLEAN = re.compile("true|false", re.IGNORECASE)


def is_missing(cell: Cell) -> bool:
    """Tell whether a cell holds nothing."""
    if isinstance(cell, str):
        return cell.strip() in MISSING
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def number(cell: Cell) -> float:
    """Read a cell as a number; NaN where there is nothing.

    Raises:
        ValueError: it is no number, or none that float32 holds; the message is what a person is told of it.
    """
    if is_missing(cell):
        return math.nan
    if isinstance(cell, bool) or (isinstance(cell, str) and not _NUMBER.fullmatch(cell.strip())):
        raise ValueError(f"{_shown(cell)} is not a finite number")
    try:
        value = float(cell)  # type: ignore[arg-type]
    except OverflowError:
        value = math.inf
    if not abs(value) <= LARGEST:
        raise ValueError(f"{_shown(cell)} is not a finite number of type float32")
    return value


def category(cell: Cell) -> str:
    """Read a cell as a category; "" where there is nothing.

    Blanks around it do not count; a whole number has no decimals, and true and false are small letters.
    """
    if is_missing(cell):
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    text = str(cell).strip()
    if whole := _WHOLE.fullmatch(text):
        return whole[1]
    return text.lower() if _BOOLEAN.fullmatch(text) else text


def spellings(known: str) -> tuple[str, ...]:
    """List the other spellings of a category that are met often, where nobody has read the cell: 1.0 for 1."""
    if _BOOLEAN.fullmatch(known):
        return known.title(), known.upper()
    return (f"{known}.0",) if _WHOLE.fullmatch(f"{known}.0") else ()


def _shown(cell: Cell, longest: int = 40) -> str:
    text = repr(cell)
    return text if len(text) <= longest else f"{text[:longest]}…"

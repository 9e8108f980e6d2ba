"""What is shown of a fitted network: figures by name, and exhibits for its report. Knows no network and no file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from training.datasets.dataset import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Evaluation:
    """What the main graph answered on the held-out rows, and how good that is; the headline metric stands first.

    `details` goes into evaluation.json: plain JSON only.
    """

    answers: dict[str, Array]
    metrics: dict[str, float]
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Exhibit:
    """One part of a report: a title, words, notes as a list, and a figure or a table (its first row is the header).

    `name` is the figure's file name without its ending.
    """

    name: str
    title: str
    text: str = ""
    notes: tuple[str, ...] = ()
    figure: Figure | None = None
    table: tuple[tuple[str, ...], ...] = ()

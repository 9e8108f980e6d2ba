"""How well scores tell strange rows from usual ones: the area under the ROC curve, with its 95 % interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Area:
    """The share of pairs of a usual and a strange row in which the strange one has the greater score."""

    value: float
    low: float
    high: float


def area_under_roc(usual: Scores, strange: Scores) -> Area:
    """Measure scores of usual rows [n] against those of strange ones [m], which should be greater.

    The interval is that of J. Hanley and B. McNeil, "The Meaning and Use of the Area under a ROC Curve", 1982.
    """
    from sklearn.metrics import roc_auc_score

    is_strange = np.repeat([False, True], [len(usual), len(strange)])
    area = float(roc_auc_score(is_strange, np.concatenate([usual, strange])))
    half = 1.96 * standard_error(area, len(usual), len(strange))
    return Area(area, max(0.0, area - half), min(1.0, area + half))


def standard_error(area: float, usual: int, strange: int) -> float:
    """Estimate how far the area of so many rows strays from that of all there are."""
    two_strange_above = area / (2 - area)
    two_usual_below = 2 * area**2 / (1 + area)
    spread = (strange - 1) * (two_strange_above - area**2) + (usual - 1) * (two_usual_below - area**2)
    return float(np.sqrt((area * (1 - area) + spread) / (usual * strange)))

"""Whether two versions differ by more than chance on the same held-out rows. Plain JSON out; numpy alone.

Classes: McNemar, 1947, mid-p by Fagerland, Lydersen and Laake, 2013. All else: the rows are drawn with repetition again
and again, the same ones for both (B. Efron, R. Tibshirani, "An Introduction to the Bootstrap", 1993): percentile
intervals, and as p-value the share of draws on the other side of 0, twice, one draw added to each so that it is never 0
(A. Davison, D. Hinkley, "Bootstrap Methods and their Application", 1997). Differences are the second less the first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from model_store.predictions import Predictions, bootstrap_means, resamples
from training.codes.rand_index import adjusted_rand_index, cells
from training.detection.resampling import RankedClass, draws, mean_average_precision, ranked
from training.evidence.measures import percentile_bounds

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.int64]

SIGNIFICANT = 0.05
NO_DIFFERENCE = "no difference that these rows can show"
NO_LABELS = "without labels nothing tells which is better"


def significance(first: Predictions, second: Predictions, names: tuple[str, str]) -> dict[str, Any]:
    """Test predictions of one kind for the same rows; `names` are those of the two versions."""
    if first.kind == "classification":
        return _mcnemar(first.errors == 0, second.errors == 0, names)
    if first.kind == "detection":
        return _detections(first, second, names)
    if first.kind == "clustering":
        return _clusterings(first, second, names)
    return _paired_errors(second.errors - first.errors, names)


def _mcnemar(first_right: Any, second_right: Any, names: tuple[str, str]) -> dict[str, Any]:
    """Test rows that only one has right."""
    only_first, only_second = int(np.sum(first_right & ~second_right)), int(np.sum(~first_right & second_right))
    p_value = mid_p(only_first, only_second)
    return {
        "name": "McNemar, mid-p",
        "rows": len(first_right),
        "both_right": int(np.sum(first_right & second_right)),
        "only_first_right": only_first,
        "only_second_right": only_second,
        "both_wrong": int(np.sum(~first_right & ~second_right)),
        **_verdict(p_value, names[0] if only_first > only_second else names[1]),
    }


def mid_p(only_first: int, only_second: int) -> float:
    """Give the two-sided mid-p value that rows fall so unevenly, where either side is as probable."""
    rows, fewer = only_first + only_second, min(only_first, only_second)

    def probability(count: int) -> float:
        log = math.lgamma(rows + 1) - math.lgamma(count + 1) - math.lgamma(rows - count + 1) - rows * math.log(2)
        return math.exp(log)

    return min(1.0, 2 * sum(probability(count) for count in range(fewer)) + probability(fewer))


def _paired_errors(differences: Floats, names: tuple[str, str]) -> dict[str, Any]:
    """Bound the mean difference of the rows' errors with 95 % confidence."""
    drawn = bootstrap_means(differences)
    return {
        "name": "paired bootstrap of the rows' errors, 95 %",
        "rows": len(differences),
        "mean_difference": (mean := float(np.mean(differences))),
        **percentile_bounds(drawn),
        **_verdict(p_value_of(drawn), names[1] if mean < 0 else names[0]),
    }


def _detections(first: Predictions, second: Predictions, names: tuple[str, str]) -> dict[str, Any]:
    """Bound the difference of mAP@0.5 with 95 % confidence, over pictures that are drawn together for both."""
    sides = [ranked(side.truth_by_picture(), side.predicted_by_picture()) for side in (first, second)]
    pictures = len(first.truth_by_picture())
    ones = np.ones((1, pictures), np.int64)
    measured = [float(mean_average_precision(side, ones)[0]) for side in sides]
    drawn = _drawn_averages(sides)
    return {
        "name": "paired bootstrap over the held-out pictures, 95 %",
        "metric": "map_50",
        "rows": pictures,
        "first": measured[0],
        "second": measured[1],
        "difference": (difference := measured[1] - measured[0]),
        **percentile_bounds(drawn),
        **_verdict(p_value_of(drawn), names[1] if difference > 0 else names[0]),
    }


def _drawn_averages(sides: list[list[RankedClass]]) -> Floats:
    """Give the difference of mAP@0.5 in every draw that has an object in it."""

    def difference(times: Integers) -> Floats:
        return mean_average_precision(sides[1], times) - mean_average_precision(sides[0], times)

    drawn = np.concatenate([difference(times) for times in draws(*sides)])
    return np.asarray(drawn[~np.isnan(drawn)])


def _clusterings(first: Predictions, second: Predictions, names: tuple[str, str]) -> dict[str, Any]:
    """Compare the clusters with one another and, where there are classes, both with these."""
    assert first.predicted is not None
    assert second.predicted is not None
    truth = np.zeros_like(first.predicted) if first.truth is None else first.truth
    (classes, one, other), rows = cells(*(part.astype(np.int64) for part in (truth, first.predicted, second.predicted)))
    compared: dict[str, Callable[[Integers], Floats]] = {
        "agreement": lambda times: adjusted_rand_index(one, other, times)
    }
    if first.truth is not None:
        compared["first"] = lambda times: adjusted_rand_index(classes, one, times)
        compared["second"] = lambda times: adjusted_rand_index(classes, other, times)
    measured = {name: float(index(rows[None])[0]) for name, index in compared.items()}
    total = int(rows.sum())
    parts = [[index(times) for index in compared.values()] for times in resamples(total, rows / total, len(rows))]
    drawn = dict(zip(compared, np.concatenate(parts, axis=1), strict=True))
    return {
        "name": "adjusted Rand index, bootstrap over the held-out rows, 95 %",
        "metric": "adjusted_rand_index",
        "rows": total,
        "agreement": {"value": measured["agreement"], **percentile_bounds(drawn["agreement"])},
        **(_against_classes(measured, drawn, names) if first.truth is not None else _WITHOUT_CLASSES),
    }


_WITHOUT_CLASSES = {"p_value": None, "significant": False, "says": NO_LABELS}


def _against_classes(measured: dict[str, float], drawn: dict[str, Floats], names: tuple[str, str]) -> dict[str, Any]:
    differences = drawn["second"] - drawn["first"]
    return {
        "first": measured["first"],
        "second": measured["second"],
        "difference": (difference := measured["second"] - measured["first"]),
        **percentile_bounds(differences),
        **_verdict(p_value_of(differences), names[1] if difference > 0 else names[0]),
    }


def p_value_of(differences: Floats) -> float:
    """Give the two-sided p-value that a difference is 0, from the differences [draws] of a bootstrap."""
    fewer = min(np.sum(differences <= 0), np.sum(differences >= 0))
    return min(1.0, 2 * (1 + float(fewer)) / (1 + len(differences)))


def _verdict(p_value: float, better: str) -> dict[str, Any]:
    significant = p_value < SIGNIFICANT
    says = f"{better} is better" if significant else NO_DIFFERENCE
    return {"p_value": p_value, "significant": significant, "says": says}

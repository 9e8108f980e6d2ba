"""Figures of quality beyond one number: intervals, curves, calibration, residuals. Plain numbers in, plain JSON out.

Knows no network and no data set.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from model_store.predictions import bootstrap_means

Floats = npt.NDArray[np.floating[Any]]
Classes = npt.NDArray[np.int64]

# 95 %, two-sided.
Z, LEVELS = 1.959964, (0.025, 0.975)
CURVE_POINTS = 101
CALIBRATION_BINS = 10
# One curve for each class is readable, and quick to compute, up to so many.
MOST_CURVED_CLASSES = 20
TOP_K = 5
MOST_RESIDUALS = 10


def wilson_interval(right: int, rows: int) -> dict[str, Any]:
    """Bound a share with 95 % confidence (Wilson, 1927: it stays inside 0..1 and holds for few rows)."""
    share, spread = right / rows, Z**2 / rows
    centre = (share + spread / 2) / (1 + spread)
    half = Z * math.sqrt(share * (1 - share) / rows + spread / (4 * rows)) / (1 + spread)
    return {"low": max(0.0, centre - half), "high": min(1.0, centre + half), "method": "Wilson, 95 %"}


def bootstrap_interval(errors: Floats) -> dict[str, Any]:
    """Bound the mean of one error [n] for each row with 95 % confidence, by drawing the rows again and again."""
    return {**percentile_bounds(bootstrap_means(errors)), "method": "bootstrap over the rows, 95 %"}


def percentile_bounds(drawn: Floats) -> dict[str, float]:
    """Bound a figure with 95 % confidence by what it was in the draws [draws] of a bootstrap."""
    low, high = np.quantile(drawn, LEVELS)
    return {"low": float(low), "high": float(high)}


def top_k_accuracy(answers: Floats, targets: Classes, k: int = TOP_K) -> float:
    """Measure how often the true class is among the k with the highest probabilities."""
    highest = np.argpartition(-answers, k - 1, axis=1)[:, :k]
    return float(np.mean((highest == targets[:, None]).any(axis=1)))


def calibration(answers: Floats, targets: Classes) -> dict[str, Any]:
    """Compare certainty with how often it is right, in ten bins of certainty.

    Returns:
        the expected calibration error (Guo et al., 2017), and for each bin that has rows: its limits, its rows, and
        their mean certainty and accuracy.
    """
    certainty, right = answers.max(axis=1).astype(np.float64), answers.argmax(axis=1) == targets
    numbers = np.clip((certainty * CALIBRATION_BINS).astype(np.int64), 0, CALIBRATION_BINS - 1)
    bins = [
        {
            "from": number / CALIBRATION_BINS,
            "to": (number + 1) / CALIBRATION_BINS,
            "rows": int(np.sum(numbers == number)),
            "certainty": float(certainty[numbers == number].mean()),
            "accuracy": float(right[numbers == number].mean()),
        }
        for number in np.unique(numbers).tolist()
    ]
    error = sum(entry["rows"] * abs(entry["accuracy"] - entry["certainty"]) for entry in bins) / len(targets)
    return {"expected_calibration_error": float(error), "bins": bins}


def curves(answers: Floats, targets: Classes, labels: tuple[str, ...]) -> dict[str, Any]:
    """Trace receiver operating characteristic and precision against recall, with the areas below them.

    Of two classes the second counts as positive; of more, each against the rest, and the mean over the classes that
    have rows. Empty where there are too many classes, or one alone has rows.
    """
    counted = [index for index in range(len(labels)) if 0 < np.sum(targets == index) < len(targets)]
    if len(labels) > MOST_CURVED_CLASSES or not counted:
        return {}
    if len(labels) == 2:
        return _curves_of_one(answers[:, 1], targets == 1) | {"positive": labels[1]}
    each = {labels[index]: _curves_of_one(answers[:, index], targets == index) for index in counted}
    return {name: _mean_curve([found[name] for found in each.values()]) for name in ("roc", "precision_recall")} | {
        "positive": "each class against the rest, mean",
        "per_class": {label: {name: found[name]["area"] for name in found} for label, found in each.items()},
    }


def _curves_of_one(scores: Floats, positive: npt.NDArray[np.bool_]) -> dict[str, Any]:
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

    grid = np.linspace(0, 1, CURVE_POINTS)
    false, true, _ = roc_curve(positive, scores)
    precision, recall, _ = precision_recall_curve(positive, scores)
    # Of several points above one another the highest counts, as the eye reads a curve.
    kept = np.unique(recall)
    best = np.zeros(len(kept))
    np.maximum.at(best, np.searchsorted(kept, recall), precision)
    return {
        "roc": {
            "area": float(roc_auc_score(positive, scores)),
            # The curve rises from the corner, however steeply.
            "x": [0.0, *grid.tolist()],
            "y": [0.0, *np.round(np.interp(grid, false, true), 5).tolist()],
        },
        "precision_recall": {
            "area": float(average_precision_score(positive, scores)),
            "x": grid.tolist(),
            "y": np.round(np.interp(grid, kept, best), 5).tolist(),
        },
    }


def _mean_curve(found: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "area": float(np.mean([curve["area"] for curve in found])),
        "x": found[0]["x"],
        "y": np.round(np.mean([curve["y"] for curve in found], axis=0), 5).tolist(),
    }


def residuals(predicted: Floats, true: Floats) -> dict[str, Any]:
    """Describe predicted less true values: their spread, and the rows that are farthest off."""
    error = predicted.astype(np.float64) - true
    farthest = np.argsort(-np.abs(error), kind="stable")[:MOST_RESIDUALS]
    levels = (0.05, 0.25, 0.5, 0.75, 0.95)
    return {
        "mean": float(error.mean()),
        "standard_deviation": float(error.std()),
        "quantiles": {
            f"{level:.0%}": float(value) for level, value in zip(levels, np.quantile(error, levels), strict=True)
        },
        "farthest": [
            {"test_row": int(row), "true": float(true[row]), "predicted": float(predicted[row])} for row in farthest
        ],
    }

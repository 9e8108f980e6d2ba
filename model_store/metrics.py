"""What the figures of quality are called where people read them, and which way is better. One table for all pages.

Manifests and evaluation.json keep the keys, for programs. Knows no model, and measures nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

# Detection as COCO writes it: at an overlap (intersection over union) of 0.5, and the mean of 0.5, 0.55, … 0.95.
LABELS: Mapping[str, str] = {
    "adjusted_rand_index": "adjusted Rand index",
    "ap_50": "AP@0.5",
    "ap_50_95": "AP@0.5:0.95",
    "f1": "F1",
    "log_cosh": "log-cosh",
    "macro_f1": "macro F1",
    "map_50": "mAP@0.5",
    "map_50_95": "mAP@0.5:0.95",
    "mean_absolute_error": "MAE",
    "mean_iou": "mean IoU",
    "mean_squared_error": "MSE",
    "normalised_mutual_information": "normalised mutual information (NMI)",
    "precision_at_score_0.5": "precision at score ≥ 0.5",
    "precision_recall": "average precision",
    "r2": "R²",
    "recall_at_score_0.5": "recall at score ≥ 0.5",
    "right_and_localised": "right class and IoU ≥ 0.5",
    "roc": "AUROC",
    "top_5_accuracy": "top-5 accuracy",
}

# Of every metric that a recipe puts first.
HIGHER_IS_BETTER: Mapping[str, bool] = {
    "accuracy": True,
    "explained_variance": True,
    "map_50": True,
    "mean_absolute_error": False,
    "mean_squared_error": False,
    "right_and_localised": True,
    "silhouette": True,
}

WHOLE = "whole_"


def label_of(metric: str) -> str:
    """Write a metric's key as the field writes its name; one that is not in the table with spaces.

    A part of a model, such as an encoder, has the quality of the whole, under the key `whole_…`.
    """
    if metric.startswith(WHOLE):
        return f"{label_of(metric.removeprefix(WHOLE))} of the whole"
    return LABELS.get(metric, metric.replace("_", " "))


def is_as_good(metric: str, value: float, other: float) -> bool:
    """Tell whether a value of a metric is at least as good as another; False if it is not known which way is better."""
    if metric not in HIGHER_IS_BETTER:
        return False
    return value >= other if HIGHER_IS_BETTER[metric] else value <= other

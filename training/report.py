"""The report beside a model: figures for people, evaluation.json for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from training.datasets import Dataset
from training.evaluate import Evaluation
from training.fit import Fit
from training.network import Network


def write_report(folder: Path, network: Network, dataset: Dataset, fitted: Fit, evaluation: Evaluation) -> None:
    """Write evaluation.json and the figures that fit the task."""
    folder.mkdir()
    facts: dict[str, Any] = {
        "metrics": evaluation.metrics,
        **evaluation.details,
        "history": fitted.history,
        "seconds": round(fitted.seconds, 1),
    }
    (folder / "evaluation.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

"""Sets two published versions side by side, and says whether they really differ on the same held-out rows.

Reads the store alone: no Keras, no ONNX, and of Python's packages only numpy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from model_store import StoredVersion
from model_store.errors import StoreError
from model_store.manifest import MODEL_FILE
from model_store.predictions import PREDICTIONS_FILE, Predictions
from training.evidence.significance import significance

NO_ROWS = "no predictions.npz, so nothing is tested: only the published metrics are set side by side"


class NotComparable(StoreError):
    """Two versions that were measured on different rows, or that do different things."""


@dataclass(frozen=True)
class Side:
    """One of the two versions, with what its report says."""

    stored: StoredVersion
    evaluation: Mapping[str, Any]
    predictions: Predictions | None

    @classmethod
    def read(cls, stored: StoredVersion) -> Side:
        """Read a version's report, as far as it has one.

        Raises:
            NotComparable: it has no manifest.
            StoreError: a file of it cannot be read.
        """
        if stored.is_bare:
            raise NotComparable(f"{stored} has no manifest: nothing is known of how good it is")
        published = stored.manifest.files
        predictions = Predictions.read(stored.path / PREDICTIONS_FILE) if PREDICTIONS_FILE in published else None
        return cls(stored, _evaluation(stored), predictions)

    @property
    def size(self) -> int:
        """Bytes of the ONNX file."""
        return (self.stored.path / MODEL_FILE).stat().st_size


def _evaluation(stored: StoredVersion) -> dict[str, Any]:
    try:
        found = json.loads((stored.path / "report/evaluation.json").read_text(encoding="utf-8"))
    except OSError:
        return {}  # an encoder or a decoder has no report of its own
    except ValueError as error:
        raise NotComparable(f"{stored}: report/evaluation.json is not JSON: {error}") from None
    return found if isinstance(found, dict) else {}


def compare(first: Side, second: Side) -> dict[str, Any]:
    """Set two versions side by side; plain JSON. Differences are the second less the first.

    Raises:
        NotComparable: their held-out rows or what they do with them are not the same.
    """
    _check_same_rows(first, second)
    versions = str(first.stored), str(second.stored)
    one, other = first.predictions, second.predictions
    lacking = [str(side.stored) for side in (first, second) if side.predictions is None]
    return {
        "versions": list(versions),
        "recipes": [first.stored.manifest.recipe, second.stored.manifest.recipe],
        "dataset": first.stored.manifest.dataset.name,
        "metrics": _side_by_side(first.stored.manifest.metrics, second.stored.manifest.metrics),
        "bytes": _pair(first.size, second.size),
        "latency_us": _side_by_side(_latency(first), _latency(second)),
        "parameters": _differing(first.stored.manifest.parameters, second.stored.manifest.parameters),
        "kind": one.kind if one else None,
        "per_class": _per_class(first, second),
        "test": significance(one, other, versions) if one and other else None,
        "note": f"{' and '.join(lacking)} {'have' if len(lacking) > 1 else 'has'} {NO_ROWS}" if lacking else "",
    }


def _check_same_rows(first: Side, second: Side) -> None:
    one, other = first.predictions, second.predictions
    datasets = first.stored.manifest.dataset, second.stored.manifest.dataset
    known = one is not None and other is not None
    same = one.rows == other.rows if one and other else datasets[0].sha256 == datasets[1].sha256
    if not same:
        raise NotComparable(
            f"{first.stored} and {second.stored} were measured on different held-out rows "
            f"({datasets[0].name} and {datasets[1].name}): their figures say nothing about which is better"
        )
    if known and one.kind != other.kind:  # type: ignore[union-attr]
        raise NotComparable(
            f"{first.stored} was made for {one.kind}, {second.stored} for {other.kind}: "  # type: ignore[union-attr]
            "nothing of it can be compared"
        )


def _per_class(first: Side, second: Side) -> dict[str, dict[str, Any]]:
    """Set the average precision at an overlap of a half side by side, where both are detectors."""
    sides = [
        {label: facts["ap_50"] for label, facts in side.evaluation.get("per_class", {}).items() if "ap_50" in facts}
        for side in (first, second)
    ]
    return _side_by_side(*sides) if all(sides) else {}


def _latency(side: Side) -> dict[str, float]:
    found = side.evaluation.get("latency", {}).get("batches", [])
    return {f"batch of {entry['rows']}": entry["onnxruntime"] for entry in found}


def _side_by_side(first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    return {name: _pair(first.get(name), second.get(name)) for name in {**first, **second}}


def _pair(first: float | None, second: float | None) -> dict[str, Any]:
    difference = None if first is None or second is None else second - first
    return {"first": first, "second": second, "difference": difference}


def _differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    names = [name for name in {**first, **second} if first.get(name) != second.get(name)]
    return {name: {"first": first.get(name), "second": second.get(name)} for name in names}

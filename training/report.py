"""The report beside a model: figures for people, evaluation.json for programs. Says what to draw, not how."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from training import figures
from training.datasets import Dataset
from training.evidence import Evaluation, Exhibit
from training.figures import Mistake
from training.fit import Fit
from training.network import Floats, Network

DataReport = tuple[dict[str, Any], tuple[Exhibit, ...]]

MOST_PICTURES = 24
MOST_ROWS = 24
RECONSTRUCTIONS = 10
# Enough of a text to recognise it by.
LONGEST_TEXT = 300


def write_report(
    folder: Path, network: Network, dataset: Dataset, fitted: Fit, evaluation: Evaluation, data: DataReport
) -> None:
    """Write evaluation.json and the figures that fit the task."""
    folder.mkdir()
    data_facts, data_exhibits = data
    figures.save(figures.learning_curves(fitted.history, network.history_unit), folder / "learning_curves.png")
    facts: dict[str, Any] = {"metrics": evaluation.metrics, **evaluation.details, "data": data_facts}
    if network.task == "classification":
        facts["mistakes"] = _report_classes(folder, dataset, evaluation, _main_answers(network, evaluation))
    elif network.task == "regression":
        scatter = figures.predicted_against_true(
            _main_answers(network, evaluation)[:, 0], dataset.test.targets.astype(np.float32)
        )
        figures.save(scatter, folder / "predicted_against_true.png")
    elif network.task == "reconstruction":
        originals = network.targets(dataset.test)[:RECONSTRUCTIONS].astype(np.float32)
        drawn = figures.reconstructions(originals, _main_answers(network, evaluation)[:RECONSTRUCTIONS])
        figures.save(drawn, folder / "reconstructions.png")
    for exhibit in (*data_exhibits, *network.exhibits(dataset, evaluation)):
        if exhibit.figure is not None:
            figures.save(exhibit.figure, folder / f"{exhibit.name}.png")
    if network.history_unit:
        facts["history_unit"] = network.history_unit
    facts |= {"history": fitted.history, "epochs": fitted.epochs, "seconds": round(fitted.seconds, 1)}
    text = json.dumps(facts, indent=1, ensure_ascii=False) + "\n"
    (folder / "evaluation.json").write_text(text, encoding="utf-8")


def _main_answers(network: Network, evaluation: Evaluation) -> Floats:
    return evaluation.answers[network.main.outputs[0].name].astype(np.float32)


def _report_classes(folder: Path, dataset: Dataset, evaluation: Evaluation, answers: Floats) -> list[dict[str, Any]]:
    """Draw confusion matrix and mistakes; return the mistakes as plain JSON."""
    assert dataset.labels is not None
    figures.save(
        figures.confusion_matrix(evaluation.details["confusion_matrix"], dataset.labels),
        folder / "confusion_matrix.png",
    )
    mistakes, total = surest_mistakes(dataset, answers)
    inputs = dataset.test.inputs[[mistake.index for mistake in mistakes]]
    rows = len(dataset.test)
    if dataset.kind == "image":
        drawn = figures.mistaken_pictures(mistakes, inputs.astype(np.uint8), total, rows)
    else:
        drawn = figures.mistaken_rows(mistakes, [_describe(row, dataset) for row in inputs], total, rows)
    figures.save(drawn, folder / "mistakes.png")
    return [_as_json(mistake, dataset) for mistake in mistakes]


def surest_mistakes(dataset: Dataset, answers: Floats) -> tuple[list[Mistake], int]:
    """Return the mistakes that were made with the most certainty, and how many there are in all."""
    assert dataset.labels is not None
    predicted = answers.argmax(axis=1)
    confidence = answers.max(axis=1)
    wrong = np.flatnonzero(predicted != dataset.test.targets)
    surest = wrong[np.argsort(-confidence[wrong], kind="stable")]
    most = MOST_PICTURES if dataset.kind == "image" else MOST_ROWS
    mistakes = [
        Mistake(
            index=int(index),
            true=dataset.labels[int(dataset.test.targets[index])],
            predicted=dataset.labels[int(predicted[index])],
            confidence=float(confidence[index]),
        )
        for index in surest[:most]
    ]
    return mistakes, len(wrong)


def _describe(row: Any, dataset: Dataset) -> str:
    if dataset.columns is None:
        return str(row)
    return ", ".join(f"{name} {value:.4g}" for name, value in zip(dataset.columns, row, strict=True))


def _as_json(mistake: Mistake, dataset: Dataset) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "test_row": mistake.index,
        "true": mistake.true,
        "predicted": mistake.predicted,
        "confidence": round(mistake.confidence, 4),
    }
    if dataset.kind == "text":
        facts["text"] = str(dataset.test.inputs[mistake.index])[:LONGEST_TEXT]
    return facts

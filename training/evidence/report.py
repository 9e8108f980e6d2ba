"""The report beside a model: figures for people, evaluation.json for programs. Says what to draw, not how."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from model_store.manifest import REPORT_FILE
from model_store.predictions import PREDICTIONS_FILE
from training.datasets import Dataset
from training.evidence import figures, report_page
from training.evidence.data_report import DataReport
from training.evidence.exhibit import Evaluation, Exhibit
from training.evidence.figures import Mistake
from training.evidence.predictions import main_answers, predictions
from training.evidence.report_page import Card, Chart, FileFacts, Page
from training.fitting.fit import Fit
from training.network import Floats, Network

MOST_PICTURES = 24
MOST_ROWS = 24
RECONSTRUCTIONS = 10
# Enough of a text to recognise it by.
LONGEST_TEXT = 300


@dataclass(frozen=True)
class Evidence:
    """What the page shows of a network: `facts` is what stands in evaluation.json."""

    facts: dict[str, Any]
    charts: tuple[Chart, ...]
    mistakes: tuple[Card, ...]
    exhibits: tuple[Exhibit, ...]


def write_report(
    folder: Path,
    network: Network,
    dataset: Dataset,
    fitted: Fit,
    evaluation: Evaluation,
    *,
    latency: dict[str, Any],
    data: DataReport,
) -> Evidence:
    """Write evaluation.json, predictions.npz and the figures that fit the task; return what the page is made of."""
    folder.mkdir()
    if fitted.epochs:
        stages, kept = fitted.further_stages, fitted.kept_epoch
        curves = figures.learning_curves(fitted.history, network.history_unit, stages, kept)
        figures.save(curves, folder / "learning_curves.png")
    mistakes = _draw_task(folder, network, dataset, evaluation)
    exhibits = tuple(network.exhibits(dataset, evaluation))
    data_facts, about_data = data
    for exhibit in (*about_data, *exhibits):
        if exhibit.figure is not None:
            figures.save(exhibit.figure, folder / f"{exhibit.name}.png")
    facts: dict[str, Any] = {"metrics": evaluation.metrics, **evaluation.details, "data": data_facts}
    if network.task == "classification":
        facts["mistakes"] = [_as_json(mistake, dataset) for mistake in mistakes]
    if network.history_unit:
        facts["history_unit"] = network.history_unit
    facts |= {"history": fitted.history, "epochs": fitted.epochs, "seconds": round(fitted.seconds, 1)}
    if fitted.epochs:
        facts["kept_epoch"] = fitted.kept_epoch
    if fitted.further_stages:
        facts["further_stages"] = fitted.further_stages
    facts["latency"] = latency
    text = json.dumps(facts, indent=1, ensure_ascii=False) + "\n"
    (folder / "evaluation.json").write_text(text, encoding="utf-8")
    answered = predictions(network, dataset, evaluation)
    if answered is not None:
        answered.write(folder.parent / PREDICTIONS_FILE)
    cards = tuple(_card(mistake, dataset) for mistake in mistakes)
    return Evidence(facts, tuple(_task_charts(network, dataset, evaluation)), cards, exhibits)


def write_page(version: Path, evidence: Evidence, file: FileFacts, *, about_data: Sequence[Exhibit] = ()) -> None:
    """Write a version's report.html; `about_data` is shown with the data set's facts."""
    page = Page(
        file=file,
        facts=evidence.facts,
        drawn=evidence.charts,
        mistakes=evidence.mistakes,
        exhibits=evidence.exhibits,
        data_exhibits=about_data,
    )
    (version / REPORT_FILE).write_text(report_page.render(page), encoding="utf-8")


def _draw_task(folder: Path, network: Network, dataset: Dataset, evaluation: Evaluation) -> list[Mistake]:
    """Draw what fits the task; return the surest mistakes of a classifier."""
    if network.task == "classification":
        return _draw_classes(folder, dataset, evaluation, main_answers(network, evaluation))
    if network.task == "regression":
        figures.save(_scatter(network, dataset, evaluation), folder / "predicted_against_true.png")
    elif network.task == "reconstruction":
        figures.save(_reconstructions(network, dataset, evaluation), folder / "reconstructions.png")
    return []


def _task_charts(network: Network, dataset: Dataset, evaluation: Evaluation) -> Iterator[Chart]:
    """Draw for the page what evaluation.json alone does not hold."""
    rows = len(dataset.test)
    if network.task == "regression":
        answers, targets = main_answers(network, evaluation)[:, 0], dataset.test.targets.astype(np.float32)
        words = f"predicted against true values of {rows} held-out rows"
        yield report_page.chart(_scatter(network, dataset, evaluation), "scatter", words)
        yield report_page.chart(figures.residuals(answers, targets), "residuals", f"residuals of {rows} held-out rows")
    elif network.task == "reconstruction":
        drawn = _reconstructions(network, dataset, evaluation)
        yield report_page.chart(drawn, "reconstructions", "held-out pictures above, their reconstructions below")


def _scatter(network: Network, dataset: Dataset, evaluation: Evaluation) -> Figure:
    return figures.predicted_against_true(
        main_answers(network, evaluation)[:, 0], dataset.test.targets.astype(np.float32)
    )


def _reconstructions(network: Network, dataset: Dataset, evaluation: Evaluation) -> Figure:
    originals = network.targets(dataset.test)[:RECONSTRUCTIONS].astype(np.float32)
    return figures.reconstructions(originals, main_answers(network, evaluation)[:RECONSTRUCTIONS])


def _draw_classes(folder: Path, dataset: Dataset, evaluation: Evaluation, answers: Floats) -> list[Mistake]:
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
    return mistakes


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
    values = row.item() if row.dtype.names else row
    return ", ".join(f"{name} {_short(value)}" for name, value in zip(dataset.columns, values, strict=True))


def _short(value: Any) -> str:
    if isinstance(value, str):
        return value or "–"
    return "–" if np.isnan(value) else f"{value:.4g}"


def _card(mistake: Mistake, dataset: Dataset) -> Card:
    row = dataset.test.inputs[[mistake.index]][0]
    shown = np.asarray(row, np.uint8) if dataset.kind == "image" else _describe(row, dataset)[:LONGEST_TEXT]
    return Card(
        row=mistake.index,
        true=mistake.true,
        predicted=mistake.predicted,
        confidence=mistake.confidence,
        input=shown,
    )


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

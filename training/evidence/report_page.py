"""One HTML page about a version: all of it in one file, without a script and without a reference to elsewhere.

Makes the page from what stands in evaluation.json and a few facts besides; measures nothing. The layout is in
templates/, whose engine escapes every text.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from matplotlib.figure import Figure
from PIL import Image

from model_store.manifest import DatasetFacts, Parity
from model_store.metrics import label_of
from training.evidence import figures
from training.evidence.exhibit import Exhibit
from training.evidence.int8_speed import slower_than_float32

# A larger matrix is no longer read cell by cell; the list of confusions says what it would.
MOST_MATRIX_CLASSES = 50
MOST_CONFUSIONS = 20
# From here on a number's fraction says nothing more.
WHOLE_FROM = 10_000
# Up to this side a picture is kept pixel by pixel; a larger one becomes a small photograph.
SMALL_PICTURE, THUMBNAIL = 64, 128


@dataclass(frozen=True)
class Chart:
    """A figure with the words that say the same."""

    description: str
    svg: Markup


@dataclass(frozen=True, kw_only=True)
class Card:
    """One wrong answer as it is shown: a picture (uint8 [height, width, 1 or 3]) or a text."""

    row: int
    true: str
    predicted: str
    confidence: float
    input: npt.NDArray[np.uint8] | str


@dataclass(frozen=True, kw_only=True)
class FileFacts:
    """What is known of the file that is published, beside how good it is.

    `computed_by` is what it is compared with: Keras or NumPy; `sizes` are bytes.
    """

    model: str
    recipe: str
    computed_by: str
    created: datetime
    parameters: Mapping[str, Any]
    libraries: Mapping[str, str]
    parity: Parity
    extra: Mapping[str, Any]
    sha256: str
    sizes: Mapping[str, int]
    dataset: DatasetFacts


@dataclass(frozen=True, kw_only=True)
class Page:
    """All that a page shows. `facts` is what stands in evaluation.json; `drawn` are the figures of the task."""

    file: FileFacts
    facts: Mapping[str, Any]
    drawn: Sequence[Chart] = ()
    mistakes: Sequence[Card] = ()
    exhibits: Sequence[Exhibit] = ()
    data_exhibits: Sequence[Exhibit] = ()


def render(page: Page) -> str:
    """Write the page as HTML."""
    file, facts = page.file, page.facts
    shown = {
        "model": file.model,
        "recipe": file.recipe,
        "headline": _headline(facts),
        "test_rows": file.dataset.sizes["test"],
        "metrics": metric_rows(facts),
        "charts": {"quality": [*quality_charts(facts), *page.drawn], "fit": fit_charts(facts)},
        "matrix": matrix(facts),
        "confusions": confusions(facts),
        "per_class": _per_class(facts),
        "residuals": _residuals(facts),
        "mistakes": [_card(card) for card in page.mistakes],
        "exhibits": [_exhibit(one) for one in page.exhibits],
        "data_exhibits": [_exhibit(one) for one in page.data_exhibits],
        "epochs": facts["epochs"],
        "seconds": facts["seconds"],
        "parameters": {name: _written(value) for name, value in file.parameters.items()},
        "data": _data(file.dataset),
        "warnings": facts.get("data", {}).get("warnings", []),
        "made": _made(file),
        "files": list(file.sizes.items()),
        "quantization": _quantization(file.extra.get("quantization")),
        "latency": _latency(facts["latency"]),
        "computed_by": file.computed_by,
        "parity": _parity(file),
    }
    return render_template("report.html", shown | {"contents": _contents(shown)})


def render_template(name: str, shown: Mapping[str, Any]) -> str:
    """Fill a template of this package; every text in it is escaped."""
    environment = Environment(
        loader=PackageLoader("training.evidence"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    environment.globals["filled"] = filled
    return environment.get_template(name).render(shown)


def filled(header: Sequence[Any], rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Leave out the columns that are empty in every row: the header first, then the rows."""
    kept = [at for at in range(len(header)) if not rows or any(row[at] not in ("", None) for row in rows)]
    return [[line[at] for at in kept] for line in (header, *rows)]


def number(value: Any) -> Any:
    """Write numbers as the whole report does: four digits that count, whole ones with thousands apart."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    is_whole = isinstance(value, int) or abs(value) >= WHOLE_FROM
    return f"{value:,.0f}" if is_whole and math.isfinite(value) else f"{value:.4g}"


def chart(figure: Figure, name: str, description: str) -> Chart:
    """Make a chart of the page's own, in its colours; `name` must differ from those of the page's other charts."""
    return Chart(description, _svg(figure, name, description, themed=True))


def _svg(figure: Figure, name: str, description: str, *, themed: bool) -> Markup:
    text = figures.svg(figure, name, themed=themed)
    # matplotlib escapes the texts that it writes.
    return Markup(text.replace("<svg", f'<svg role="img" aria-label="{escape(description)}"', 1))  # noqa: S704


def fit_charts(facts: Mapping[str, Any], prefix: str = "fit") -> list[Chart]:
    """Draw each metric of the fit by epoch."""
    history, unit = facts["history"], facts.get("history_unit", "")
    # Reports that were written before this was noted do not say which epoch was kept.
    stages, kept = facts.get("further_stages"), facts.get("kept_epoch", 0)
    charts = []
    for index, name in enumerate(figures.learned_metrics(history)):
        last = history.get(f"val_{name}", history[name])[-1]
        words = f"{label_of(name)} by epoch; the last is {last:.4g}"
        charts.append(chart(figures.learning_curve(history, name, unit, stages, kept), f"{prefix}{index}", words))
    return charts


def quality_charts(facts: Mapping[str, Any], prefix: str = "quality") -> list[Chart]:
    """Draw the curves and the calibration that were measured."""
    charts = []
    curves, calibration = facts.get("curves"), facts.get("calibration")
    if curves:
        for key, title, across, up in CURVES:
            words = f"{title}: area {curves[key]['area']:.4f} ({curves['positive']})"
            figure = figures.curve(curves[key], title=title, across=across, up=up)
            charts.append(chart(figure, f"{prefix}-{key}", words))
    if calibration:
        words = (
            f"calibration: expected calibration error {calibration['expected_calibration_error']:.4g}; bars above the "
            "dotted line are right more often than they are certain"
        )
        charts.append(chart(figures.reliability(calibration["bins"]), f"{prefix}-calibration", words))
    return charts


CURVES = (
    ("roc", "receiver operating characteristic", "false positive rate", "true positive rate"),
    ("precision_recall", "precision against recall", "recall", "precision"),
)


def metric_rows(facts: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """List each metric with its interval, and the areas and the calibration besides."""
    intervals = facts.get("intervals", {})
    rows: list[tuple[Any, ...]] = []
    for name, value in facts["metrics"].items():
        interval = intervals.get(name, {})
        rows.append((label_of(name), float(value), interval.get("low", ""), interval.get("high", "")))
    if facts.get("curves"):
        rows += [(label_of(key), facts["curves"][key]["area"], "", "") for key in ("roc", "precision_recall")]
    if facts.get("calibration"):
        key = "expected_calibration_error"
        rows.append((label_of(key), facts["calibration"][key], "", ""))
    return rows


def matrix(facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """Give each cell of the confusion matrix with its share of the true class; None where it would be too large."""
    counts = facts.get("confusion_matrix")
    if not counts or len(counts) > MOST_MATRIX_CLASSES:
        return None
    rows = [[{"count": count, "share": count / max(1, sum(row))} for count in row] for row in counts]
    return {"labels": list(facts["per_class"]), "rows": rows}


def confusions(facts: Mapping[str, Any]) -> list[tuple[str, str, int]]:
    """List what is taken for what, the most frequent first."""
    counts = facts.get("confusion_matrix")
    if not counts or len(counts) < 3:
        return []
    labels = list(facts["per_class"])
    wrong = [
        (labels[true], labels[predicted], count)
        for true, row in enumerate(counts)
        for predicted, count in enumerate(row)
        if count and true != predicted
    ]
    return sorted(wrong, key=lambda entry: -entry[2])[:MOST_CONFUSIONS]


def _headline(facts: Mapping[str, Any]) -> dict[str, Any]:
    name, value = next(iter(facts["metrics"].items()))
    return {"name": label_of(name), "value": float(value), **facts.get("intervals", {}).get(name, {})}


def _per_class(facts: Mapping[str, Any]) -> dict[str, Any] | None:
    found = facts.get("per_class")
    if not found:
        return None
    names = list(next(iter(found.values())))
    areas = facts.get("curves", {}).get("per_class", {})
    rows = [
        [
            label,
            *(figures_of.get(name, "") for name in names),
            *([areas.get(label, {}).get("roc", "")] if areas else []),
        ]
        for label, figures_of in found.items()
    ]
    header = ["class", *map(label_of, names), *([label_of("roc")] if areas else [])]
    return {"header": header, "rows": rows}


def _residuals(facts: Mapping[str, Any]) -> dict[str, Any] | None:
    found = facts.get("residuals")
    if not found:
        return None
    spread = {"mean": found["mean"], "standard deviation": found["standard_deviation"]}
    quantiles = {f"{level} are below": value for level, value in found["quantiles"].items()}
    farthest = [(str(row["test_row"]), row["true"], row["predicted"]) for row in found["farthest"]]
    return {"spread": spread | quantiles, "farthest": farthest}


def _card(card: Card) -> dict[str, Any]:
    is_text = isinstance(card.input, str)
    return {
        "row": card.row,
        "true": card.true,
        "predicted": card.predicted,
        "certainty": f"{card.confidence:.0%}",
        "picture": None if is_text else _data_uri(np.asarray(card.input)),
        "text": card.input if is_text else "",
    }


def _data_uri(pixels: npt.NDArray[np.uint8]) -> str:
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    buffer, kind = io.BytesIO(), "png" if max(image.size) <= SMALL_PICTURE else "jpeg"
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    image.save(buffer, format=kind)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _exhibit(one: Exhibit) -> dict[str, Any]:
    svg = _svg(one.figure, f"exhibit-{one.name}", one.title, themed=False) if one.figure is not None else ""
    return {"title": one.title, "text": one.text, "notes": one.notes, "svg": svg, "table": one.table}


def _written(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _data(dataset: DatasetFacts) -> dict[str, Any]:
    return {
        "data set": dataset.name,
        "licence": dataset.license,
        "source": dataset.source or "not stated",
        "rows": ", ".join(f"{count:,} {part}" for part, count in dataset.sizes.items()),
        "sha256": dataset.sha256,
    }


def _made(file: FileFacts) -> dict[str, Any]:
    return {
        "created": f"{file.created.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
        "recipe": file.recipe,
        "sha256": file.sha256,
        "commit": file.extra.get("commit", "unknown"),
        "libraries": ", ".join(f"{name} {version}" for name, version in file.libraries.items()),
    }


def _latency(found: Mapping[str, Any]) -> dict[str, Any]:
    rows = [(str(entry["rows"]), entry["onnxruntime"], entry["keras"]) for entry in found["batches"]]
    return {"processors": found["processors"], "rows": rows}


def _quantization(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not found:
        return None
    before, after = found["float32"], found["int8"]
    operators = ", ".join(f"{count} {name}" for name, count in found["operators"].items())
    rows = [(label_of(found["metric"]), before[found["metric"]], after[found["metric"]])]
    rows.append(("bytes of the file", before["bytes"], after["bytes"]))
    rows += [
        (f"µs for a batch of {size}", time, after["microseconds"][size])
        for size, time in before["microseconds"].items()
    ]
    words = (
        f"{found['method']}; {operators}; ranges from {found['calibration_rows']} training rows. "
        f"Lost: {found['drop']:.2g} of at most {found['max_drop']:g}."
    )
    complaint = slower_than_float32(found)
    return {"words": words, "notes": [complaint] if complaint else [], "rows": rows}


def _parity(file: FileFacts) -> dict[str, Any]:
    parity = file.parity
    sizes = ", ".join(map(str, parity.batch_sizes))
    against = "its own published answers" if file.extra.get("quantization") else f"{file.computed_by}'s"
    words = (
        f"The file against {file.computed_by} at batches of {sizes} rows. "
        f"A server replays the golden rows against {against}, "
        f"within {parity.tolerance.rtol:g} of each value and {parity.tolerance.atol:g} of the largest."
    )
    return {"words": words, "rows": list(parity.max_abs_difference.items())}


def _contents(shown: Mapping[str, Any]) -> dict[str, str]:
    titles = {"quality": "Quality", "mistakes": "Mistakes", "exhibits": "From the recipe", "fit": "The fit"}
    titles |= {"data": "The data", "file": "The file"}
    return {anchor: title for anchor, title in titles.items() if shown.get(anchor, True)}

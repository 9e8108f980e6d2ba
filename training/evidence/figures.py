"""The figures of a report: each function draws one. Knows matplotlib alone: neither Keras nor ONNX nor stores."""

from __future__ import annotations

import io
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from model_store.metrics import label_of

Pixels = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.floating[Any]]

TRAINING, VALIDATION, QUIET, GRID = "#1f5a8a", "#d9772b", "#777777", "#e5e5e5"
# In a page, charts take the page's own colours: these are its names for them.
PAGE_COLOURS = {
    "#000000": "currentColor",
    TRAINING: "var(--first)",
    VALIDATION: "var(--second)",
    QUIET: "var(--quiet)",
    GRID: "var(--grid)",
}
CHART_SIZE = (4.4, 3.2)
DOTS_PER_INCH = 90
COLOURS = 128
# Counts in the cells are readable up to so many classes.
MOST_COUNTED_CLASSES = 12
GALLERY_COLUMNS = 8
MOST_DRAWN_POINTS = 500
MOST_BARS = 30


@dataclass(frozen=True)
class Mistake:
    """One wrong answer: what was right, what was said, and how surely."""

    index: int
    true: str
    predicted: str
    confidence: float


def save(figure: Figure, path: Path) -> None:
    """Write a small PNG: few colours are enough for lines, letters and grey pictures."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png")
    image = Image.open(buffer).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    image.save(path, optimize=True)


def svg(figure: Figure, name: str, *, themed: bool = True) -> str:
    """Write a figure as SVG that can stand in an HTML page: no prolog, no reference to elsewhere, ids of its own.

    Args:
        figure: what to write.
        name: begins every id, so that two figures of one page never share one.
        themed: let it take the page's colours; not for figures whose colours stand beside those of a picture.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=themed, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'\s+xmlns(:xlink)?="[^"]*"', "", text).replace("xlink:href=", "href=")
    text = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{name}-", text)
    if themed:
        for fixed, themed_colour in PAGE_COLOURS.items():
            text = text.replace(fixed, themed_colour)
    return text


def learning_curves(
    history: dict[str, list[float]], unit: str = "", further_stages: Mapping[str, int] | None = None, kept: int = 0
) -> Figure:
    """Draw every metric per epoch, training and validation together; lines mark the epoch that was kept and stages.

    Args:
        history: the metrics by name, a value for each epoch.
        unit: what the metrics are measured in.
        further_stages: after which epoch each further stage began.
        kept: the epoch whose weights were kept, from 1; 0: that of the lowest val_loss.
    """
    names = learned_metrics(history)
    figure = _figure(4.6 * len(names), 3.4)
    for axes, name in zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True):
        _learning_curve(axes, history, name, unit, further_stages or {}, kept or lowest_loss(history))
    figure.axes[0].legend(frameon=False)
    return figure


def learning_curve(
    history: dict[str, list[float]],
    name: str,
    unit: str = "",
    further_stages: Mapping[str, int] | None = None,
    kept: int = 0,
) -> Figure:
    """Draw one metric per epoch, as `learning_curves` does."""
    figure = _figure(*CHART_SIZE)
    axes = figure.subplots()
    _learning_curve(axes, history, name, unit, further_stages or {}, kept or lowest_loss(history))
    axes.legend(frameon=False)
    return figure


def learned_metrics(history: dict[str, list[float]]) -> list[str]:
    """Name what was measured at each epoch, the loss first."""
    return sorted((name for name in history if not name.startswith("val_")), key=lambda name: name != "loss")


def lowest_loss(history: dict[str, list[float]]) -> int:
    """Find the epoch of the lowest val_loss, from 1."""
    return 1 + int(np.argmin(history["val_loss"]))


def _learning_curve(
    axes: Axes, history: dict[str, list[float]], name: str, unit: str, further_stages: Mapping[str, int], kept: int
) -> None:
    for series, label, colour in ((name, "training", TRAINING), (f"val_{name}", "validation", VALIDATION)):
        if series in history:
            epochs = range(1, len(history[series]) + 1)
            axes.plot(epochs, history[series], color=colour, label=label, marker="o", markersize=3)
    axes.axvline(kept, color=QUIET, linewidth=1, linestyle=":", label=f"kept: epoch {kept}")
    for stage, epochs_before in further_stages.items():
        axes.axvline(epochs_before + 0.5, color=QUIET, linewidth=1, label=f"{stage} begins")
    axes.set(xlabel="epoch", ylabel=unit or None, title=label_of(name))
    axes.locator_params(axis="x", integer=True)
    _plain(axes)


def curve(found: dict[str, Any], *, title: str, across: str, up: str, others: dict[str, Any] | None = None) -> Figure:
    """Draw a curve of points x and y in 0..1 with the area below it; `others` is drawn beside it, for comparison."""
    figure = _figure(*CHART_SIZE)
    axes = figure.subplots()
    axes.plot(found["x"], found["y"], color=TRAINING, label=f"area {found['area']:.4f}")
    if others is not None:
        axes.plot(others["x"], others["y"], color=VALIDATION, label=f"area {others['area']:.4f}")
    axes.set(xlabel=across, ylabel=up, title=title, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.legend(frameon=False, loc="best")
    _plain(axes)
    return figure


def reliability(bins: Sequence[dict[str, Any]]) -> Figure:
    """Draw accuracy against certainty, a bar for each bin; a model that knows what it knows meets the diagonal."""
    figure = _figure(*CHART_SIZE)
    axes = figure.subplots()
    axes.bar(
        [entry["from"] for entry in bins],
        [entry["accuracy"] for entry in bins],
        width=[entry["to"] - entry["from"] for entry in bins],
        align="edge",
        color=TRAINING,
        alpha=0.35,
        edgecolor=TRAINING,
    )
    axes.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle=":")
    axes.set(xlabel="certainty", ylabel="share that is right", title="calibration", xlim=(0, 1), ylim=(0, 1.02))
    _plain(axes)
    return figure


def residuals(predicted: Numbers, true: Numbers) -> Figure:
    """Draw how often the error (predicted less true) has which size."""
    figure = _figure(*CHART_SIZE)
    axes = figure.subplots()
    axes.hist(predicted.astype(np.float64) - true, bins=min(40, max(5, len(true) // 5)), color=TRAINING, alpha=0.7)
    axes.axvline(0, color=QUIET, linewidth=1, linestyle=":")
    axes.set(xlabel="predicted − true", ylabel="held-out rows", title="residuals")
    _plain(axes)
    return figure


def confusion_matrix(counts: Sequence[Sequence[int]], labels: Sequence[str]) -> Figure:
    """Draw true classes by row, predicted ones by column; the colour is the share of the row."""
    matrix = np.asarray(counts)
    size = len(labels)
    side = min(3.2 + 0.42 * size, 9.5)
    figure = _figure(side + 0.8, side)
    axes = figure.subplots()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true class")
    font = 9 if size <= MOST_COUNTED_CLASSES else max(7.0, 9 - size / 20)
    names = [shown(label) for label in labels]
    longest = max(map(len, names))
    axes.set_xticks(range(size), names, rotation=90 if longest > 2 else 0, fontsize=font)
    axes.set_yticks(range(size), names, fontsize=font)
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_title(f"{int(np.trace(matrix))} of {int(matrix.sum())} right", fontsize=11)
    if size <= MOST_COUNTED_CLASSES:
        for (row, column), count in np.ndenumerate(matrix):
            colour = "white" if shares[row, column] > 0.5 else "black" if count else "#bbbbbb"
            axes.text(column, row, str(count), ha="center", va="center", fontsize=8, color=colour)
    return figure


def mistaken_pictures(mistakes: Sequence[Mistake], pictures: Pixels, total: int, rows: int) -> Figure:
    """Draw pictures [n, height, width, 1 or 3] with what they are and what they were taken for."""
    lines = max(1, math.ceil(len(mistakes) / GALLERY_COLUMNS))
    figure = _figure(10.5, 0.5 + 1.62 * lines)
    figure.suptitle(_mistakes_title(len(mistakes), total, rows), fontsize=11)
    if not mistakes:
        return figure
    places = figure.subplots(lines, GALLERY_COLUMNS, squeeze=False).ravel()
    for axes in places:
        axes.set_axis_off()
    for axes, mistake, picture in zip(places, mistakes, pictures, strict=False):
        _picture(axes, picture)
        axes.set_title(
            f"{shown(mistake.true)}\n→ {shown(mistake.predicted)} {mistake.confidence:.0%}", fontsize=8, linespacing=1.3
        )
    return figure


def mistaken_rows(mistakes: Sequence[Mistake], descriptions: Sequence[str], total: int, rows: int) -> Figure:
    """Draw a table of mistakes: what was right, what was said, how surely, and the text or the features."""
    figure = _figure(10.5, 0.8 + 0.24 * max(1, len(mistakes)))
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_title(_mistakes_title(len(mistakes), total, rows), fontsize=11, loc="left")
    axes.set(xlim=(0, 1), ylim=(len(mistakes) + 0.5, -1))
    columns = (0.0, 0.12, 0.24, 0.31)
    for place, heading in zip(columns, ("true", "predicted", "sure", "input"), strict=True):
        axes.text(place, -0.5, heading, fontsize=9, color=QUIET, va="center")
    for line, (mistake, description) in enumerate(zip(mistakes, descriptions, strict=True)):
        cells = (shown(mistake.true, 14), shown(mistake.predicted, 14), f"{mistake.confidence:.0%}")
        for place, cell in zip(columns, (*cells, shown(description, 96)), strict=True):
            axes.text(place, line + 0.5, cell, fontsize=9, va="center", parse_math=False)
    return figure


def lengths(counts: npt.NDArray[np.integer[Any]], read: int) -> Figure:
    """Draw how many texts have how many tokens; a line marks how many are read."""
    figure = _figure(5, 3.4)
    axes = figure.subplots()
    axes.hist(counts, bins=40, color=TRAINING)
    axes.axvline(read, color=VALIDATION, linewidth=1.5, label=f"read: {read}")
    axes.set(xlabel="tokens", ylabel="texts", title=f"{len(counts)} held-out texts")
    axes.legend(frameon=False)
    _plain(axes)
    return figure


def ranked_tokens(ranked: Mapping[str, Sequence[tuple[str, float]]]) -> Figure:
    """Draw, for each class, its tokens with a bar each, the longest first."""
    columns = min(3, len(ranked))
    lines = math.ceil(len(ranked) / columns)
    most = max(map(len, ranked.values()))
    figure = _figure(3.5 * columns, lines * (0.7 + 0.2 * most))
    places = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes in places[len(ranked) :]:
        axes.set_axis_off()
    for axes, (label, entries) in zip(places, ranked.items(), strict=False):
        axes.barh(range(len(entries)), [value for _, value in entries], color=TRAINING)
        axes.set_yticks(range(len(entries)), [shown(token, 24) for token, _ in entries], fontsize=8, parse_math=False)
        axes.invert_yaxis()
        axes.set_title(shown(label), fontsize=10, parse_math=False)
        _plain(axes)
    return figure


def reconstructions(originals: Numbers, reconstructed: Numbers) -> Figure:
    """Draw originals above their reconstructions, both [n, height, width, channels] in 0..1."""
    count = len(originals)
    figure = _figure(1.05 * count, 2.7)
    figure.suptitle("held-out pictures: original above, reconstruction below", fontsize=11)
    for line, pictures in zip(figure.subplots(2, count, squeeze=False), (originals, reconstructed), strict=True):
        for axes, picture in zip(line, pictures, strict=True):
            axes.set_axis_off()
            _picture(axes, np.rint(picture * 255).astype(np.uint8))
    return figure


def predicted_against_true(predicted: Numbers, true: Numbers) -> Figure:
    """Draw a point per held-out row; a perfect answer lies on the diagonal."""
    figure = _figure(5, 4.8)
    axes = figure.subplots()
    ends = [float(min(predicted.min(), true.min())), float(max(predicted.max(), true.max()))]
    axes.plot(ends, ends, color=QUIET, linewidth=1, linestyle=":", label="perfect")
    # Thousands of points are smaller as a picture, also inside an SVG.
    axes.scatter(
        true, predicted, s=14, color=TRAINING, alpha=0.6, linewidths=0, rasterized=len(true) > MOST_DRAWN_POINTS
    )
    axes.set(xlabel="true", ylabel="predicted", title=f"{len(true)} held-out rows")
    axes.legend(frameon=False)
    _plain(axes)
    return figure


def importances(columns: Sequence[tuple[str, float, float]], unit: str) -> Figure:
    """Draw a bar for each column, (name, mean, standard deviation), the first on top; of many the first ones."""
    drawn = columns[:MOST_BARS]
    figure = _figure(7, 1.2 + 0.26 * len(drawn))
    axes = figure.subplots()
    places = range(len(drawn))
    axes.barh(
        places,
        [mean for _, mean, _ in drawn],
        xerr=[deviation for *_, deviation in drawn],
        color=TRAINING,
        error_kw={"ecolor": QUIET, "elinewidth": 1},
    )
    axes.set_yticks(places, [shown(name, 32) for name, *_ in drawn], fontsize=9, parse_math=False)
    axes.set_ylim(len(drawn) - 0.5, -0.5)
    axes.set(xlabel=unit)
    if len(drawn) < len(columns):
        axes.set_title(f"the first {len(drawn)} of {len(columns)} columns", fontsize=11)
    _plain(axes)
    return figure


def class_counts(counts: Mapping[str, Mapping[str, int]]) -> Figure:
    """Draw a bar per class for each split, split → class → rows; as a share, so that splits can be compared."""
    labels = list(next(iter(counts.values())))
    figure = _figure(2.6 * len(counts) + 1.2, min(1.2 + 0.24 * len(labels), 9.5))
    places = range(len(labels))
    for axes, (part, found) in zip(
        np.atleast_1d(figure.subplots(1, len(counts), sharey=True)), counts.items(), strict=True
    ):
        rows = sum(found.values())
        axes.barh(places, [count / max(1, rows) for count in found.values()], color=TRAINING)
        axes.set(title=f"{part}: {rows}", xlabel="share")
        _plain(axes)
    figure.axes[0].set_yticks(places, [shown(label, 20) for label in labels], fontsize=8)
    figure.axes[0].invert_yaxis()
    return figure


def sample_pictures(pictures: Pixels, names: Sequence[str]) -> Figure:
    """Draw pictures [n, height, width, 1 or 3], each under its name."""
    lines = max(1, math.ceil(len(pictures) / GALLERY_COLUMNS))
    figure = _figure(10.5, 1.42 * lines)
    places = figure.subplots(lines, GALLERY_COLUMNS, squeeze=False).ravel()
    for axes in places:
        axes.set_axis_off()
    for axes, name, picture in zip(places, names, pictures, strict=False):
        _picture(axes, picture)
        axes.set_title(shown(name, 16), fontsize=8)
    return figure


def shown(text: str, longest: int = 40) -> str:
    """Write a text in one line of glyphs that the font has: Hangul and kana by their sounds, others as □."""
    drawable = "".join(_glyph(character) for character in " ".join(text.split()))
    return drawable if len(drawable) <= longest else drawable[: longest - 1] + "…"


def _glyph(character: str) -> str:
    if ord(character) in _font_characters():
        return character
    script, _, sound = unicodedata.name(character, "").rpartition(" ")
    spoken = ("HANGUL SYLLABLE", "HANGUL LETTER", "HIRAGANA LETTER", "KATAKANA LETTER")
    return sound.lower() if script in spoken else "□"


@cache
def _font_characters() -> frozenset[int]:
    font = font_manager.get_font(font_manager.findfont(font_manager.FontProperties()))
    return frozenset(font.get_charmap())


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained")


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)


def _picture(axes: Axes, picture: Pixels) -> None:
    is_grey = picture.shape[-1] == 1
    axes.imshow(picture[..., 0] if is_grey else picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")


def _mistakes_title(listed: int, total: int, rows: int) -> str:
    if not total:
        return f"no mistakes among {rows} held-out rows"
    which = "all of them" if listed == total else f"the {listed} surest of them"
    return f"{total} {'mistake' if total == 1 else 'mistakes'} among {rows} held-out rows, {which}"

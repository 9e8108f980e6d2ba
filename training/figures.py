"""The figures of a report: each function draws one. Knows matplotlib alone: neither Keras nor ONNX nor stores."""

from __future__ import annotations

import io
import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

Pixels = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.floating[Any]]

TRAINING, VALIDATION, QUIET = "#1f5a8a", "#d9772b", "#777777"
DOTS_PER_INCH = 90
COLOURS = 128
# Counts in the cells are readable up to so many classes.
MOST_COUNTED_CLASSES = 12
GALLERY_COLUMNS = 8


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


def learning_curves(history: dict[str, list[float]], unit: str = "") -> Figure:
    """Draw every metric per epoch, training and validation together; a line marks the epoch that was kept."""
    names = [name for name in history if not name.startswith("val_")]
    names.sort(key=lambda name: name != "loss")
    figure = _figure(4.6 * len(names), 3.4)
    epochs = range(1, len(history["loss"]) + 1)
    kept = 1 + int(np.argmin(history["val_loss"]))
    for axes, name in zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True):
        axes.plot(epochs, history[name], color=TRAINING, label="training", marker="o", markersize=3)
        axes.plot(epochs, history[f"val_{name}"], color=VALIDATION, label="validation", marker="o", markersize=3)
        axes.axvline(kept, color=QUIET, linewidth=1, linestyle=":", label=f"kept: epoch {kept}")
        axes.set(xlabel="epoch", ylabel=unit or None, title=name.replace("_", " "))
        axes.xaxis.get_major_locator().set_params(integer=True)
        _plain(axes)
    figure.axes[0].legend(frameon=False)
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
    axes.scatter(true, predicted, s=14, color=TRAINING, alpha=0.6, linewidths=0)
    axes.set(xlabel="true", ylabel="predicted", title=f"{len(true)} held-out rows")
    axes.legend(frameon=False)
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
    axes.grid(visible=True, color="#e5e5e5", linewidth=0.7)
    axes.set_axisbelow(True)


def _picture(axes: Axes, picture: Pixels) -> None:
    is_grey = picture.shape[-1] == 1
    axes.imshow(picture[..., 0] if is_grey else picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")


def _mistakes_title(listed: int, total: int, rows: int) -> str:
    if not total:
        return f"no mistakes among {rows} held-out rows"
    which = "all of them" if listed == total else f"the {listed} surest of them"
    return f"{total} {'mistake' if total == 1 else 'mistakes'} among {rows} held-out rows, {which}"

"""Figures: they come out small, whole and without a warning, whatever the labels and texts are."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from training.evidence import figures
from training.evidence.figures import Mistake

MISTAKE = Mistake(index=3, true="부정적", predicted="T-shirt/top", confidence=0.987)


def saved(figure: Figure, folder: Path) -> tuple[int, int]:
    """Save a figure (any warning is an error here), and read its width and height back."""
    figures.save(figure, folder / "figure.png")
    assert (folder / "figure.png").stat().st_size < 60_000
    with Image.open(folder / "figure.png") as image:
        return image.size


def test_curves_show_every_metric_side_by_side(tmp_path: Path) -> None:
    history = {name: [3.0, 2.0, 2.5] for name in ("accuracy", "loss", "val_accuracy", "val_loss")}

    figure = figures.learning_curves(history)

    assert [axes.get_title() for axes in figure.axes] == ["loss", "accuracy"]
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["training", "validation", "kept: epoch 2"]
    assert saved(figure, tmp_path)[0] > 600


def test_curves_mark_the_epoch_that_was_kept_whatever_its_loss() -> None:
    history = {"loss": [3.0, 2.0, 1.0], "val_loss": [3.0, 2.0, 2.5]}

    labels = [line.get_label() for line in figures.learning_curve(history, "loss", kept=3).axes[0].lines]

    assert labels == ["training", "validation", "kept: epoch 3"]


def test_curves_of_a_single_epoch_can_be_drawn(tmp_path: Path) -> None:
    saved(figures.learning_curves({"loss": [1.0], "val_loss": [1.0]}), tmp_path)


@pytest.mark.parametrize("size", [2, 10, 46])
def test_a_confusion_matrix_names_all_its_classes(tmp_path: Path, size: int) -> None:
    labels = [f"class number {index}" for index in range(size)]

    figure = figures.confusion_matrix(np.eye(size, dtype=int).tolist(), labels)

    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == labels
    assert figure.axes[0].get_title() == f"{size} of {size} right"
    assert saved(figure, tmp_path)[1] < 1000


@pytest.mark.parametrize("channels", [1, 3])
def test_a_gallery_shows_truth_answer_and_certainty(tmp_path: Path, channels: int) -> None:
    pictures = np.zeros((1, 5, 5, channels), np.uint8)

    figure = figures.mistaken_pictures([MISTAKE], pictures, total=40, rows=1000)

    assert figure.axes[0].get_title() == "bujeongjeog\n→ T-shirt/top 99%"
    assert figure.get_suptitle() == "40 mistakes among 1000 held-out rows, the 1 surest of them"
    saved(figure, tmp_path)


@pytest.mark.parametrize("draw", [figures.mistaken_pictures, figures.mistaken_rows])
def test_a_faultless_model_is_told_so(tmp_path: Path, draw) -> None:
    figure = draw([], np.zeros((0, 5, 5, 1), np.uint8), total=0, rows=36)

    title = figure.get_suptitle() or figure.axes[0].get_title(loc="left")
    assert title == "no mistakes among 36 held-out rows"
    saved(figure, tmp_path)


def test_texts_of_any_script_are_drawn_without_a_warning(tmp_path: Path) -> None:
    texts = ["영화 최고!", "$x^2$ costs $5", "emoji 🎬 and\nnewline\ttab", "ねこ", "", "a" * 5000, "\x00\x07"]

    figure = figures.mistaken_rows([MISTAKE] * len(texts), texts, total=7, rows=9)

    saved(figure, tmp_path)


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        pytest.param("영화", "yeonghwa", id="hangul"),
        pytest.param("ねこ", "neko", id="kana"),
        pytest.param("電影", "□□", id="other"),
        pytest.param("naïve café", "naïve café", id="latin"),
        pytest.param("two\nlines", "two lines", id="line-break"),
        pytest.param("a" * 50, "a" * 39 + "…", id="long"),
    ],
)
def test_glyphs_the_font_lacks_are_spelled_out(text: str, drawn: str) -> None:
    assert figures.shown(unicodedata.normalize("NFC", text)) == drawn


def test_reconstructions_stand_below_their_originals(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).random((10, 8, 8, 1)).astype(np.float32)

    figure = figures.reconstructions(pictures, pictures)

    assert len(figure.axes) == 20
    saved(figure, tmp_path)


def test_a_scatter_has_a_point_per_row(tmp_path: Path) -> None:
    figure = figures.predicted_against_true(np.arange(5.0), np.arange(5.0))

    assert len(figure.axes[0].collections[0].get_offsets()) == 5
    saved(figure, tmp_path)

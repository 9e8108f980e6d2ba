"""The page beside a model: whole in itself, safe whatever the data say, and no other than evaluation.json."""

from __future__ import annotations

import dataclasses
import html
import json
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from matplotlib.figure import Figure

from model_store import StoredVersion
from model_store.manifest import REPORT_FILE, DatasetFacts, Parity
from model_store.metrics import label_of
from model_store.predictions import PREDICTIONS_FILE, Predictions
from service.app import create_app
from service.settings import Settings
from training.evidence import figures
from training.evidence.evaluate import classification
from training.evidence.exhibit import Exhibit
from training.evidence.report_page import Card, FileFacts, Page, number, render

HOSTILE = "<script>alert(\"1\")</script> & '<img src=x onerror=y>'"


class Parsed(HTMLParser):
    """A page's tags, attributes and text; tables cell by cell."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip()

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self.rows.append([])

    def row(self, name: str) -> list[str]:
        return next(row[1:] for row in self.rows if row and row[0] == name)


def assert_whole_in_itself(page: str) -> None:
    """Check that nothing is fetched and nothing runs, that ids differ, and that pictures are described."""
    parsed = Parsed(page)
    assert not {"script", "link", "iframe", "object", "form"} & {*parsed.tags}
    for tag, name, value in parsed.attributes:
        assert not name.startswith("on")
        if name in ("src", "href"):
            assert value.startswith(("#", "data:image/")), f"{tag} {name}={value[:40]}"
    assert "http:" not in page
    assert "https:" not in re.sub(r"<dd>[^<]*</dd>", "", page)  # a data set's source may be told, not fetched
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)
    ids = [value for _, name, value in parsed.attributes if name == "id"]
    assert len(ids) == len({*ids})
    assert parsed.tags.count("img") == sum(tag == "img" and name == "alt" for tag, name, _ in parsed.attributes)
    assert parsed.tags.count("svg") == sum(tag == "svg" and name == "aria-label" for tag, name, _ in parsed.attributes)
    assert parsed.tags.count("h1") == 1
    assert len(page) < 1_500_000


def page_of(**changes: object) -> Page:
    answers = np.array([[0.9, 0.1], [0.3, 0.7], [0.8, 0.2], [0.4, 0.6]], np.float32)
    metrics, details = classification(answers, np.array([0, 1, 1, 1]), (HOSTILE, "$x^2$ 부정"))
    facts = {
        "metrics": metrics,
        **details,
        "history": {"loss": [1.0, 0.5], "val_loss": [1.1, 0.6]},
        "epochs": 2,
        "seconds": 1.5,
        "latency": {"processors": 2, "batches": [{"rows": 1, "onnxruntime": 21.0, "keras": 12345.0}]},
    }
    file = FileFacts(
        model="coins",
        recipe="dnn",
        computed_by="Keras",
        created=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
        parameters={"hidden": [32, 16], "note": HOSTILE},
        libraries={"keras": "3"},
        parity=Parity(batch_sizes=(1, 7), max_abs_difference={"probabilities": 1e-7}),
        extra={"commit": "abc"},
        sha256="ab" * 32,
        sizes={"model.onnx": 12345},
        dataset=DatasetFacts(name="coins", sha256="0" * 64, license=HOSTILE, sizes={"train": 8, "test": 4}),
    )
    return dataclasses.replace(Page(file=file, facts=facts), **changes)


def test_labels_and_texts_can_say_anything_and_do_nothing() -> None:
    card = Card(row=3, true=HOSTILE, predicted="b", confidence=0.987, input=HOSTILE + "\nsecond line")
    figure = Figure()
    figure.subplots().set_title(HOSTILE)
    exhibit = Exhibit(name="extra", title=HOSTILE, text=HOSTILE, figure=figure, table=((HOSTILE, "n"), (HOSTILE, "1")))

    page = render(
        page_of(mistakes=(card,), exhibits=(exhibit,), data_exhibits=(dataclasses.replace(exhibit, name="d"),))
    )

    assert_whole_in_itself(page)
    assert HOSTILE not in page
    assert html.escape(HOSTILE, quote=False).split("&amp;")[0] in page
    assert HOSTILE in Parsed(page).texts


def test_every_metric_is_shown_as_it_was_measured_with_its_interval() -> None:
    page = page_of()

    parsed = Parsed(render(page))

    for name, value in page.facts["metrics"].items():
        assert parsed.row(label_of(name))[0] == number(value)
    interval = page.facts["intervals"]["accuracy"]
    assert parsed.row("accuracy") == [number(0.75), number(interval["low"]), number(interval["high"])]
    assert parsed.row("expected calibration error")[0] == number(
        page.facts["calibration"]["expected_calibration_error"]
    )
    assert parsed.row("1") == ["21", "12,345"]


def test_columns_that_hold_nothing_are_left_out() -> None:
    page = page_of()
    without = {name: value for name, value in page.facts.items() if name != "intervals"}

    parsed = Parsed(render(dataclasses.replace(page, facts=without)))

    assert ["metric", "value", "from", "to"] in Parsed(render(page)).rows
    assert ["metric", "value"] in parsed.rows
    assert parsed.row("macro F1") == [number(page.facts["metrics"]["macro_f1"])]


def test_pictures_stand_beside_what_they_were_taken_for() -> None:
    random = np.random.default_rng(0)
    cards = tuple(
        Card(row=index, true="a", predicted="b", confidence=0.5, input=random.integers(0, 255, shape).astype(np.uint8))
        for index, shape in enumerate([(8, 8, 1), (32, 32, 3), (300, 200, 3)])
    )

    page = render(page_of(mistakes=cards))

    assert_whole_in_itself(page)
    assert page.count("data:image/png") == 2
    assert page.count("data:image/jpeg") == 1
    assert 'alt="held-out picture 2: a, taken for b"' in page


def test_a_matrix_of_very_many_classes_is_told_by_its_confusions() -> None:
    labels = tuple(f"class {index}" for index in range(60))
    targets = np.arange(60)
    answers = np.eye(60, dtype=np.float32)[np.roll(targets, 1)] * 0.5 + 0.5 / 60
    metrics, details = classification(answers, targets, labels)

    page = render(page_of(facts={**page_of().facts, "metrics": metrics, **details}))

    assert "top_5_accuracy" in metrics
    assert 'class="scroll confusion"' not in page
    assert "What is taken for what" in page


def test_a_chart_takes_the_colours_of_the_page_and_ids_of_its_own() -> None:
    curve = {"x": [0, 1], "y": [0, 1], "area": 0.5}
    drawn = [figures.svg(figures.curve(curve, title="t", across="a", up="b"), name) for name in ("one", "two")]

    ids = [set(re.findall(r'id="([^"]+)"', text)) for text in drawn]
    assert not ids[0] & ids[1]
    assert {*re.findall(r'(?:href="|url\()#([^")]+)', drawn[0])} <= ids[0]
    assert "var(--first)" in drawn[0]
    assert "#000000" not in drawn[0]
    assert drawn[0] == figures.svg(figures.curve(curve, title="t", across="a", up="b"), "one")


def test_notes_and_warnings_stand_one_by_one_in_lists() -> None:
    noticed = Exhibit(name="noticed", title="Noticed in the data", notes=("first", HOSTILE))

    page = render(page_of(exhibits=(noticed,), facts={**page_of().facts, "data": {"warnings": ["third", "fourth"]}}))

    assert_whole_in_itself(page)
    lists = re.findall(r'<ul class="said">(.*?)</ul>', page)
    assert [re.findall("<li>(.*?)</li>", found)[0] for found in lists] == ["first", "third"]
    assert [found.count("<li>") for found in lists] == [2, 2]


# What a job publishes


@pytest.fixture(scope="module")
def digits(train_into) -> StoredVersion:
    (stored,) = train_into("dnn", name="reported", epochs=3)
    return stored


@pytest.mark.tensorflow
def test_a_published_page_says_what_its_manifest_says(digits: StoredVersion) -> None:
    page = (digits.path / REPORT_FILE).read_text(encoding="utf-8")
    facts = json.loads((digits.path / "report/evaluation.json").read_text(encoding="utf-8"))

    assert_whole_in_itself(page)
    parsed = Parsed(page)
    assert facts["metrics"] == digits.manifest.metrics
    for name, value in facts["metrics"].items():
        assert parsed.row(label_of(name))[0] == number(value)
    assert digits.manifest.digest in parsed.texts
    assert digits.manifest.dataset.license in parsed.texts
    assert parsed.row("model.onnx") == [number(digits.onnx_path.stat().st_size)]
    assert [entry["rows"] for entry in facts["latency"]["batches"]] == [1, 32, 256]
    assert f"{digits.manifest.created:%Y-%m-%d %H:%M} UTC" in parsed.texts


@pytest.mark.tensorflow
def test_published_predictions_repeat_the_confusion_matrix(digits: StoredVersion) -> None:
    predictions = Predictions.read(digits.path / PREDICTIONS_FILE)

    assert len(predictions) == 359
    assert 1 - predictions.errors.mean() == pytest.approx(digits.manifest.metrics["accuracy"])
    assert digits.manifest.metrics["loss"] == pytest.approx(
        -np.log(predictions.probability.astype(float)).mean(), rel=1e-2
    )


@pytest.mark.tensorflow
def test_the_service_shows_the_page_confined_and_links_to_it(digits: StoredVersion) -> None:
    settings = Settings(store=str(digits.path.parents[1]), control="explicit", load=("reported",))
    client = create_app(settings).test_client()

    answers = [client.get(f"/v2/models/reported{step}/report") for step in ("", "/versions/1")]

    for answer in answers:
        assert answer.status_code == 200
        assert answer.data == (digits.path / REPORT_FILE).read_bytes()
        assert answer.mimetype == "text/html"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    overview = client.get("/", headers={"Accept": "text/html"}).text
    assert 'href="v2/models/reported/report"' in overview


def test_a_version_without_a_page_says_so(tmp_path: Path) -> None:
    tiny_models.publish_affine(tmp_path)
    client = create_app(Settings(store=str(tmp_path), control="none")).test_client()

    answer = client.get("/v2/models/double/report")

    assert answer.status_code == 404
    assert "model 'double' version 1 has no report" in answer.json["error"]
    assert "double/report" not in client.get("/", headers={"Accept": "text/html"}).text

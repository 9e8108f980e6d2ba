"""`ovenbird store compare`: two versions side by side, from what they published about themselves."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from click.testing import CliRunner, Result

from model_store import STARTER_MODELS, Draft, Golden, Manifest, Store
from model_store.errors import InvalidPredictions
from model_store.manifest import DatasetFacts, InputSpec, OutputSpec, Parity, digest_files
from model_store.predictions import PREDICTIONS_FILE, Predictions
from model_store.steering import roll_back, set_label
from training.evidence.comparison_cli import compare
from training.evidence.significance import mid_p

TRUTH = np.array([0, 1] * 50, np.int32)


def classes(wrong: list[int], rows: str = "same rows") -> Predictions:
    predicted = TRUTH.copy()
    predicted[wrong] = 1 - predicted[wrong]
    return Predictions(
        rows=rows, kind="classification", truth=TRUTH, predicted=predicted, probability=np.ones(100, np.float16)
    )


def values(error: float) -> Predictions:
    truth = np.arange(100, dtype=np.float32)
    noise = np.where(np.arange(100) % 3, error, error / 2)
    return Predictions(rows="values", kind="regression", truth=truth, predicted=(truth + noise).astype(np.float32))


def boxes(found: float, rows: str = "pictures") -> Predictions:
    """60 pictures of two objects each: of so many of them the first is found, of all the second one."""
    random = np.random.default_rng(0)
    corners = random.integers(0, 20, (120, 2)).astype(np.float32)
    truth = np.column_stack([corners, corners + 10, np.tile([0, 1], 60)]).astype(np.float32)
    predicted = np.column_stack([truth, random.random(120)]).astype(np.float32)
    missed = (np.arange(120) % 2 == 0) & (np.arange(120) >= 120 * found)
    predicted[missed, :2] += 9
    counts = np.full(60, 2, np.int32)
    return Predictions(
        rows=rows, kind="detection", truth=truth, predicted=predicted, truth_counts=counts, predicted_counts=counts
    )


def clusters(moved: int, truth: bool = True) -> Predictions:
    labels = np.repeat(np.arange(3), 40).astype(np.int32)
    predicted = (labels + 1) % 3
    predicted[: 2 * moved : 2] = 0
    known = labels if truth else None
    return Predictions(rows="points", kind="clustering", truth=known, predicted=predicted.astype(np.int32))


@pytest.fixture
def publish(tmp_path: Path) -> Callable[..., None]:
    """Publish a version that only its report and its manifest make different."""

    def run(model: str, predictions: Predictions | None, dataset: str = "coins", **parameters: object) -> None:
        folder = tmp_path / "draft"
        (folder / "report").mkdir(parents=True)
        (folder / "model.onnx").write_bytes(b"not loaded here")
        one = {"x": np.zeros((1, 1), np.float32)}
        Golden(inputs=one, keras=one, onnx=one).write(folder / "golden.npz")
        if predictions is not None:
            predictions.write(folder / PREDICTIONS_FILE)
        has_errors = predictions is not None and predictions.kind not in ("detection", "clustering")
        metric = float(1 - predictions.errors.mean()) if has_errors else 0.5
        batches = [{"rows": 1, "onnxruntime": 20.0, "keras": 900.0}]
        evaluation = {"metrics": {"accuracy": metric}, "latency": {"processors": 2, "batches": batches}}
        if predictions is not None and predictions.kind == "detection":
            evaluation["per_class"] = {"cat": {"ap_50": 0.5, "objects": 60}, "dog": {"ap_50": 1.0, "objects": 60}}
            evaluation["precision_at_recalls"] = {"cat": [1.0] * 50 + [0.0] * 51, "dog": [1.0] * 101}
        (folder / "report/evaluation.json").write_text(json.dumps(evaluation))
        manifest = Manifest.from_facts(
            created=datetime.now(UTC),
            recipe="dnn",
            parameters={"seed": 0, **parameters},
            seed=0,
            dataset=DatasetFacts(name=dataset, sha256=f"{len(dataset):064x}", license="CC0", sizes={"test": 100}),
            inputs=(InputSpec(name="x", dtype="float32", shape=(None, 1), kind="features"),),
            outputs=(OutputSpec(name="y", dtype="float32", shape=(None, 1), kind="value"),),
            metrics={"accuracy": metric},
            parity=Parity(batch_sizes=(1,), max_abs_difference={"y": 0.0}),
            libraries={},
            files=digest_files(folder),
        )
        Store(tmp_path / "store").publish(Draft(model, folder, manifest))
        shutil.rmtree(folder, ignore_errors=True)

    return run


@pytest.fixture
def ask(tmp_path: Path) -> Callable[..., Result]:
    def run(*arguments: str, store: Path | None = None) -> Result:
        return CliRunner().invoke(compare, [*arguments, "--store", str(store or tmp_path / "store")])

    return run


def test_classifiers_are_told_apart_by_the_rows_that_only_one_has_right(publish, ask) -> None:
    publish("weak", classes(list(range(12))), epochs=2)
    publish("strong", classes([0, 50]), epochs=9)

    found = json.loads(ask("weak", "strong", "--json").stdout)

    test = found["test"]
    assert (test["both_right"], test["only_first_right"], test["only_second_right"], test["both_wrong"]) == (
        87,
        1,
        11,
        1,
    )
    assert test["p_value"] == pytest.approx(0.003418, abs=1e-5)
    assert test["says"] == "strong@1 is better"
    assert found["metrics"]["accuracy"] == {"first": 0.88, "second": 0.98, "difference": pytest.approx(0.1)}
    assert found["parameters"] == {"epochs": {"first": 2, "second": 9}}
    assert found["latency_us"]["batch of 1"] == {"first": 20.0, "second": 20.0, "difference": 0.0}


def test_a_difference_that_chance_could_make_is_called_none(publish, ask) -> None:
    publish("one", classes([1, 2, 3]))
    publish("two", classes([4]))

    shown = ask("one", "two")

    assert shown.exit_code == 0
    assert "of 100 held-out rows 96 are right in both, 1 only in one@1, 3 only in two@1, 0 in neither" in shown.output
    assert "no difference that these rows can show" in shown.output
    assert "accuracy        0.97   0.99   +0.02" in shown.output


@pytest.mark.parametrize(("one", "other", "p"), [(10, 0, 0.000977), (7, 2, 0.109375), (5, 5, 1.0), (0, 0, 1.0)])
def test_the_mid_p_value_is_that_of_the_tables(one: int, other: int, p: float) -> None:
    assert mid_p(one, other) == mid_p(other, one) == pytest.approx(p, abs=1e-6)


def test_regressions_are_told_apart_by_their_errors_on_the_same_rows(publish, ask) -> None:
    publish("rough", values(3.0))
    publish("fine", values(1.0))

    test = json.loads(ask("rough", "fine", "--json").stdout)["test"]

    assert test["low"] < test["mean_difference"] == pytest.approx(-5 / 3, abs=0.02)
    assert test["high"] < 0
    assert test["says"] == "fine@1 is better"


def test_detectors_are_told_apart_by_the_pictures_that_both_looked_at(publish, ask, tmp_path: Path) -> None:
    publish("blind", boxes(0.3))
    publish("keen", boxes(0.9))

    found = json.loads(ask("blind", "keen", "--json").stdout)

    test = found["test"]
    assert (test["metric"], test["rows"]) == ("map_50", 60)
    assert test["difference"] == pytest.approx(test["second"] - test["first"])
    assert 0 < test["low"] < test["difference"] < test["high"]
    assert test["p_value"] < 0.01
    assert test["says"] == "keen@1 is better"
    assert found["per_class"]["cat"] == {"first": 0.5, "second": 0.5, "difference": 0.0}
    shown = ask("keen", "blind", "--html", str(tmp_path / "page.html"))
    assert "mAP@0.5 " in shown.output
    assert f"{test['second']:.4g} of keen@1, {test['first']:.4g} of blind@1, a difference of -" in shown.output
    assert "keen@1 is better" in shown.output
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Average precision of each class" in page
    assert "precision over recall, mean of the classes" in page


def test_a_detector_is_no_better_than_itself(publish, ask) -> None:
    publish("one", boxes(0.5))
    publish("two", boxes(0.5))

    test = json.loads(ask("one", "two", "--json").stdout)["test"]

    assert (test["difference"], test["low"], test["high"], test["p_value"]) == (0.0, 0.0, 0.0, 1.0)
    assert "no difference that these rows can show" in ask("one", "two").output


def test_clusterings_are_compared_with_one_another_and_with_the_classes(publish, ask, tmp_path: Path) -> None:
    publish("rough", clusters(20))
    publish("fine", clusters(1))

    found = json.loads(ask("rough", "fine", "--json").stdout)["test"]

    assert found["agreement"]["low"] < found["agreement"]["value"] < found["agreement"]["high"] < 1
    assert found["second"] > 0.9 > found["first"]
    assert 0 < found["low"] < found["difference"] < found["high"]
    assert found["says"] == "fine@1 is better"
    shown = ask("rough", "fine", "--html", str(tmp_path / "page.html"))
    assert "the clusters of rough@1 and fine@1 agree by " in shown.output
    assert "agreement with the classes " in shown.output
    assert "both versions&#39; clusters" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_clusters_without_classes_agree_or_not_and_none_is_better(publish, ask) -> None:
    publish("one", clusters(5, truth=False))
    publish("two", clusters(5, truth=False))

    found = json.loads(ask("one", "two", "--json").stdout)["test"]

    assert found["agreement"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert found["p_value"] is None
    assert "without labels nothing tells which is better" in ask("one", "two").output


@pytest.mark.parametrize(
    ("one", "other", "complaint"),
    [
        pytest.param(boxes(1, "some"), boxes(1, "others"), "different held-out rows", id="pictures"),
        pytest.param(classes([], "some"), classes([], "others"), "different held-out rows", id="rows"),
        pytest.param(classes([], "values"), values(1.0), "was made for classification, b@1 for regression", id="tasks"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(publish, ask, one, other, complaint) -> None:
    publish("a", one)
    publish("b", other)

    shown = ask("a", "b", "--json")

    assert shown.exit_code == 1
    assert complaint in shown.output
    assert shown.output.count("\n") == 1


def test_other_data_is_refused_even_where_nothing_is_known_of_the_rows(publish, ask) -> None:
    publish("a", None, dataset="coins")
    publish("b", None, dataset="dice and cards")

    assert "(coins and dice and cards)" in ask("a", "b").output


def test_versions_without_predictions_show_their_figures_alone(ask, tmp_path: Path) -> None:
    for factor in (2.0, 3.0):
        tiny_models.publish_affine(Store(tmp_path / "store"), factor=factor)

    shown = ask("double@1", "double@2")

    assert shown.exit_code == 0
    assert "bytes" in shown.output
    assert "note: double@1 and double@2 have no predictions.npz" in shown.output


def test_a_label_names_a_version(publish, ask, tmp_path: Path) -> None:
    publish("a", classes([]))
    publish("a", classes([1]))
    set_label(Store(tmp_path / "store"), "a", "stable", 1)

    assert json.loads(ask("a@stable", "a", "--json").stdout)["versions"] == ["a@1", "a@2"]
    assert ask("a@9", "a").exit_code == 1
    assert "unknown model 'z'" in ask("a", "z@stable").output


def test_a_model_alone_is_its_newest_version_that_was_not_withdrawn(publish, ask, tmp_path: Path) -> None:
    publish("a", classes([]))
    publish("a", classes([1]))
    roll_back(Store(tmp_path / "store"), "a")

    assert json.loads(ask("a@2", "a", "--json").stdout)["versions"] == ["a@2", "a@1"]
    assert json.loads(ask("a@2", "a@latest", "--json").stdout)["versions"] == ["a@2", "a@1"]


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.cells: list[str] = []

    def handle_starttag(self, tag: str, _: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.cells.append(data.strip())


def test_the_page_shows_both_confusions_and_curves_without_a_script(ask, tmp_path: Path) -> None:
    page = tmp_path / "comparison.html"

    ask("mnist-dnn", "mnist-cnn", "--html", str(page), store=STARTER_MODELS)

    parsed = _Page()
    parsed.feed(page.read_text(encoding="utf-8"))
    assert "script" not in parsed.tags
    assert parsed.tags.count("svg") == 8
    assert {"mnist-dnn@1", "mnist-cnn@1", "0.9792", "0.9937", "+0.0145"} <= set(parsed.cells)
    assert page.stat().st_size < 1_500_000


def test_a_page_that_cannot_be_written_is_said_in_one_line(ask, tmp_path: Path) -> None:
    shown = ask("mnist-dnn", "mnist-cnn", "--html", str(tmp_path / "no/page.html"), store=STARTER_MODELS)

    assert shown.exit_code == 1
    assert "No such file or directory" in shown.output


def test_predictions_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "predictions.npz"
    written = classes([3])

    written.write(path)
    read = Predictions.read(path)

    assert (read.rows, read.kind) == ("same rows", "classification")
    assert np.array_equal(read.errors, written.errors)


def test_boxes_come_back_picture_by_picture(tmp_path: Path) -> None:
    path, counts = tmp_path / "predictions.npz", np.array([0, 2, 1], np.int32)
    truth, predicted = np.arange(15, dtype=np.float32).reshape(3, 5), np.arange(6, dtype=np.float32)[None]
    found = np.array([1, 0, 0], np.int32)
    written = Predictions(rows="x", kind="detection", truth=truth, predicted=predicted, truth_counts=counts,
                          predicted_counts=found)  # fmt: skip

    written.write(path)
    read = Predictions.read(path)

    assert [objects.tolist() for objects in read.truth_by_picture()] == [[], truth[:2].tolist(), truth[2:].tolist()]
    assert [boxes.tolist() for boxes in read.predicted_by_picture()] == [predicted.tolist(), [], []]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(
            {
                "kind": np.array("detection"),
                "rows": np.array("x"),
                "truth": np.ones((2, 5)),
                "predicted": np.ones((1, 6)),
                "truth_counts": np.array([1, 0]),
                "predicted_counts": np.array([1, 0]),
            },
            id="objects-of-no-picture",
        ),
        pytest.param(
            {
                "kind": np.array("detection"),
                "rows": np.array("x"),
                "truth": np.ones((1, 5)),
                "predicted": np.ones((1, 6)),
                "truth_counts": np.array([2, -1]),
                "predicted_counts": np.array([1, 0]),
            },
            id="less-than-no-object",
        ),
        pytest.param({"kind": np.array("classification"), "rows": np.array("x")}, id="no-columns"),
        pytest.param({"kind": np.array("poetry"), "rows": np.array("x"), "error": np.ones(2)}, id="kind"),
        pytest.param(
            {"kind": np.array("regression"), "rows": np.array("x"), "truth": np.ones(2), "predicted": np.ones(3)},
            id="lengths",
        ),
    ],
)
def test_a_file_that_is_no_predictions_is_refused(tmp_path: Path, content: dict[str, np.ndarray]) -> None:
    path = tmp_path / "predictions.npz"
    np.savez(path, **content)

    with pytest.raises(InvalidPredictions, match=r"predictions\.npz: "):
        Predictions.read(path)


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "predictions.npz"
    path.write_bytes(b"PK\x03\x04 no zip")

    with pytest.raises(InvalidPredictions):
        Predictions.read(path)

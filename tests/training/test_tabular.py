"""The recipe tabular: raw columns in, from the file to the service."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from model_store import Store, StoredVersion
from service.app import create_app
from service.settings import Settings
from training.datasets.dataset import texts
from training.exporting import onnx_check
from training.tables.importance import importances

JOBS = ["clerk", "bäcker", "smith"]


@pytest.fixture(scope="module")
def people_csv(tmp_path_factory: pytest.TempPathFactory, write_csv: Callable[..., Path]) -> Path:
    """300 people, and whether they are served; age and job tell it, the column value does not. Some cells are empty."""
    random = np.random.default_rng(0)
    rows: list[list[object]] = []
    for _ in range(300):
        age, job = int(random.integers(18, 70)), str(random.choice(JOBS))
        served = "yes" if (age > 40) != (job == "smith") else "no"
        rows.append([age if random.random() > 0.1 else "", round(random.random(), 3), job, 7.5 * age, served])
    header = ["age (years)", "value", "Beruf", "income", "served"]
    return write_csv(tmp_path_factory.mktemp("tables") / "people.csv", header, rows)


@pytest.fixture(scope="module")
def classifier(train_into, people_csv: Path) -> StoredVersion:
    (stored,) = train_into(
        "tabular", people_csv, target="served", drop="income", epochs=25, learning_rate=0.02, batch_normalization=True
    )
    return stored


def ask(stored: StoredVersion, **columns: list[object]) -> np.ndarray:
    session = onnxruntime.InferenceSession(stored.onnx_path, providers=["CPUExecutionProvider"])
    feed = {
        name: texts(map(str, values)) if isinstance(values[0], str) else np.array(values, np.float32)
        for name, values in columns.items()
    }
    (answers,) = session.run([stored.manifest.outputs[0].name], feed)
    assert isinstance(answers, np.ndarray)
    return answers


YOUNG = {"age (years)": [25.0], "value": [0.5], "Beruf": ["clerk"]}
OLD = YOUNG | {"age (years)": [60.0]}


class TestAPublishedTable:
    pytestmark = pytest.mark.tensorflow

    def test_takes_each_column_by_its_name(self, classifier: StoredVersion) -> None:
        inputs = classifier.manifest.inputs

        assert [(spec.name, spec.dtype, spec.shape, spec.kind) for spec in inputs] == [
            ("age (years)", "float32", (None,), "column"),
            ("value", "float32", (None,), "column"),
            ("Beruf", "string", (None,), "column"),
        ]
        assert sorted(inputs[2].categories or ()) == sorted(JOBS)
        assert Store(classifier.path.parents[1]).verify(classifier, {"ONNX checker": onnx_check.check}) == []
        assert classifier.manifest.parameters["drop"] == ["income"]

    def test_has_one_sigmoid_and_gives_two_probabilities(self, classifier: StoredVersion) -> None:
        output = classifier.manifest.outputs[0]
        operators = [node.op_type for node in onnx.load(classifier.onnx_path).graph.node]
        answers = ask(classifier, **{name: values * 3 for name, values in OLD.items()})

        assert (output.kind, output.shape, output.labels) == ("probabilities", (None, 2), ("no", "yes"))
        assert operators.count("Sigmoid") == 1
        assert answers.shape == (3, 2)
        np.testing.assert_allclose(answers.sum(axis=1), 1, atol=1e-6)

    def test_has_learned_both_kinds_of_columns(self, classifier: StoredVersion) -> None:
        assert classifier.manifest.metrics["accuracy"] > 0.75
        assert ask(classifier, **YOUNG).argmax() == 0
        assert ask(classifier, **OLD).argmax() == 1
        assert ask(classifier, **(OLD | {"Beruf": ["smith"]})).argmax() == 0

    def test_answers_rows_with_gaps_and_unknown_categories(self, classifier: StoredVersion) -> None:
        for row in ({"age (years)": [np.nan]}, {"Beruf": [""]}, {"Beruf": ["pilot"]}, {"value": [np.nan]}):
            assert np.isfinite(ask(classifier, **(OLD | row))).all()

    def test_reports_which_columns_count(self, classifier: StoredVersion) -> None:
        assert "report/column_importance.png" in classifier.manifest.files

    def test_is_served_with_raw_columns(self, classifier: StoredVersion) -> None:
        settings = Settings(store=str(classifier.path.parents[1]), control="explicit", load=(classifier.model,))
        client = create_app(settings).test_client()
        columns = {"age (years)": 60, "value": None, "Beruf": "clerk"}
        sure = float(ask(classifier, **(OLD | {"value": [np.nan]}))[0, 1])

        by_hand = client.post(f"/v2/models/{classifier.model}/predict", json={"inputs": [columns]})
        as_csv = client.post(
            f"/v2/models/{classifier.model}/predict",
            data=b"Beruf,age (years),value,note\nclerk,60,,x\n",
            headers={"Content-Type": "text/csv"},
        )
        instances = client.post(
            f"/v1/models/{classifier.model}:predict", json={"instances": [columns | {"value": 0.5}]}
        )

        for answer in (by_hand, as_csv):
            (prediction,) = answer.get_json()["predictions"]
            assert prediction["label"] == "yes"
            assert prediction["probability"] == pytest.approx(sure, abs=1e-5)
        classified = client.post(
            f"/v1/models/{classifier.model}:classify", json={"examples": [columns | {"value": 0.5}]}
        )
        assert dict(classified.get_json()["results"][0]).keys() == {"no", "yes"}
        assert instances.get_json()["predictions"][0] == pytest.approx(ask(classifier, **OLD)[0], abs=1e-5)


@pytest.mark.tensorflow
@pytest.mark.parametrize("labels", ["sparse", "one_hot"])
def test_three_classes_are_fitted_to_numbers_or_to_rows_of_0_and_1(train_into, labels: str) -> None:
    (stored,) = train_into(
        "tabular", "iris", name=f"iris-{labels}", labels=labels, hidden="32", epochs=15, learning_rate=0.03
    )

    assert stored.manifest.inputs[2].name == "petal length (cm)"
    assert stored.manifest.outputs[0].shape == (None, 3)
    assert stored.manifest.metrics["accuracy"] > 0.8


@pytest.mark.tensorflow
def test_values_come_in_the_datas_own_unit(train_into, people_csv: Path) -> None:
    (stored,) = train_into(
        "tabular", people_csv, name="income", target="income", drop="served", loss="mean_absolute_error", epochs=25,
        learning_rate=0.01, dropout=0,
    )  # fmt: skip

    facts = json.loads((stored.path / "report/evaluation.json").read_text())
    assert facts["history_unit"] == "in deviations of the target"
    assert stored.manifest.metrics["r2"] > 0.5
    assert stored.manifest.outputs[0].name == "predicted_value", "there is a column of the usual name"
    assert ask(stored, **OLD).shape == (1, 1)
    assert ask(stored, **OLD)[0, 0] == pytest.approx(450, abs=90)


def test_the_column_that_the_answer_rests_on_is_the_most_important() -> None:
    random = np.random.default_rng(0)
    table = np.empty(3000, [("noise", np.float32), ("job", object), ("x", np.float32)])
    table["noise"], table["x"] = random.random((2, 3000))
    table["job"] = random.choice(["a", "b"], 3000)
    targets = (5 * table["x"] + (table["job"] == "a")).astype(np.float32)

    found = importances(lambda rows: (5 * rows["x"] + (rows["job"] == "a"))[:, None], table, targets)

    assert [one.column for one in found] == ["x", "job", "noise"]
    assert found[0].mean > 1
    assert found[2].mean == 0

"""One perceptron and several layers of them: what each can learn, and that both are served."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from model_store import Store, StoredVersion
from service.app import create_app
from service.settings import Settings
from training import datasets, train
from training.datasets.logic import CORNERS
from training.exporting import onnx_check
from training.options import FileOptions, FitOptions
from training.perceptrons.decision_regions import decision_regions
from training.perceptrons.rosenblatt import Perceptron, learn

CORNER_TRUTH = {"xor": [0, 1, 1, 0], "and": [0, 0, 0, 1], "or": [0, 1, 1, 1]}


@pytest.mark.parametrize("name", CORNER_TRUTH)
def test_a_truth_table_is_learned_from_points_around_its_corners(name: str) -> None:
    dataset = datasets.load(name, FileOptions())

    for rows, count in ((dataset.train, 40), (dataset.test, 10)):
        nearest = rows.inputs.round() @ np.array([2, 1])
        assert np.bincount(nearest.astype(int)).tolist() == [count] * 4
        assert rows.targets.tolist() == [CORNER_TRUTH[name][int(corner)] for corner in nearest]
    assert dataset.sha256 == datasets.load(name, FileOptions()).sha256


def rosenblatt(name: str, **options: object) -> tuple[Perceptron, dict[str, list[float]], np.ndarray, np.ndarray]:
    dataset = datasets.load(name, FileOptions())
    rows, targets = dataset.train.inputs, dataset.train.targets
    perceptron = Perceptron(features=rows.shape[1], units=1 if len(dataset.labels or ()) == 2 else 3)
    history = learn(perceptron, (rows, targets), (rows, targets), FitOptions(**options))  # type: ignore[arg-type]
    return perceptron, history, rows, targets


@pytest.mark.parametrize("name", ["and", "or"])
def test_rosenblatts_rule_ends_where_a_line_can_separate(name: str) -> None:
    perceptron, history, rows, targets = rosenblatt(name, epochs=100, learning_rate=0.1)

    assert history["loss"][-1] == 0
    assert len(history["loss"]) < 100
    assert (perceptron.classify(rows) == targets).all()


def test_rosenblatts_rule_never_ends_on_xor() -> None:
    perceptron, history, rows, targets = rosenblatt("xor", epochs=30, patience=30)

    assert len(history["loss"]) == 30
    assert min(history["loss"]) >= 0.25
    assert perceptron.errors(rows, targets) == min(history["val_loss"])


def test_the_border_lies_half_way_between_the_nearest_rows_on_either_side() -> None:
    perceptron, _, rows, _ = rosenblatt("and", epochs=100)

    sums = rows @ perceptron.kernel[:, 0] + perceptron.bias[0]

    assert sums[sums >= 0].min() == pytest.approx(-sums[sums < 0].max(), rel=1e-3)


def test_of_several_units_the_strongest_names_the_class() -> None:
    _, history, _, _ = rosenblatt("iris", epochs=30, patience=30)

    assert min(history["loss"]) <= 0.05


def test_decision_regions_are_drawn_in_the_plane_alone() -> None:
    def predict(rows: np.ndarray) -> np.ndarray:
        return np.column_stack([rows[:, 0] < 0.5, rows[:, 0] >= 0.5])

    (exhibit,) = decision_regions(predict, datasets.load("xor", FileOptions()))

    assert exhibit.figure is not None
    assert exhibit.figure.axes[0].get_xlabel() == "x1"
    assert decision_regions(predict, datasets.load("iris", FileOptions())) == ()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("perceptrons") / "store"


@pytest.fixture(scope="module")
def published(store: Path) -> Callable[..., StoredVersion]:
    """Train once for each name, quickly."""
    kept: dict[str, StoredVersion] = {}

    def get(recipe: str, data: str, activation: str, epochs: int) -> StoredVersion:
        name = f"{data}-{recipe}-{activation}"
        if name not in kept:
            settings = {"activation": activation, "epochs": epochs}
            (kept[name],) = train(recipe, data, store=store, name=name, parameters=settings)
        return kept[name]

    return get


@pytest.mark.tensorflow
@pytest.mark.parametrize("activation", ["step", "tanh", "relu", "softmax"])
def test_no_single_perceptron_learns_xor(published: Callable[..., StoredVersion], activation: str) -> None:
    stored = published("perceptron", "xor", activation, 3)

    assert stored.manifest.metrics["accuracy"] <= 0.75
    assert Store(stored.path.parents[1]).verify(stored, {"ONNX checker": onnx_check.check}) == []
    assert "report/decision_regions.png" in stored.manifest.files


@pytest.mark.tensorflow
@pytest.mark.parametrize("activation", ["tanh", "step"])
def test_two_layers_solve_xor(published: Callable[..., StoredVersion], activation: str) -> None:
    stored = published("mlp", "xor", activation, 12 if activation == "tanh" else 25)

    assert stored.manifest.metrics["accuracy"] == 1.0
    assert "report/decision_regions.png" in stored.manifest.files


@pytest.mark.tensorflow
@pytest.mark.parametrize("data", ["xor", "iris"])
def test_the_step_is_published_exactly(published: Callable[..., StoredVersion], data: str) -> None:
    stored = published("perceptron", data, "step", 3 if data == "xor" else 10)

    operators = {node.op_type for node in onnx.load(stored.onnx_path).graph.node}
    assert {"GreaterOrEqual", "Cast"} <= operators
    assert stored.manifest.parity.max_abs_difference == {"probabilities": 0.0}
    assert set(np.unique(stored.golden().onnx["probabilities"])) == {0.0, 1.0}
    if data == "iris":
        assert stored.manifest.metrics["accuracy"] >= 0.8


@pytest.mark.tensorflow
def test_several_units_share_the_answer(published: Callable[..., StoredVersion]) -> None:
    stored = published("perceptron", "iris", "relu", 8)

    np.testing.assert_allclose(stored.golden().onnx["probabilities"].sum(axis=1), 1, rtol=1e-5)
    assert stored.manifest.metrics["accuracy"] >= 0.6


@pytest.mark.tensorflow
def test_the_failure_and_the_solution_are_served(published: Callable[..., StoredVersion], store: Path) -> None:
    failing, solving = published("perceptron", "xor", "step", 3), published("mlp", "xor", "tanh", 12)
    client = create_app(Settings(store=str(store), control="none")).test_client()

    def right_corners(model: str) -> int:
        answer = client.post(f"/v1/models/{model}:predict", json={"instances": CORNERS.tolist()})
        assert answer.status_code == 200, answer.text
        return int((np.argmax(answer.json["predictions"], axis=1) == CORNER_TRUTH["xor"]).sum())

    assert right_corners(solving.model) == 4
    assert right_corners(failing.model) <= 3

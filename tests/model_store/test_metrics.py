from __future__ import annotations

import pytest

from model_store import STARTER_MODELS, Store
from model_store.metrics import HIGHER_IS_BETTER, WHOLE, is_as_good, label_of


@pytest.mark.parametrize(
    ("metric", "label"),
    [
        ("accuracy", "accuracy"),
        ("macro_f1", "macro F1"),
        ("map_50_95", "mAP@0.5:0.95"),
        ("mean_absolute_error", "MAE"),
        ("r2", "R²"),
        ("roc", "AUROC"),
        ("false_alarm_rate", "false alarm rate"),
        ("whole_mean_squared_error", "MSE of the whole"),
    ],
)
def test_a_metric_is_written_as_the_field_writes_it(metric: str, label: str) -> None:
    assert label_of(metric) == label


@pytest.mark.parametrize(
    ("metric", "value", "other", "expected"),
    [
        pytest.param("accuracy", 0.9, 0.8, True, id="higher"),
        pytest.param("accuracy", 0.8, 0.9, False, id="not-as-high"),
        pytest.param("mean_absolute_error", 1.0, 2.0, True, id="smaller-error"),
        pytest.param("mean_absolute_error", 2.0, 1.0, False, id="larger-error"),
        pytest.param("mean_absolute_error", 1.0, 1.0, True, id="equal"),
        pytest.param("a_metric_of_tomorrow", 1.0, 1.0, False, id="unknown"),
    ],
)
def test_which_of_two_values_is_as_good(metric: str, value: float, other: float, expected: bool) -> None:
    assert is_as_good(metric, value, other) is expected


def test_it_is_known_of_the_starter_models_which_way_their_first_metric_is_better() -> None:
    # A detector of anomalies has a threshold, which is no quality.
    first = {next(iter(stored.manifest.metrics)) for stored in Store(STARTER_MODELS).all_versions()}

    assert {name for name in first if not name.startswith(WHOLE)} - {*HIGHER_IS_BETTER} <= {"threshold"}

"""How well anomalies are told apart: the figures of a small case."""

from __future__ import annotations

import numpy as np
import pytest

from bench.anomalies import figures


def test_the_area_is_the_share_of_pairs_in_the_right_order() -> None:
    usual = {
        "score": np.array([0.1, 0.2, 0.3, 0.4]),
        "p_value": np.array([0.9, 0.6, 0.3, 0.01]),
        "is_anomaly": np.array([False, False, False, True]),
    }
    foreign = {
        "score": np.array([0.35, 0.9]),
        "p_value": np.array([0.1, 0.001]),
        "is_anomaly": np.array([False, True]),
    }

    found = figures(usual, foreign)

    assert found["AUROC"] == pytest.approx(7 / 8)
    assert (found["alarms, usual"], found["alarms, foreign"]) == (0.25, 0.5)
    assert found["usual p-values up to 0.5"] == 0.5

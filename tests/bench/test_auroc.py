"""The area under the ROC curve and its interval, against a case that was published."""

from __future__ import annotations

import numpy as np
import pytest

from bench.auroc import area_under_roc, standard_error


def test_the_error_is_that_of_the_paper() -> None:
    """Hanley and McNeil: an area of 0.893 over 58 normal and 51 abnormal pictures has an error of 0.032."""
    assert standard_error(0.893, usual=58, strange=51) == pytest.approx(0.0325, abs=0.0001)


def test_the_interval_stays_between_0_and_1() -> None:
    ascending = np.arange(8.0)

    right, wrong = area_under_roc(ascending[:6], ascending[4:]), area_under_roc(ascending[4:], ascending[:6])

    assert right.value == pytest.approx(1 - wrong.value)
    assert 0 < right.low < right.value < right.high == 1
    assert 0 == wrong.low < wrong.value < wrong.high < 1

"""The networks that are measured compute what they are named for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from bench import models
from bench.figures import LARGE, SMALL
from bench.requests import rows


def session(network: str, folder: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(models.path_of(network, folder), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(("network", "weights"), [(SMALL, 784 * 128 + 128 * 10), (LARGE, 784 * 1024 + 1024 * 1034)])
def test_dense_networks_give_probabilities_that_depend_on_the_row(network: str, weights: int, tmp_path: Path) -> None:
    (result,) = session(network, tmp_path).run(None, {"x": rows(3)})

    assert result.shape == (3, 10)
    assert result.sum(axis=1) == pytest.approx(1)
    assert np.isfinite(result).all()
    assert np.ptp(result, axis=0).max() > 0
    assert models.path_of(network, tmp_path).stat().st_size > 4 * weights


def test_the_lstm_reads_raw_texts_up_to_two_hundred_words(tmp_path: Path) -> None:
    (text,) = models.texts(1)
    first, last = text.replace("word", "unknown", 1), " ".join([*text.split()[:-1], "unknown"])

    (result,) = session("lstm", tmp_path).run(None, {"text": np.array([text, first, last, f"{text} more"], object)})

    assert len(text.split()) == 200
    assert result.shape == (4, 2)
    assert (result[0] != result[1]).any()
    assert (result[0] != result[2]).any()
    assert (result[0] == result[3]).all()

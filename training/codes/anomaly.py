"""How unusual a picture is: how badly it is reconstructed, and how rare that is among rows held out of the fit.

The p-value of a score is (1 + held-out rows that score at least as high) / (1 + held-out rows). As a step function it
would turn a rounding into a step; so it is drawn through some of the scores, and straight in between.
Source: B. Phipson, G. Smyth, "Permutation P-values Should Never Be Zero", SAGMB 9, 2010.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from model_store.manifest import OutputSpec
from training.datasets import Dataset, Rows
from training.exporting.keras_graph import keras_graph
from training.network import Floats, Graph, raw_input

if TYPE_CHECKING:
    import keras

# Each p-value is 0.87 times the one before for 6,000 held-out rows.
KNOTS = 64
OUTPUTS = (
    OutputSpec(name="score", dtype="float32", shape=(None,), kind="score"),
    OutputSpec(name="p_value", dtype="float32", shape=(None,), kind="score"),
    OutputSpec(name="is_anomaly", dtype="bool", shape=(None,), kind="label"),
)


@dataclass(frozen=True)
class Tail:
    """The p-values `shares`, falling, at the scores `knots`, rising; `threshold` is the score that alarms."""

    knots: Floats
    shares: Floats
    threshold: float


def tail(scores: Floats, false_alarm_rate: float) -> Tail:
    """Read the p-values off the scores [n] of held-out rows: KNOTS + 1 knots, the first of them at the score 0.

    Where n rows cannot tell the rate, the highest score is the threshold: no p-value is smaller than 1 / (1 + n).
    """
    descending = np.sort(scores.astype(np.float64))[::-1]
    count = len(descending)
    exact = np.arange(1, count + 1) / (count + 1)
    shares = np.geomspace(1, count, KNOTS) / (count + 1)
    knots = np.interp(shares, exact, descending)
    return Tail(
        knots=np.array([0.0, *knots[::-1]], dtype=np.float32),
        shares=np.array([1.0, *shares[::-1]], dtype=np.float32),
        threshold=float(np.interp(false_alarm_rate, exact, descending)),
    )


class Anomalies:
    """The graph NAME-anomaly: pictures → score, p-value, alarm. What the scores mean is set once, after the fit."""

    def __init__(self, autoencoder: keras.Model, dataset: Dataset, false_alarm_rate: float) -> None:
        import keras
        from keras import layers, ops

        from training.codes.layers import AnomalyTest

        (image,) = autoencoder.inputs
        error = ops.square(layers.Rescaling(1 / 255)(image) - autoencoder(image))
        score = ops.mean(error, axis=(1, 2, 3))
        self._false_alarm_rate = false_alarm_rate
        self._test = AnomalyTest(KNOTS + 1)
        model = keras.Model(image, [score, *self._test(score)])
        self.graph = keras_graph(model, raw_input(dataset), OUTPUTS, suffix="-anomaly", metrics=self.metrics)

    @property
    def threshold(self) -> float:
        """The mean squared error that alarms."""
        return float(self._test.get_weights()[2])

    def fit(self, held: Rows) -> None:
        """Take the scores of the rows that were held back for what is usual."""
        found = tail(self.graph.predict(held.inputs)["score"].astype(np.float32), self._false_alarm_rate)
        self._test.set_weights([found.knots, found.shares, np.array(found.threshold, np.float32)])

    def metrics(self, graph: Graph, dataset: Dataset) -> dict[str, float]:
        """Count the alarms among test rows, which are all of the usual kind, and average their scores."""
        answers = graph.predict(dataset.test.inputs)
        return {
            "false_alarm_rate": float(np.mean(answers["is_anomaly"].astype(np.float64))),
            "mean_score": float(np.mean(answers["score"].astype(np.float64))),
            "threshold": self.threshold,
        }

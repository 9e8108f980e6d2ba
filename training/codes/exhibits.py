"""What the report of an autoencoder shows besides the pictures it has reconstructed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.codes import figures
from training.codes.anomaly import Anomalies
from training.codes.probe import some
from training.datasets import Dataset
from training.evidence.exhibit import Evaluation, Exhibit
from training.network import Floats, Graph

MOST_POINTS = 1000
MOST_CODES = 5000
PICTURES = 30


@dataclass(frozen=True, kw_only=True)
class CodeExhibits:
    """New pictures, the codes in a plane, and how anomaly scores are spread; `is_normal`: codes follow N(0, I)."""

    encoder: Graph
    decoder: Graph
    is_normal: bool
    anomalies: Anomalies | None

    def show(self, dataset: Dataset, evaluation: Evaluation) -> list[Exhibit]:
        """Draw them all; the classifiers' figures are those of the evaluation."""
        shown = [self._new_pictures(dataset), code_plane(self.encoder, dataset)]
        if self.anomalies is not None:
            shown.append(_scores(self.anomalies, dataset))
        if "accuracy_on_codes" in evaluation.metrics:
            shown.append(_classifiers(evaluation.metrics))
        return shown

    def _new_pictures(self, dataset: Dataset) -> Exhibit:
        source = "N(0, I)" if self.is_normal else "the normal distribution of the training rows' codes"
        drawn = self.decoder.predict_first(self._random_codes(dataset)).astype(np.float32)
        return Exhibit(
            name="new_pictures",
            title="New pictures",
            text=f"What the decoder makes of random codes from {source}.",
            figure=figures.new_pictures(drawn, source),
        )

    def _random_codes(self, dataset: Dataset) -> Floats:
        chance = np.random.default_rng(0)
        known = self.encoder.predict_first(some(dataset.train, MOST_CODES).inputs).astype(np.float64)
        if self.is_normal:
            return chance.standard_normal((PICTURES, known.shape[1]), dtype=np.float32)
        covariance = np.atleast_2d(np.cov(known, rowvar=False))
        return chance.multivariate_normal(known.mean(axis=0), covariance, PICTURES).astype(np.float32)


def code_plane(encoder: Graph, dataset: Dataset) -> Exhibit:
    """Draw the codes, which are the graph's first output, in a plane."""
    rows = some(dataset.test, MOST_POINTS)
    points = in_a_plane(encoder.predict_first(rows.inputs).astype(np.float32))
    drawn = figures.plane(
        points, rows.targets if dataset.labels else None, dataset.labels or (), f"codes of {len(rows)} test rows"
    )
    return Exhibit(
        name="code_space",
        title="The space of codes",
        text="The codes of test rows in the plane in which they differ most. Labels had no part in it.",
        figure=drawn,
    )


def in_a_plane(points: Floats) -> Floats:
    """Project points [n, d] on their first two principal components: float32 [n, 2]."""
    from sklearn.decomposition import PCA

    padded = np.pad(points, ((0, 0), (0, max(0, 2 - points.shape[1]))))
    return np.asarray(PCA(2, random_state=0).fit_transform(padded), dtype=np.float32)


def _scores(anomalies: Anomalies, dataset: Dataset) -> Exhibit:
    scores = anomalies.graph.predict(dataset.test.inputs)["score"].astype(np.float32)
    return Exhibit(
        name="anomaly_scores",
        title="Anomaly scores",
        text="The errors of test rows, which are all of the usual kind: each alarm is a false one.",
        figure=figures.anomaly_scores(scores, anomalies.threshold),
    )


def _classifiers(metrics: dict[str, float]) -> Exhibit:
    rows = (("codes", metrics["accuracy_on_codes"]), ("raw pixels", metrics["accuracy_on_pixels"]))
    return Exhibit(
        name="linear_classifiers",
        title="What the codes tell about the classes",
        text="Logistic regression on the codes and on the raw pixels of the same rows, measured on the test rows.",
        table=(("input", "accuracy"), *((name, f"{accuracy:.1%}") for name, accuracy in rows)),
    )

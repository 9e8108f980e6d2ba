"""What codes tell about the classes: a linear classifier on the codes, beside one on the raw pixels.

Both learn from the same rows; neither has a part in how the codes were found.
Source: G. Alain, Y. Bengio, "Understanding Intermediate Layers Using Linear Classifier Probes", 2016.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from training.datasets import Dataset, Rows
from training.datasets.dataset import Array, split
from training.evidence import evaluate
from training.exporting.keras_graph import keras_graph
from training.network import Floats, Graph, probabilities, raw_input

if TYPE_CHECKING:
    import keras

# Logistic regression on all pixels of more rows takes minutes, and hardly gets better.
MOST_ROWS = 10_000
STEPS = 200


class Probe:
    """The graph NAME-classifier: pictures → probabilities, through the code. Fitted once, after the encoder."""

    def __init__(self, encoder: keras.Model, codes: Graph, dataset: Dataset) -> None:
        import keras
        from keras import layers

        assert dataset.labels is not None
        self._codes = codes
        self._softmax = layers.Dense(len(dataset.labels), activation="softmax")
        self._on_pixels: Any = None
        (image,), (code, *_) = encoder.inputs, encoder.outputs
        model = keras.Model(image, self._softmax(code))
        self.graph = keras_graph(
            model, raw_input(dataset), probabilities(dataset), suffix="-classifier", metrics=self.metrics
        )

    def fit(self, kept: Rows) -> None:
        """Fit both classifiers; the one on codes becomes the graph's last layer."""
        rows = some(kept, MOST_ROWS)
        on_codes = logistic_regression(self._codes.predict_first(rows.inputs), rows.targets)
        self._softmax.set_weights(dense_weights(on_codes))
        self._on_pixels = logistic_regression(_flat(rows.inputs), rows.targets)

    def metrics(self, graph: Graph, dataset: Dataset) -> dict[str, float]:
        """Measure the graph on the test rows, and the accuracy on raw pixels beside it."""
        assert dataset.labels is not None
        test, targets = dataset.test, dataset.test.targets.astype(np.int64)
        answers = graph.predict_first(test.inputs).astype(np.float32)
        metrics, _ = evaluate.classification(answers, targets, dataset.labels)
        return {**metrics, "accuracy_on_pixels": float(self._on_pixels.score(_flat(test.inputs), targets))}


def some(rows: Rows, most: int) -> Rows:
    """Choose so many rows at random, of each class alike."""
    if len(rows) <= most:
        return rows
    return split(rows, 1 - most / len(rows), 0, stratified=rows.targets.dtype.kind == "i")[0]


def logistic_regression(points: Array, targets: Array) -> Any:
    """Fit scikit-learn's classifier to points [n, d], standardised; targets int64 [n]."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=STEPS))
    with warnings.catch_warnings():
        # Stopped after so many steps it is as good a classifier, only not the very best one.
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier.fit(points, targets)
    return classifier


def dense_weights(classifier: Any) -> tuple[Floats, Floats]:
    """Give the kernel [d, classes] and the bias [classes] of the layer with a softmax that computes the same."""
    scaler, regression = classifier
    coefficients, intercept = regression.coef_, regression.intercept_
    if len(coefficients) == 1:
        # Of two classes scikit-learn keeps the second one's figures alone: the first one's are 0.
        coefficients = np.concatenate([np.zeros_like(coefficients), coefficients])
        intercept = np.concatenate([np.zeros_like(intercept), intercept])
    kernel = (coefficients / scaler.scale_).T
    return kernel.astype(np.float32), (intercept - scaler.mean_ @ kernel).astype(np.float32)


def _flat(pictures: Array) -> Floats:
    return np.asarray(pictures).reshape(len(pictures), -1).astype(np.float32)

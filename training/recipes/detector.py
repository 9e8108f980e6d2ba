"""Finds objects in pictures: where each is, and what it is. Or, for pictures of one object, that one.

With `objects=many` a small single-shot detector (W. Liu et al., "SSD", arXiv:1512.02325; T.-Y. Lin et al., "RetinaNet",
arXiv:1708.02002) with non-maximum suppression inside the published graph; with `objects=one` classification with
localisation: probabilities and one box. Boxes are left, top, right, bottom in pixels of the picture that goes in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model_store.manifest import OutputSpec
from training.datasets import Dataset
from training.datasets.dataset import Array
from training.detection.anchors import AnchorMap, assign, choose_maps
from training.detection.evaluation import evaluate_many, evaluate_one
from training.detection.margin import has_margin
from training.errors import UnfitDataset
from training.evidence.exhibit import Evaluation, Exhibit
from training.exporting.keras_graph import keras_graph
from training.network import Network, probabilities, raw_input
from training.options import FitOptions
from training.parameters import Parameters, parameter
from training.recipes.recipe import Recipe

# Anchors are the same for every seed of a fit: results of different seeds must be comparable.
ANCHOR_SEED = 0


@dataclass(frozen=True, kw_only=True)
class DetectorParameters(Parameters):
    """The layers of a detector, and which of its detections count."""

    objects: str = parameter(
        "many",
        "how many a picture holds; one: probabilities and a box instead of a list",
        choices=("many", "one"),
        searched=False,
    )
    filters: tuple[int, ...] = parameter(
        (16, 32, 64, 96), "filters of each block; each halves the picture", at_least=1, at_most=2048
    )
    width: int = parameter(64, "many: filters of the maps in which objects are looked for", at_least=1, at_most=2048)
    anchors: int = parameter(
        6, "many: typical sizes of objects, chosen from the training boxes", at_least=1, at_most=64
    )
    max_objects: int = parameter(20, "many: detections of a picture at most", at_least=1, at_most=1000, searched=False)
    score: float = parameter(
        0.1, "many: what a detection needs at least; low, so that clients choose", above=0, below=1, searched=False
    )
    iou: float = parameter(
        0.45, "many: of boxes of one class that overlap more, only the best stays", above=0, at_most=1, searched=False
    )
    units: int = parameter(128, "one: units of the dense layer behind the blocks", at_least=1, at_most=16_384)
    dropout: float = parameter(0.3, "one: share of them that is dropped", at_least=0, below=1)


def build(parameters: DetectorParameters, dataset: Dataset) -> Network:
    """Build the network: raw pictures in, boxes out."""
    shape = dataset.train.inputs.shape[1:]
    if min(shape[:2]) < 2 ** len(parameters.filters):
        raise UnfitDataset(
            f"{dataset.name}: pictures of {shape[0]} x {shape[1]} cannot be halved {len(parameters.filters)} times: "
            "give fewer filters, or a larger picture_size"
        )
    return _many(parameters, dataset) if parameters.objects == "many" else _one(parameters, dataset)


def _many(parameters: DetectorParameters, dataset: Dataset) -> Network:
    import keras

    from training.detection import layers, losses, networks

    assert dataset.labels is not None
    shape = dataset.train.inputs.shape[1:]
    maps = _anchor_maps(parameters, dataset)
    laid = np.concatenate([found.boxes(shape[0], shape[1]) for found in maps])
    fitted = networks.single_shot(shape, parameters.filters, parameters.width, maps, len(dataset.labels))
    candidates = keras.Model(fitted.input, layers.Boxes(laid, shape[0], shape[1])(fitted.output))

    suppression = layers.Suppression(parameters.max_objects, parameters.score, parameters.iou)
    published = keras.Model(fitted.input, suppression(candidates.output))

    def have_margins(pictures: Array) -> Array:
        pairs = zip(*candidates.predict(pictures, verbose=0), strict=True)
        return np.array([has_margin(*pair, score=parameters.score, iou=parameters.iou) for pair in pairs])

    image, outputs = raw_input(dataset), _detections(parameters.max_objects, dataset.labels)
    graph = keras_graph(published, image, outputs, has_margin=have_margins)
    return Network(
        task="detection",
        fitted=fitted,
        graphs=(graph,),
        targets=lambda rows: np.stack([assign(objects, laid) for objects in rows.targets]),
        loss=losses.detection_loss,
        evaluate=evaluate_many,
        exhibits=_exhibits,
    )


def _anchor_maps(parameters: DetectorParameters, dataset: Dataset) -> tuple[AnchorMap, ...]:
    """Choose anchors for the training boxes, on the maps that the blocks make."""
    from training.detection import networks

    if len(parameters.filters) < 2:
        raise UnfitDataset(f"{dataset.name}: objects=many needs two filters at least, received {parameters.filters}")
    boxes = np.concatenate(list(dataset.train.targets))
    return choose_maps(boxes, parameters.anchors, networks.strides(len(parameters.filters)), ANCHOR_SEED)


def _detections(most: int, labels: tuple[str, ...]) -> tuple[OutputSpec, ...]:
    return (
        OutputSpec(name="boxes", dtype="float32", shape=(None, most, 4), kind="boxes"),
        OutputSpec(name="scores", dtype="float32", shape=(None, most), kind="score"),
        OutputSpec(name="classes", dtype="int64", shape=(None, most), kind="label", labels=labels),
        OutputSpec(name="count", dtype="int64", shape=(None,), kind="tensor"),
    )


def _one(parameters: DetectorParameters, dataset: Dataset) -> Network:
    import keras
    from keras import ops

    from training.detection import losses, networks

    assert dataset.labels is not None
    _check_one_each(dataset)
    shape, classes = dataset.train.inputs.shape[1:], len(dataset.labels)
    size = np.array([shape[1], shape[0]] * 2, np.float32)
    fitted = networks.localiser(shape, parameters.filters, parameters.units, parameters.dropout, classes)
    answers = [keras.layers.Softmax()(fitted.output[:, 4:]), ops.multiply(fitted.output[:, :4], size)]
    box = OutputSpec(name="box", dtype="float32", shape=(None, 4), kind="boxes")
    graph = keras_graph(keras.Model(fitted.input, answers), raw_input(dataset), (probabilities(dataset), box))
    return Network(
        task="detection",
        fitted=fitted,
        graphs=(graph,),
        # Boxes in fractions of the picture, classes as they are.
        targets=lambda rows: np.concatenate(list(rows.targets)) / np.append(size, np.float32(1)),
        loss=losses.localisation_loss,
        evaluate=evaluate_one,
        exhibits=_exhibits,
    )


def _check_one_each(dataset: Dataset) -> None:
    for part, rows in (("training", dataset.train), ("held-out", dataset.test)):
        for index, objects in enumerate(rows.targets):
            if len(objects) != 1:
                raise UnfitDataset(
                    f"{dataset.name}: objects=one needs one object in each picture, {part} picture {index} has "
                    f"{len(objects)}: use objects=many"
                )


def _exhibits(dataset: Dataset, evaluation: Evaluation) -> list[Exhibit]:
    from training.detection.exhibits import exhibits

    return exhibits(dataset, evaluation)


RECIPE = Recipe(
    name="detector",
    summary="finds objects in pictures: boxes, classes and scores; or, with objects=one, a class and a box",
    parameters=DetectorParameters(),
    fit=FitOptions(epochs=20, batch_size=32, schedule="cosine", patience=6),
    default_dataset="digit-scenes",
    learns={"boxes": ("detection",)},
    build=build,
)

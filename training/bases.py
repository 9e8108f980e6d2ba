"""Networks that have learned to see, to be built on: Keras's applications, and what the recipe cnn kept.

A base takes pictures of its own size and colours with values 0..255, scales them as it was taught, and gives maps of
features. Knows no data set and no store's manifest.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_store import Store, StoreError
from model_store.manifest import MANIFEST_FILE
from training.errors import InvalidParameter, WeightsAbsent

if TYPE_CHECKING:
    import keras

KERAS_FILE = "model.keras"

# Per channel, of the pictures of ImageNet: blue, green, red in 0..255, and red, green, blue in 0..1.
BLUE_GREEN_RED_MEAN = (103.939, 116.779, 123.68)
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Application:
    """One of `keras.applications`: the function that builds it, and how it wants its pixels scaled.

    `scaling` is Keras's word for it: caffe (blue, green, red, less their means), tf (-1..1), torch (0..1, then
    standardised), or none where the network does it itself.
    """

    function: str
    scaling: str
    options: Mapping[str, Any] = field(default_factory=dict)


APPLICATIONS = {
    "mobilenet_v2": Application("MobileNetV2", "tf"),
    "mobilenet_v2_small": Application("MobileNetV2", "tf", {"alpha": 0.35}),
    "mobilenet_v3_small": Application("MobileNetV3Small", "none"),
    "mobilenet_v3_large": Application("MobileNetV3Large", "none"),
    "efficientnet_v2_b0": Application("EfficientNetV2B0", "none"),
    "efficientnet_v2_s": Application("EfficientNetV2S", "none"),
    "resnet50_v2": Application("ResNet50V2", "tf"),
    "densenet121": Application("DenseNet121", "torch"),
    "inception_v3": Application("InceptionV3", "tf"),
    "xception": Application("Xception", "tf"),
    "vgg16": Application("VGG16", "caffe"),
    "vgg19": Application("VGG19", "caffe"),
}


@dataclass(frozen=True, kw_only=True)
class Base:
    """A network without its answer: `scale` turns pixels 0..255 [n, *shape] into what `model` takes."""

    model: keras.Model
    scale: Any
    shape: tuple[int, int, int]


def application(name: str, *, weights: str, size: int) -> Base:
    """Build a Keras application for colour pictures of size x size.

    Args:
        name: one of `APPLICATIONS`.
        weights: `imagenet` (Keras downloads them once), `none` (by chance), or a file of weights without the answer.
        size: height and width in pixels.

    Raises:
        WeightsAbsent: the weights are not here and cannot be downloaded.
        InvalidParameter: the file holds other weights, or the pictures are too small for the network.
    """
    import keras

    chosen, shape = APPLICATIONS[name], (size, size, 3)
    builder = getattr(keras.applications, chosen.function)
    try:
        model = _built(builder, weights=None, input_shape=shape, **chosen.options)
    except ValueError as error:
        raise InvalidParameter("size", size, expected=f"what {name} takes ({_one_line(error)})") from None
    if weights == "imagenet":
        model = _with_imagenet(builder, shape, chosen)
    elif weights != "none":
        _load_weights(model, weights, name)
    return Base(model=model, scale=_scaling(chosen.scaling), shape=shape)


def of_cnn(path: Path) -> Base:
    """Take the convolutions of a network that the recipe cnn kept: up to its last maps of features.

    Args:
        path: a .keras file, or the folder of a model or of one of its versions in a store.

    Raises:
        InvalidParameter: there is no such file, or it is no network of the recipe cnn.
    """
    import keras
    from keras import layers

    file = kept_file(path)
    try:
        model = keras.models.load_model(file, compile=False)
    except (ValueError, OSError, TypeError) as error:
        raise InvalidParameter("base", file, expected=f"a network that Keras can load ({_one_line(error)})") from None
    scaling = next((layer for layer in model.layers if isinstance(layer, layers.Rescaling)), None)
    maps = [layer for layer in model.layers if isinstance(layer, (layers.Conv2D, layers.ReLU, layers.MaxPooling2D))]
    if scaling is None or not maps or len(model.input_shape) != 4:
        raise InvalidParameter("base", file, expected="a network that the recipe cnn kept")
    # Cut behind the scaling: what is resized to its size is no longer whole numbers.
    features = keras.Model(scaling.output, maps[-1].output, name="base")
    return Base(model=features, scale=layers.Rescaling(scaling.scale, scaling.offset), shape=model.input_shape[1:])


def thaw(model: keras.Model, count: int) -> None:
    """Let the last layers learn, but for batch normalisation: its means and deviations are those of many pictures."""
    from keras import layers

    model.trainable = True
    for index, layer in enumerate(model.layers):
        is_last = index >= len(model.layers) - count
        layer.trainable = is_last and not isinstance(layer, layers.BatchNormalization)


def _built(builder: Any, **options: Any) -> Any:
    """Build without the answer. Keras warns of sizes that it has no weights of; those of 224 pixels serve as well."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return builder(include_top=False, **options)


def _with_imagenet(builder: Any, shape: tuple[int, int, int], chosen: Application) -> Any:
    try:
        return _built(builder, weights="imagenet", input_shape=shape, **chosen.options)
    except Exception as error:  # Keras raises a bare Exception when a download fails
        raise WeightsAbsent(
            f"the weights of {chosen.function} are not in Keras's cache and could not be downloaded "
            f"({' '.join(str(error).split())}): name a file with --set weights=PATH, or use --set weights=none"
        ) from None


def _load_weights(model: Any, path: str, name: str) -> None:
    if not Path(path).is_file():
        raise InvalidParameter("weights", path, expected="imagenet, none, or the path of a file of weights")
    try:
        with warnings.catch_warnings():
            # Keras only warns of layers that the file knows nothing of: they would stay as they were made.
            warnings.simplefilter("error", UserWarning)
            model.load_weights(path)
    except (ValueError, OSError, KeyError, TypeError, UserWarning) as error:
        raise InvalidParameter(
            "weights", path, expected=f"weights of {name} without its answer ({_one_line(error)})"
        ) from None


def _scaling(kind: str) -> Any:
    """Write Keras's `preprocess_input` as arithmetic that goes into the graph."""
    from keras import layers, ops

    if kind == "tf":
        return layers.Rescaling(1 / 127.5, offset=-1)
    if kind == "torch":
        scale = [1 / (255 * deviation) for deviation in DEVIATION]
        offset = [-mean / deviation for mean, deviation in zip(MEAN, DEVIATION, strict=True)]
        return layers.Rescaling(scale, offset=offset)
    if kind == "caffe":
        shift = layers.Rescaling(1.0, offset=[-mean for mean in BLUE_GREEN_RED_MEAN])
        return lambda pixels: shift(ops.flip(pixels, axis=-1))
    return lambda pixels: pixels


def kept_file(path: Path) -> Path:
    """Find the Keras file of a path, a version, or a model's newest version that was not withdrawn.

    Raises:
        InvalidParameter: there is none.
    """
    if path.is_file():
        return path
    folder = path
    if path.is_dir() and not (path / KERAS_FILE).is_file():
        with contextlib.suppress(StoreError):
            folder = Store(path.parent).newest(path.name).path
    if (folder / KERAS_FILE).is_file():
        return folder / KERAS_FILE
    if (folder / MANIFEST_FILE).is_file():
        kept = f"a version with {KERAS_FILE}, which {folder} lacks: train it with cnn and --set keep_keras=true"
        raise InvalidParameter("base", path, expected=kept)
    expected = f"one of {', '.join(APPLICATIONS)}, or the path of a model that cnn trained with keep_keras=true"
    raise InvalidParameter("base", path, expected=expected)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
